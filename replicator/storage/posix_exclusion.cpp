// Who else has a file, and how it is kept from others: QEMU by its own locks, loop devices, claims
// of block devices.
//
// QEMU (block/file-posix.c) holds shared locks of the open file description on byte 100 + p for
// each permission p that it uses, and on 200 + p for each that it lets nobody else use; then it
// looks whether anybody holds what it forbids. flock and these locks don't see each other, so we
// hold both: like a QEMU that reads, writes and resizes, and shares nothing but reading.

#include "replicator/base/blocking.hpp"
#include "replicator/base/unique_fd.hpp"
#include "replicator/storage/posix_file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <dirent.h>
#include <fcntl.h>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace farshore {
namespace {

constexpr off_t used_base = 100;
constexpr off_t forbidden_base = 200;
constexpr off_t permissions = 4; ///< consistent read, write, write unchanged, resize
constexpr off_t all_but_read = 1;

struct flock bytes_lock(short type, off_t first, off_t count) {
    struct flock l{};
    l.l_type = type;
    l.l_whence = SEEK_SET;
    l.l_start = first;
    l.l_len = count;
    return l;
}

/// Somebody else holds one of them.
bool held(int fd, off_t first, off_t count) {
    struct flock l = bytes_lock(F_WRLCK, first, count);
    return ::fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

std::string first_line(const std::string &path) {
    std::ifstream in(path);
    std::string line;
    std::getline(in, line);
    return line;
}

using directory = std::unique_ptr<DIR, int (*)(DIR *)>;

/// A loop device that may write to its file.
struct attached_loop {
    std::string name; ///< "loop3"
    dev_t device = 0; ///< of the file
    ino_t inode = 0;
};

std::vector<attached_loop> find_loops() {
    std::vector<attached_loop> found;
    const directory devices(::opendir("/sys/block"), ::closedir);
    while (const dirent *device = devices ? ::readdir(devices.get()) : nullptr) {
        const std::string name = device->d_name;
        if (!name.starts_with("loop")) {
            continue;
        }
        const std::string backing = first_line("/sys/block/" + name + "/loop/backing_file");
        struct stat st{};
        if (!backing.empty() && ::stat(backing.c_str(), &st) == 0 &&
            first_line("/sys/block/" + name + "/ro") != "1") {
            found.push_back({name, st.st_dev, st.st_ino});
        }
    }
    return found;
}

/// What find_loops() finds, looked for again when the kernel has told of any event of a device
/// since, as it does when one is attached, and after a while: a daemon asks for each of its 1,500
/// volumes every few seconds. Any thread.
class known_loops {
  public:
    std::vector<attached_loop> now() {
        const std::lock_guard lock(mutex_); // those who wait for it need not look themselves
        const std::string events = count_of_events();
        const auto time = std::chrono::steady_clock::now();
        if (events.empty() || events != events_ || time - found_at_ > keep_for) {
            found_ = find_loops();
            events_ = events;
            found_at_ = time;
        }
        return found_;
    }

  private:
    /// Of the kernel; empty: it does not tell.
    std::string count_of_events() const {
        std::array<char, 32> text{};
        const ssize_t n = ::pread(count_.get(), text.data(), text.size(), 0);
        return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0))};
    }

    static constexpr auto keep_for = std::chrono::seconds(5);
    std::mutex mutex_;
    unique_fd count_{::open("/sys/kernel/uevent_seqnum", O_RDONLY | O_CLOEXEC)};
    std::vector<attached_loop> found_;
    std::string events_;
    std::chrono::steady_clock::time_point found_at_;
};

bool is_number(const char *text) { return *text >= '0' && *text <= '9'; }

/// Of the process that has the same file open: "qemu-system-x86 (pid 123)". Empty: none is found,
/// or we may not look.
std::string holder_of(const struct stat &wanted) {
    const directory all(::opendir("/proc"), ::closedir);
    const std::string self = std::to_string(::getpid());
    while (const dirent *process = all ? ::readdir(all.get()) : nullptr) {
        if (!is_number(process->d_name) || self == process->d_name) {
            continue;
        }
        const std::string base = std::string("/proc/") + process->d_name;
        const directory open_files(::opendir((base + "/fd").c_str()), ::closedir);
        while (const dirent *entry = open_files ? ::readdir(open_files.get()) : nullptr) {
            struct stat st{};
            if (!is_number(entry->d_name) ||
                ::stat((base + "/fd/" + entry->d_name).c_str(), &st) != 0) {
                continue;
            }
            const bool same = S_ISBLK(wanted.st_mode)
                                  ? S_ISBLK(st.st_mode) && st.st_rdev == wanted.st_rdev
                                  : st.st_dev == wanted.st_dev && st.st_ino == wanted.st_ino;
            if (same) {
                return first_line(base + "/comm") + " (pid " + process->d_name + ")";
            }
        }
    }
    return {};
}

} // namespace

std::unexpected<error> posix_file::in_use(const std::string &how) const {
    struct stat st{};
    const std::string holder = ::fstat(handle_->fd(), &st) == 0 ? holder_of(st) : std::string();
    return fail(errc::busy, path() + " " + how + (holder.empty() ? "" : ", probably " + holder));
}

result<> posix_file::lock_image_bytes() {
    struct flock used = bytes_lock(F_RDLCK, used_base, permissions);
    struct flock forbidden =
        bytes_lock(F_RDLCK, forbidden_base + all_but_read, permissions - all_but_read);
    for (struct flock *one : {&used, &forbidden}) {
        if (::fcntl(handle_->fd(), F_OFD_SETLK, one) == 0) {
            continue;
        }
        if (errno == EAGAIN || errno == EACCES) {
            return in_use("is locked by another process");
        }
        return {}; // a file system without such locks has none of QEMU's either
    }
    if (held(handle_->fd(), forbidden_base, permissions) ||
        held(handle_->fd(), used_base + all_but_read, permissions - all_but_read)) {
        struct flock none = bytes_lock(F_UNLCK, used_base, forbidden_base);
        ::fcntl(handle_->fd(), F_OFD_SETLK, &none);
        return in_use("is in use as a disk image by another process");
    }
    return {};
}

std::string loop_device_on(int fd, const std::string &path) {
    struct stat file{};
    if (::fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) {
        return {};
    }
    static known_loops loops;
    for (const auto &[name, device, inode] : loops.now()) {
        if (device != file.st_dev || inode != file.st_ino) {
            continue;
        }
        return path + " is attached to /dev/" + name +
               ", which may write to it past the daemon; unmount and detach it (losetup -d /dev/" +
               name + ")";
    }
    return {};
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

} // namespace farshore
