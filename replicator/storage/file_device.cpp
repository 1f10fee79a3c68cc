#include "replicator/storage/file_device.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>

namespace farshore {
namespace {

constexpr std::uint32_t state_hole = 1; // NBD_STATE_HOLE
constexpr std::uint32_t state_zero = 2; // NBD_STATE_ZERO

/// Appends a run, joined with the last one when it says the same.
void append(std::vector<status_extent> &extents, std::uint64_t length, std::uint32_t flags) {
    if (length == 0) {
        return;
    }
    if (!extents.empty() && extents.back().flags == flags) {
        extents.back().length += length;
    } else {
        extents.push_back({length, flags});
    }
}

} // namespace

result<std::unique_ptr<file_device>> file_device::open(std::shared_ptr<file> backing,
                                                       bool read_only) {
    FS_TRY(size, backing->size());
    return std::unique_ptr<file_device>(new file_device(std::move(backing), size, read_only));
}

void file_device::assert_inside(std::uint64_t offset, std::uint64_t length) const {
    REPL_ASSERT(offset <= size_ && length <= size_ - offset);
}

result<> file_device::read(std::uint64_t offset, bytes_span out) {
    assert_inside(offset, out.size());
    return file_->read_at(offset, out);
}

result<bool> file_device::try_read(std::uint64_t offset, bytes_span out) {
    assert_inside(offset, out.size());
    return file_->read_at_cached(offset, out);
}

result<> file_device::write(std::uint64_t offset, bytes_view data, bool fua) {
    REPL_ASSERT(!read_only_);
    assert_inside(offset, data.size());
    FS_CHECK(file_->write_at(offset, data));
    return fua ? flush() : result<>();
}

result<bool> file_device::try_write(std::uint64_t offset, bytes_view data) {
    FS_CHECK(write(offset, data, false));
    return true;
}

result<> file_device::flush() {
    // NBD allows a flush of a read-only export; there is nothing of ours to make durable.
    return read_only_ ? result<>() : file_->sync_data();
}

result<> file_device::trim(byte_range range, bool fua) { return write_zeroes(range, {.fua = fua}); }

result<> file_device::write_zeroes(byte_range range, zero_options options) {
    REPL_ASSERT(!read_only_);
    assert_inside(range.offset, range.length);
    FS_CHECK(file_->zero(range, options.keep_allocated, options.only_if_fast));
    return options.fua ? flush() : result<>();
}

result<bool> file_device::try_zero(byte_range range, zero_options options) {
    REPL_ASSERT(!read_only_);
    assert_inside(range.offset, range.length);
    if (options.fua || options.keep_allocated || range.length == 0) {
        return false;
    }
    return file_->is_hole(range);
}

result<std::vector<status_extent>> file_device::status(byte_range range, status_context context,
                                                       std::size_t max) {
    assert_inside(range.offset, range.length);
    REPL_ASSERT(max > 0 && range.length > 0);
    if (context != status_context::allocation) {
        return fail(errc::unsupported, file_->path() + " does not track what is dirty");
    }
    std::vector<status_extent> extents;
    std::uint64_t at = range.offset;
    while (at < range.end()) {
        FS_TRY(data, file_->next_data(at));
        const std::uint64_t start =
            data.length == 0 ? range.end() : std::clamp(data.offset, at, range.end());
        const std::uint64_t end = data.length == 0 ? start : std::min(data.end(), range.end());
        append(extents, start - at, state_hole | state_zero);
        append(extents, end - start, 0);
        if (extents.size() > max) {
            extents.resize(max);
            break;
        }
        at = end;
    }
    return extents;
}

} // namespace farshore
