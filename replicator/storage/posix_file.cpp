#include "replicator/storage/posix_file.hpp"

#include "replicator/base/blocking.hpp"
#include "replicator/base/limits.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <limits>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <thread>

namespace farshore {
namespace {

constexpr std::uint64_t offset_max = std::numeric_limits<off_t>::max();
constexpr std::uint64_t zero_chunk_bytes = limits::MiB;
/// Of a disk image: the kernel caches a write in pages as large as it, and ext4 walks a page from
/// its front at every later write into it.
constexpr std::uint64_t scattered_piece_bytes = 32 * limits::KiB;

/// Extents are gone through one by one, and a large preallocated file has thousands. When it took
/// long, it is not tried again for so many calls.
constexpr auto hole_seek_max = std::chrono::microseconds(200);
constexpr unsigned hole_rests = 64;

bool in_range(std::uint64_t offset, std::uint64_t length) {
    return offset <= offset_max && length <= offset_max - offset;
}

bool means_unsupported(int number) {
    return number == EOPNOTSUPP || number == ENOSYS || number == ENOTTY;
}

class posix_map final : public shared_map {
  public:
    posix_map(std::shared_ptr<posix_handle> handle, bytes_span bytes)
        : handle_(std::move(handle)), bytes_(bytes) {}
    ~posix_map() override { ::munmap(bytes_.data(), bytes_.size()); }
    posix_map(const posix_map &) = delete;
    posix_map &operator=(const posix_map &) = delete;

    bytes_span bytes() override { return bytes_; }
    result<> sync() override { return handle_->sync_map(bytes_); }

  private:
    std::shared_ptr<posix_handle> handle_;
    bytes_span bytes_;
};

} // namespace

result<> posix_handle::check_alive() const {
    if (dead_.load(std::memory_order_acquire)) {
        return fail(errc::dead, path_ + " is not written any more since a sync of it failed");
    }
    return {};
}

// A sync that runs when we arrive may have begun before our last write, so it doesn't count for us;
// the next one to begin does, whoever begins it.
result<> posix_handle::sync() {
    may_block();
    std::unique_lock lock(mutex_);
    const std::uint64_t needed = started_ + 1;
    ended_.wait(lock, [&] { return dead_ || finished_ >= needed || !running_; });
    FS_CHECK(check_alive());
    if (finished_ >= needed) {
        return {};
    }
    running_ = true;
    const std::uint64_t number = ++started_;
    lock.unlock();
    const int reason = ::fdatasync(fd()) == 0 ? 0 : errno;
    lock.lock();
    running_ = false;
    if (reason == 0) {
        finished_ = number;
    } else {
        dead_.store(true, std::memory_order_release);
    }
    ended_.notify_all();
    if (reason != 0) {
        return fail_errno(reason, "can't sync " + path_);
    }
    return {};
}

result<> posix_handle::sync_all() {
    may_block();
    return sync_alone([this] { return ::fsync(fd()); }, "can't sync ");
}

result<> posix_handle::sync_map(bytes_span map) {
    may_block();
    return sync_alone([map] { return ::msync(map.data(), map.size(), MS_SYNC); },
                      "can't sync the map of ");
}

template <class F>
result<> posix_handle::sync_alone(F call, const char *context) {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return dead_ || !running_; });
    FS_CHECK(check_alive());
    running_ = true;
    lock.unlock();
    const int reason = call() == 0 ? 0 : errno;
    lock.lock();
    running_ = false;
    if (reason != 0) {
        dead_.store(true, std::memory_order_release);
    }
    ended_.notify_all();
    if (reason != 0) {
        return fail_errno(reason, context + path_);
    }
    return {};
}

posix_file::posix_file(unique_fd fd, std::string path, bool block_special, bool writable)
    : handle_(std::make_shared<posix_handle>(std::move(fd), std::move(path))),
      block_special_(block_special), writable_(writable) {
    int sector = 0;
    if (block_special_ && ::ioctl(handle_->fd(), BLKSSZGET, &sector) == 0 && sector > 0) {
        sector_bytes_ = static_cast<std::uint64_t>(sector);
    }
    struct statfs where{};
    holes_told_ = ::fstatfs(handle_->fd(), &where) == 0 &&
                  holes_are_told(static_cast<std::uint64_t>(where.f_type));
}

// ZFS before 2.1.14 and 2.2.2 takes what was just written for a hole (openzfs issue 15526); which
// one it is can't be asked.
bool holes_are_told(std::uint64_t file_system_magic) {
    constexpr std::uint64_t zfs = 0x2FC12FC1;
    return file_system_magic != zfs;
}

result<std::uint64_t> posix_file::size() {
    may_block();
    if (block_special_) {
        std::uint64_t bytes = 0;
        if (::ioctl(handle_->fd(), BLKGETSIZE64, &bytes) != 0) {
            return fail_errno(errno, "can't ask for the size of " + path());
        }
        return bytes;
    }
    struct stat st{};
    if (::fstat(handle_->fd(), &st) != 0) {
        return fail_errno(errno, "can't ask for the size of " + path());
    }
    return static_cast<std::uint64_t>(st.st_size);
}

result<> posix_file::read_at(std::uint64_t offset, bytes_span out) {
    may_block();
    if (!in_range(offset, out.size())) {
        return fail(errc::corrupt, "can't read " + path() + " beyond its end");
    }
    while (!out.empty()) {
        const ssize_t n =
            ::pread(handle_->fd(), out.data(), out.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail_errno(errno, "can't read " + path());
        }
        if (n == 0) {
            return fail(errc::corrupt, "can't read " + path() + " beyond its end");
        }
        out = out.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
    return {};
}

result<bool> posix_file::read_at_cached(std::uint64_t offset, bytes_span out) {
    if (!cached_reads_supported_.load(std::memory_order_relaxed) || !in_range(offset, out.size())) {
        return false;
    }
    const iovec piece{out.data(), out.size()};
    const ssize_t n = ::preadv2(handle_->fd(), &piece, 1, static_cast<off_t>(offset), RWF_NOWAIT);
    if (n >= 0) {
        return static_cast<std::size_t>(n) == out.size();
    }
    if (means_unsupported(errno)) {
        cached_reads_supported_.store(false, std::memory_order_relaxed);
        return false;
    }
    if (errno == EAGAIN || errno == EINTR) {
        return false;
    }
    return fail_errno(errno, "can't read " + path());
}

result<> posix_file::write_at(std::uint64_t offset, bytes_view data) {
    may_block();
    FS_CHECK(handle_->check_alive());
    if (!in_range(offset, data.size())) {
        return fail_errno(EFBIG, "can't write " + path());
    }
    while (!data.empty()) {
        std::size_t piece = data.size();
        if (scattered_.load(std::memory_order_relaxed)) {
            piece = std::min<std::uint64_t>(piece,
                                            scattered_piece_bytes - offset % scattered_piece_bytes);
        }
        const ssize_t n = ::pwrite(handle_->fd(), data.data(), piece, static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            // Zero bytes without an error is what a full block device may answer.
            return fail_errno(n < 0 ? errno : ENOSPC, "can't write " + path());
        }
        data = data.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
    return {};
}

result<> posix_file::sync_data() { return handle_->sync(); }
result<> posix_file::sync_all() { return handle_->sync_all(); }

result<> posix_file::renew_times() {
    may_block();
    FS_CHECK(handle_->check_alive());
    if (!block_special_ && ::futimens(handle_->fd(), nullptr) != 0) {
        return fail_errno(errno, "can't set the times of " + path());
    }
    return {};
}

namespace {

// Newer than the kernel headers that we are built with.
constexpr unsigned statx_mount_unique = 0x00004000U;

std::int64_t ns_of(const statx_timestamp &t) {
    constexpr std::int64_t second = 1'000'000'000;
    return t.tv_sec * second + t.tv_nsec;
}

std::uint64_t device_number(unsigned major, unsigned minor) { return makedev(major, minor); }

} // namespace

result<file_identity> posix_file::identity() {
    may_block();
    struct statx st{};
    if (::statx(handle_->fd(), "", AT_EMPTY_PATH,
                STATX_BASIC_STATS | STATX_BTIME | statx_mount_unique, &st) != 0) {
        return fail_errno(errno, "can't ask what " + path() + " is");
    }
    file_identity id;
    id.device = device_number(st.stx_dev_major, st.stx_dev_minor);
    id.inode = st.stx_ino;
    id.mount = mounted_instance(st.stx_dev_major, st.stx_dev_minor,
                                (st.stx_mask & statx_mount_unique) != 0 ? st.stx_mnt_id : 0);
    id.born = (st.stx_mask & STATX_BTIME) != 0 ? ns_of(st.stx_btime) : 0;
    id.size = st.stx_size;
    id.modified = ns_of(st.stx_mtime);
    id.changed = ns_of(st.stx_ctime);
    if (block_special_) {
        FS_TRY(bytes, size());
        id.device = device_number(st.stx_rdev_major, st.stx_rdev_minor);
        id.size = bytes;
        id.modified = id.changed = 0;
        std::uint64_t sequence = 0;
        if (::ioctl(handle_->fd(), BLKGETDISKSEQ, &sequence) == 0) {
            id.instance = sequence;
        }
    }
    return id;
}

result<bool> posix_file::named() {
    may_block();
    struct stat here{};
    struct stat there{};
    const std::string context = "can't ask what " + path() + " is";
    if (::fstat(handle_->fd(), &here) != 0) {
        return fail_errno(errno, context);
    }
    if (::stat(path().c_str(), &there) != 0) {
        if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) {
            return false;
        }
        return fail_errno(errno, context);
    }
    if (block_special_) {
        return S_ISBLK(there.st_mode) && there.st_rdev == here.st_rdev;
    }
    return there.st_dev == here.st_dev && there.st_ino == here.st_ino;
}

result<> posix_file::truncate(std::uint64_t size) {
    may_block();
    const std::string context = "can't set the size of " + path();
    FS_CHECK(handle_->check_alive());
    if (block_special_) {
        return fail(errc::invalid, context + ", a block device");
    }
    if (!in_range(size, 0)) {
        return fail_errno(EFBIG, context);
    }
    int rc = 0;
    do {
        rc = ::ftruncate(handle_->fd(), static_cast<off_t>(size));
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        return fail_errno(errno, context);
    }
    return {};
}

result<> posix_file::allocate(std::uint64_t size) {
    may_block();
    const std::string context = "can't reserve space for " + path();
    FS_CHECK(handle_->check_alive());
    if (block_special_) {
        FS_TRY(present, this->size());
        return size <= present ? result<>() : fail_errno(ENOSPC, context);
    }
    if (!in_range(size, 0)) {
        return fail_errno(EFBIG, context);
    }
    if (size == 0) {
        return {};
    }
    int reason = 0;
    do {
        reason = ::posix_fallocate(handle_->fd(), 0, static_cast<off_t>(size));
    } while (reason == EINTR);
    if (reason != 0) {
        return fail_errno(reason, context);
    }
    return {};
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

result<> posix_file::lock() {
    may_block();
    if (block_special_) {
        FS_CHECK(claim_block_device());
    }
    FS_CHECK(lock_flock());
    FS_CHECK(lock_image_bytes());
    if (const std::string loop = intruder(); !loop.empty()) {
        return fail(errc::busy, loop);
    }
    return {};
}

// The exclusive descriptor takes the place of the shared one, so that later calls count as the
// claimant's: fallocate on a device whose claim is held by another descriptor fails over dirty
// pages with EBUSY.
result<> posix_file::claim_block_device() {
    if (claimed_) {
        return {};
    }
    const std::string self = "/proc/self/fd/" + std::to_string(handle_->fd());
    const int flags = (writable_ ? O_RDWR : O_RDONLY) | O_EXCL | O_CLOEXEC;
    const unique_fd claimed(::open(self.c_str(), flags));
    if (!claimed && errno == EBUSY) {
        return in_use("is mounted or claimed by another user of the device");
    }
    if (!claimed || ::dup3(claimed.get(), handle_->fd(), O_CLOEXEC) < 0) {
        return fail_errno(errno, "can't claim " + path());
    }
    claimed_ = true;
    return {};
}

result<> posix_file::lock_flock() {
    // udev holds a shared lock on block devices while it probes them, a few milliseconds after
    // each close of a writer: no reason to refuse.
    int attempts = block_special_ ? 50 : 1;
    while (::flock(handle_->fd(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) {
            continue;
        }
        if (errno != EWOULDBLOCK) {
            return fail_errno(errno, "can't lock " + path());
        }
        if (--attempts == 0) {
            return in_use("is locked by another process");
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return {};
}

void posix_file::expect_scattered_use() {
    ::posix_fadvise(handle_->fd(), 0, 0, POSIX_FADV_RANDOM);
    scattered_.store(true, std::memory_order_relaxed);
}

result<> posix_file::drop_cached() {
    may_block();
    FS_CHECK(sync_data());
    ::posix_fadvise(handle_->fd(), 0, 0, POSIX_FADV_DONTNEED);
    return {};
}

result<std::unique_ptr<shared_map>> posix_file::map(std::uint64_t size) {
    may_block();
    const std::string context = "can't map " + path();
    FS_TRY(present, this->size());
    if (size == 0 || size > present) {
        // Touching a page behind the end would kill the process by SIGBUS.
        return fail(errc::invalid, context + " beyond its end");
    }
    void *at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, handle_->fd(), 0);
    if (at == MAP_FAILED) {
        return fail_errno(errno, context);
    }
    return std::make_unique<posix_map>(handle_, bytes_span(static_cast<std::byte *>(at), size));
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
