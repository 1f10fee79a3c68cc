// Zeroes in the answers to READ.

#include "replicator/base/limits.hpp"
#include "tests/unit/nbd/polled.hpp"

#include <random>

using namespace farshore;
using namespace farshore::nbd;
using namespace farshore::nbd::test;

namespace {

struct told {
    byte_vector data;
    std::vector<byte_range> holes;
    std::size_t chunks = 0;
    std::size_t bytes = 0; ///< of the answer
};

/// Puts a structured answer together as a client does: every byte once, the end said once.
told assemble(bytes_view answer, const request &r) {
    told out;
    out.data = byte_vector(r.length);
    out.bytes = answer.size();
    std::vector<bool> seen(r.length);
    bool done = false;
    byte_reader in(answer);
    while (!in.at_end()) {
        REQUIRE_FALSE(done);
        const auto header = in.structure<chunk_header>();
        REQUIRE(header);
        CHECK(header->magic == structured_reply_magic);
        CHECK(header->cookie == r.cookie);
        done = (header->flags & chunk_flag_done) != 0;
        const auto offset = in.structure<be64>();
        REQUIRE(offset);
        std::size_t n = header->length - sizeof(be64);
        const std::size_t at = *offset - r.offset;
        if (header->type == chunk_offset_hole) {
            CHECK(n == sizeof(be32));
            n = *in.structure<be32>();
            out.holes.push_back({*offset, n});
        } else {
            REQUIRE(header->type == chunk_offset_data);
            const auto content = in.bytes(n);
            REQUIRE(content);
            REQUIRE(at + n <= r.length);
            std::ranges::copy(*content, out.data.begin() + static_cast<std::ptrdiff_t>(at));
        }
        REQUIRE(at + n <= r.length);
        REQUIRE(n > 0);
        bool twice = false; // a check a byte would be most of the test's time
        for (std::size_t i = at; i < at + n; ++i) {
            twice = twice || seen[i];
            seen[i] = true;
        }
        REQUIRE_FALSE(twice);
        ++out.chunks;
    }
    CHECK(done);
    CHECK(std::ranges::find(seen, false) == seen.end());
    return out;
}

constexpr std::uint64_t export_bytes = 2 << 20;

struct rig {
    explicit rig(bool by_pool, bool structured = true)
        : device(std::make_shared<memory_device>(export_bytes)), client(device) {
        device->never_try = by_pool;
        client.exchange(opening(structured));
    }
    told read(std::uint64_t offset, std::uint32_t length, std::uint16_t flags = 0) {
        const request r{
            .flags = flags, .type = command_read, .cookie = 7, .offset = offset, .length = length};
        return assemble(client.exchange(r), r);
    }
    std::shared_ptr<memory_device> device;
    polled_connection client;
};

} // namespace

TEST_SUITE("nbd holes") {
    TEST_CASE("nbd holes: zeroes are told as holes, in between and in full") {
        for (const bool by_pool : {false, true}) {
            rig t(by_pool);
            const told all = t.read(0, 256 << 10);
            CHECK(all.holes == std::vector<byte_range>{{0, 256 << 10}});
            CHECK(all.bytes == sizeof(hole_chunk));
            REQUIRE(t.device->write(65'536, pattern(4096, 1), false));
            const told mixed = t.read(0, 256 << 10);
            CHECK(mixed.holes == std::vector<byte_range>{{0, 65'536}, {69'632, 192'512}});
            CHECK(mixed.chunks == 3);
            CHECK(equal(bytes_view(mixed.data).subspan(65'536, 4096), pattern(4096, 1)));
            // Short runs aren't worth a chunk.
            CHECK(t.read(65'536, 4096 + hole_run_min - 1).holes.empty());
            CHECK(t.read(65'536, 4096 + hole_run_min).holes.size() == 1);
            CHECK(t.read(0, hole_whole_min).holes.size() == 1);
            CHECK(t.read(0, hole_whole_min - 1).holes.empty());
        }
    }

    TEST_CASE("nbd holes: one chunk of data where the client asked for one, or knows no chunks") {
        rig t(false);
        const told one = t.read(0, 256 << 10, command_flag_df);
        CHECK(one.chunks == 1);
        CHECK(one.holes.empty());
        rig simple(false, false);
        CHECK(
            simple.client.exchange({.type = command_read, .cookie = 1, .length = 100'000}).size() ==
            sizeof(simple_reply) + 100'000);
    }

    TEST_CASE("nbd holes: what a client puts together is what the device holds") {
        std::mt19937 chance(4711);
        const auto below = [&](std::size_t n) {
            return std::uniform_int_distribution<std::size_t>(0, n - 1)(chance);
        };
        for (const bool by_pool : {false, true}) {
            rig t(by_pool);
            for (int i = 0; i < 200; ++i) {
                const std::size_t length = 1 + below(i % 4 == 0 ? 200'000 : 9000);
                const std::uint64_t at = below(export_bytes - length);
                REQUIRE(t.device->write(at,
                                        i % 3 == 0 ? byte_vector(length)
                                                   : pattern(length, static_cast<unsigned>(i)),
                                        false));
                const auto n = static_cast<std::uint32_t>(1 + below(i % 2 == 0 ? 700'000 : 70'000));
                const std::uint64_t from = below(export_bytes - n);
                CAPTURE(i);
                CHECK(
                    equal(t.read(from, n).data, bytes_view(t.device->content()).subspan(from, n)));
            }
        }
    }
}
