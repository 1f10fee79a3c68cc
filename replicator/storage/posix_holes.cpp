// Where a file has data and where holes, and how a range of it becomes zero. What a file system
// says of holes is believed where it is known to be true, and asked for only while that is cheap.

#include "replicator/base/blocking.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/storage/posix_calls.hpp"
#include "replicator/storage/posix_file.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <unistd.h>

namespace farshore {
namespace {

constexpr std::uint64_t zero_chunk_bytes = limits::MiB;

/// Extents are gone through one by one, and a large preallocated file has thousands. When it took
/// long, it is not tried again for so many calls.
constexpr auto hole_seek_max = std::chrono::microseconds(200);
constexpr unsigned hole_rests = 64;

} // namespace

// ZFS before 2.1.14 and 2.2.2 takes what was just written for a hole (openzfs issue 15526); which
// one it is can't be asked.
bool holes_are_told(std::uint64_t file_system_magic) {
    constexpr std::uint64_t zfs = 0x2FC12FC1;
    return file_system_magic != zfs;
}

result<byte_range> posix_file::next_data(std::uint64_t offset) {
    may_block();
    FS_TRY(end, size());
    if (offset >= end) {
        return byte_range{end, 0};
    }
    if (!holes_told_) {
        return byte_range{offset, end - offset};
    }
    // Again when what was found has been punched meanwhile: what lies behind it may still be data.
    constexpr int tries = 8;
    for (int i = 0; i < tries; ++i) {
        const off_t start = ::lseek(handle_->fd(), static_cast<off_t>(offset), SEEK_DATA);
        if (start < 0 && errno == ENXIO) {
            return byte_range{end, 0};
        }
        if (start < 0) {
            break;
        }
        const std::uint64_t first = static_cast<std::uint64_t>(start);
        const off_t hole = ::lseek(handle_->fd(), start, SEEK_HOLE);
        const std::uint64_t last = hole < 0 ? end : std::min(static_cast<std::uint64_t>(hole), end);
        if (first < last) {
            return byte_range{first, last - first};
        }
    }
    return byte_range{offset, end - offset}; // can't tell
}

result<bool> posix_file::is_hole(byte_range range) {
    may_block();
    if (!holes_told_ || !in_range(range.offset, range.length)) {
        return false;
    }
    if (unsigned rests = hole_rests_.load(std::memory_order_relaxed);
        rests > 0 && hole_rests_.compare_exchange_strong(rests, rests - 1)) {
        return false;
    }
    const auto began = std::chrono::steady_clock::now();
    const off_t data = ::lseek(handle_->fd(), static_cast<off_t>(range.offset), SEEK_DATA);
    const int reason = errno;
    if (std::chrono::steady_clock::now() - began > hole_seek_max) {
        hole_rests_.store(hole_rests, std::memory_order_relaxed);
    }
    if (data >= 0) {
        return static_cast<std::uint64_t>(data) >= range.end();
    }
    if (reason != ENXIO) {
        return false;
    }
    FS_TRY(end, size()); // ENXIO is also the answer beyond the end of a file that shrank
    return range.end() <= end;
}

result<bool> posix_file::zero_fast(byte_range range, int how) {
    int rc = 0;
    do {
        rc = ::fallocate(handle_->fd(), how | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(range.offset),
                         static_cast<off_t>(range.length));
    } while (rc != 0 && errno == EINTR);
    if (rc == 0) {
        return true;
    }
    if (means_unsupported(errno)) {
        return false;
    }
    return fail_errno(errno, "can't zero a range of " + path());
}

result<> posix_file::write_zeroes(byte_range range) {
    if (range.length == 0) {
        return {};
    }
    const byte_vector zeroes(std::min(range.length, zero_chunk_bytes));
    while (range.length > 0) {
        const std::uint64_t n = std::min<std::uint64_t>(range.length, zeroes.size());
        FS_CHECK(write_at(range.offset, bytes_view(zeroes).first(n)));
        range.offset += n;
        range.length -= n;
    }
    return {};
}

result<> posix_file::zero(byte_range range, bool keep_allocated, bool only_if_fast) {
    may_block();
    FS_CHECK(handle_->check_alive());
    FS_TRY(end, size());
    if (range.offset >= end || range.length == 0) {
        return {};
    }
    range.length = std::min(range.length, end - range.offset);
    // fallocate of a block device takes whole logical blocks only; the rims are written.
    const std::uint64_t unit = sector_bytes_;
    const std::uint64_t first = std::min((range.offset + unit - 1) / unit * unit, range.end());
    const std::uint64_t last = std::max(range.end() / unit * unit, first);
    bool done = first == last;
    if (!done && !keep_allocated) {
        FS_TRY(punched, zero_fast({first, last - first}, FALLOC_FL_PUNCH_HOLE));
        done = punched;
    }
    // The kernel zeroes a range of a block device by writing where the device can't: not fast.
    if (!done && !(block_special_ && only_if_fast)) {
        FS_TRY(zeroed, zero_fast({first, last - first}, FALLOC_FL_ZERO_RANGE));
        done = zeroed;
    }
    if (!done && only_if_fast) {
        return fail_errno(ENOTSUP, "can't zero a range of " + path() + " fast");
    }
    if (!done) {
        return write_zeroes(range);
    }
    FS_CHECK(write_zeroes({range.offset, first - range.offset}));
    return write_zeroes({last, range.end() - last});
}

} // namespace farshore
