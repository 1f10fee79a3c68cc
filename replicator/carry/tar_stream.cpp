#include "replicator/carry/tar_stream.hpp"

#include "replicator/base/assert.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <archive.h>
#include <archive_entry.h>
#include <array>

namespace farshore::carry {
namespace {

constexpr int record_bytes = 10'240; ///< a tar is whole records of 20 blocks, as tapes want
constexpr int block_bytes_out = 25 * record_bytes; ///< handed on at once
constexpr std::size_t block_bytes_in = 256 * 1024;
constexpr std::uint64_t first_bytes = 4096;

using entry_ptr = std::unique_ptr<archive_entry, decltype(&archive_entry_free)>;

} // namespace

/// libarchive's callbacks.
struct tar_calls {
    static la_ssize_t write(archive *, void *self, const void *bytes, std::size_t count) {
        auto &w = *static_cast<tar_writer *>(self);
        if (w.written_) {
            w.written_ = w.out_({static_cast<const std::byte *>(bytes), count});
        }
        return w.written_ ? static_cast<la_ssize_t>(count) : -1;
    }
    static la_ssize_t read(archive *, void *self, const void **bytes) {
        auto &r = *static_cast<tar_reader *>(self);
        const auto n = r.in_(r.buffer_);
        if (!n) {
            r.read_ = std::unexpected(n.error());
            return -1;
        }
        *bytes = r.buffer_.data();
        return static_cast<la_ssize_t>(*n);
    }
};

// ---- writing
// -----------------------------------------------------------------------------------------

tar_writer::tar_writer(byte_writer out, std::int64_t seconds)
    : out_(std::move(out)), seconds_(seconds), archive_(::archive_write_new()) {
    REPL_ASSERT(archive_ != nullptr);
    ::archive_write_set_format_pax(archive_);
    ::archive_write_set_bytes_per_block(archive_, block_bytes_out);
    ::archive_write_set_bytes_in_last_block(archive_, record_bytes);
    ::archive_write_open(archive_, this, nullptr, tar_calls::write, nullptr);
}

// Not finished means failed: nothing more is to be written.
tar_writer::~tar_writer() {
    if (archive_ != nullptr) {
        ::archive_write_fail(archive_);
        ::archive_write_free(archive_);
    }
}

std::unexpected<error> tar_writer::failed() {
    if (!written_) {
        return std::unexpected(written_.error());
    }
    const char *text = ::archive_error_string(archive_);
    return fail(errc::limit, fmt::format("writing the tar: {}", text != nullptr ? text : "failed"));
}

result<> tar_writer::begin(const std::string &name, std::uint64_t size,
                           const std::vector<byte_range> &data) {
    const entry_ptr entry(::archive_entry_new(), ::archive_entry_free);
    REPL_ASSERT(entry != nullptr);
    ::archive_entry_set_pathname(entry.get(), name.c_str());
    ::archive_entry_set_filetype(entry.get(), AE_IFREG);
    ::archive_entry_set_perm(entry.get(), 0600);
    ::archive_entry_set_size(entry.get(), static_cast<la_int64_t>(size));
    ::archive_entry_set_mtime(entry.get(), seconds_, 0);
    const bool sparse = data.size() != 1 || data.front().length != size;
    if (sparse && size > 0) {
        // A list of no data at all would mean that nothing is a hole.
        if (data.empty()) {
            ::archive_entry_sparse_add_entry(entry.get(), 0,
                                             static_cast<la_int64_t>(std::min(size, first_bytes)));
        }
        for (const byte_range &r : data) {
            ::archive_entry_sparse_add_entry(entry.get(), static_cast<la_int64_t>(r.offset),
                                             static_cast<la_int64_t>(r.length));
        }
    }
    return ::archive_write_header(archive_, entry.get()) == ARCHIVE_OK ? result<>{} : failed();
}

result<> tar_writer::data(bytes_view bytes) {
    while (!bytes.empty()) {
        const la_ssize_t n = ::archive_write_data(archive_, bytes.data(), bytes.size());
        if (n <= 0) {
            return failed();
        }
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
}

// What the list of data leaves out is counted and dropped by libarchive.
result<> tar_writer::zeroes(std::uint64_t count) {
    static constexpr std::array<std::byte, 1024 * 1024> nothing{};
    while (count > 0) {
        const auto now = static_cast<std::size_t>(std::min<std::uint64_t>(count, nothing.size()));
        FS_CHECK(data(bytes_view(nothing).first(now)));
        count -= now;
    }
    return {};
}

result<> tar_writer::finish() {
    if (::archive_write_close(archive_) != ARCHIVE_OK) {
        return failed();
    }
    ::archive_write_free(archive_);
    archive_ = nullptr;
    return {};
}

// ---- reading
// -----------------------------------------------------------------------------------------

tar_reader::tar_reader(byte_reader in)
    : in_(std::move(in)), buffer_(block_bytes_in), archive_(::archive_read_new()) {
    REPL_ASSERT(archive_ != nullptr);
    ::archive_read_support_format_tar(archive_); // and nothing else: no filter, no other format
}

tar_reader::~tar_reader() { ::archive_read_free(archive_); }

std::unexpected<error> tar_reader::failed() {
    if (!read_) {
        return std::unexpected(read_.error());
    }
    const char *text = ::archive_error_string(archive_);
    return fail(errc::corrupt,
                fmt::format("the stream is no whole tar of `farshore export`: {}; nothing was kept",
                            text != nullptr ? text : "it can't be read"));
}

result<bool> tar_reader::next(entry &out) {
    if (!opened_) { // late, since it reads
        opened_ = true;
        if (::archive_read_open(archive_, this, nullptr, tar_calls::read, nullptr) != ARCHIVE_OK) {
            return failed();
        }
    }
    archive_entry *e = nullptr;
    const int got = ::archive_read_next_header(archive_, &e);
    if (got == ARCHIVE_EOF) {
        return false;
    }
    if (got != ARCHIVE_OK) {
        return failed();
    }
    const char *name = ::archive_entry_pathname(e);
    out.name = name != nullptr ? name : "";
    out.size = static_cast<std::uint64_t>(std::max<la_int64_t>(0, ::archive_entry_size(e)));
    out.plain_file = ::archive_entry_filetype(e) == AE_IFREG &&
                     ::archive_entry_hardlink(e) == nullptr &&
                     ::archive_entry_symlink(e) == nullptr;
    return true;
}

result<bool> tar_reader::data(std::uint64_t &offset, bytes_view &bytes) {
    const void *block = nullptr;
    std::size_t count = 0;
    la_int64_t at = 0;
    const int got = ::archive_read_data_block(archive_, &block, &count, &at);
    if (got == ARCHIVE_EOF) {
        return false;
    }
    if (got != ARCHIVE_OK || at < 0) {
        return failed();
    }
    offset = static_cast<std::uint64_t>(at);
    bytes = {static_cast<const std::byte *>(block), count};
    return true;
}

} // namespace farshore::carry
