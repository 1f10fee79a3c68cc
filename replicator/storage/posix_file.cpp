#include "replicator/storage/posix_file.hpp"

#include "replicator/base/blocking.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/storage/posix_calls.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>

namespace farshore {
namespace {

/// Of a disk image: the kernel caches a write in pages as large as it, and ext4 walks a page from
/// its front at every later write into it.
constexpr std::uint64_t scattered_piece_bytes = 32 * limits::KiB;

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
    id.mount = mounted_;
    if (id.mount == 0) {
        id.mount = mounted_instance(st.stx_dev_major, st.stx_dev_minor,
                                    (st.stx_mask & statx_mount_unique) != 0 ? st.stx_mnt_id : 0);
        mounted_ = id.mount;
    }
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

} // namespace farshore
