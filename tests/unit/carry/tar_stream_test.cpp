#include "replicator/carry/tar_stream.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>

/// libarchive 3.6 forgets its write buffer where a stream is given up before its end
/// (archive_write_fail); to go on to the end instead would mean writing what is left of an entry. A
/// program that gives one up ends soon.
extern "C" const char *__lsan_default_suppressions();
extern "C" const char *__lsan_default_suppressions() { return "leak:libarchive.so"; }

namespace farshore::carry {
namespace {

struct sparse_file {
    std::uint64_t size = 0;
    std::vector<byte_range> data;
};

byte_vector content_of(const sparse_file &f, unsigned seed) {
    byte_vector all(static_cast<std::size_t>(f.size));
    std::mt19937 random(seed);
    for (const byte_range &r : f.data) {
        for (std::uint64_t i = 0; i < r.length; ++i) {
            all[static_cast<std::size_t>(r.offset + i)] = static_cast<std::byte>(random() | 1);
        }
    }
    return all;
}

result<> add(tar_writer &tar, const std::string &name, const sparse_file &f,
             const byte_vector &content) {
    FS_CHECK(tar.begin(name, f.size, f.data));
    std::uint64_t at = 0;
    for (const byte_range &r : f.data) {
        FS_CHECK(tar.zeroes(r.offset - at));
        FS_CHECK(tar.data(bytes_view(content).subspan(r.offset, r.length)));
        at = r.offset + r.length;
    }
    return tar.zeroes(f.size - at);
}

byte_reader from(const byte_vector &stream, std::size_t piece) {
    return [&stream, piece, at = std::size_t{0}](bytes_span out) mutable -> result<std::size_t> {
        const std::size_t n = std::min({piece, out.size(), stream.size() - at});
        std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(at), n, out.begin());
        at += n;
        return n;
    };
}

result<std::map<std::string, byte_vector>> unpack(const byte_vector &stream, std::size_t piece) {
    tar_reader tar(from(stream, piece));
    std::map<std::string, byte_vector> files;
    tar_reader::entry e;
    for (;;) {
        FS_TRY(there, tar.next(e));
        if (!there) {
            return files;
        }
        byte_vector content(static_cast<std::size_t>(e.size));
        std::uint64_t offset = 0;
        bytes_view bytes;
        for (;;) {
            FS_TRY(more, tar.data(offset, bytes));
            if (!more) {
                break;
            }
            if (offset > content.size() || bytes.size() > content.size() - offset) {
                return fail(errc::corrupt, "beyond its size");
            }
            std::ranges::copy(bytes, content.begin() + static_cast<std::ptrdiff_t>(offset));
        }
        files[e.name] = std::move(content);
    }
}

const std::map<std::string, sparse_file> samples{
    {"a.img", {1 << 20, {{0, 1 << 20}}}},
    {"b.img", {1 << 20, {}}},
    {"c.img", {3 << 20, {{4096, 8192}, {1 << 20, 1}, {(3 << 20) - 512, 512}}}},
    {"d.img", {100'000, {{0, 1000}, {50'000, 333}}}},
    {"e.img", {7, {{0, 7}}}},
};

byte_vector packed() {
    byte_vector stream;
    tar_writer tar(
        [&](bytes_view bytes) -> result<> {
            stream.insert(stream.end(), bytes.begin(), bytes.end());
            return {};
        },
        1'700'000'000);
    for (const auto &[name, f] : samples) {
        REQUIRE(add(tar, name, f, content_of(f, 1)));
    }
    REQUIRE(tar.finish());
    return stream;
}

} // namespace

TEST_SUITE("carry_tar") {
    TEST_CASE("sparse files come back as they were, whatever pieces the stream comes in") {
        const byte_vector stream = packed();
        CHECK(stream.size() % 10'240 == 0);
        CHECK(stream.size() < (2 << 20)); // holes are not in it
        for (const std::size_t piece : {std::size_t{1000}, std::size_t{512}, stream.size()}) {
            const auto files = unpack(stream, piece);
            REQUIRE(files);
            REQUIRE(files->size() == samples.size());
            for (const auto &[name, f] : samples) {
                CAPTURE(name);
                CHECK(files->at(name) == content_of(f, 1));
            }
        }
    }

    TEST_CASE("a truncated stream is never taken for a whole one") {
        const byte_vector stream = packed();
        for (std::size_t length = 0; length + 20'480 < stream.size(); length += 4'999) {
            const byte_vector part(stream.begin(),
                                   stream.begin() + static_cast<std::ptrdiff_t>(length));
            const auto files = unpack(part, 4096);
            CHECK((!files || files->size() < samples.size()));
        }
    }

    TEST_CASE("what can't be written, or read, ends it with the reason of below") {
        tar_writer tar([](bytes_view) { return fail_errno(ENOSPC, "/x"); }, 0);
        const sparse_file big{4 << 20, {{0, 4 << 20}}};
        auto written = add(tar, "a.img", big, byte_vector(4 << 20));
        if (written) {
            written = tar.finish();
        }
        REQUIRE(!written);
        CHECK(is_errno(written.error(), ENOSPC));
        tar_reader bad([](bytes_span) -> result<std::size_t> { return fail_errno(EIO, "/y"); });
        tar_reader::entry e;
        const auto read = bad.next(e);
        REQUIRE(!read);
        CHECK(is_errno(read.error(), EIO));
    }

    TEST_CASE("other archives are no tar of ours") {
        for (const char *text : {"", "hello", "PK\3\4", "\x1f\x8b\x08"}) {
            const bytes_view bytes = as_bytes(text);
            const byte_vector stream(bytes.begin(), bytes.end());
            CHECK(!unpack(stream, 100));
        }
    }
}

} // namespace farshore::carry
