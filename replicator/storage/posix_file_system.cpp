#include "replicator/storage/posix_file_system.hpp"

#include "replicator/base/blocking.hpp"
#include "replicator/base/unique_fd.hpp"
#include "replicator/storage/posix_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <memory>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

namespace farshore {
namespace {

int open_retrying(const char *path, int flags, mode_t mode = 0) {
    int fd = -1;
    do {
        fd = ::open(path, flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

int flags_of(open_mode mode) {
    switch (mode) {
    case open_mode::read:
        return O_RDONLY;
    case open_mode::read_write:
        return O_RDWR;
    case open_mode::create:
        return O_RDWR | O_CREAT;
    case open_mode::create_new:
        return O_RDWR | O_CREAT | O_EXCL;
    case open_mode::read_write_no_link:
        return O_RDWR | O_NOFOLLOW;
    case open_mode::create_no_link:
        return O_RDWR | O_CREAT | O_NOFOLLOW;
    }
    return O_RDONLY;
}

/// Parents of `path` and itself, from the top; without "" and "/".
std::vector<std::string> prefixes_of(const std::string &path) {
    std::vector<std::string> prefixes;
    std::size_t at = path.find_first_not_of('/');
    while (at != std::string::npos) {
        const std::size_t slash = path.find('/', at);
        prefixes.push_back(path.substr(0, slash));
        at = path.find_first_not_of('/', slash);
    }
    return prefixes;
}

} // namespace

result<std::unique_ptr<file>> posix_file_system::open(const std::string &path, open_mode mode) {
    may_block();
    const std::string context = "can't open " + path;
    // O_NONBLOCK: a FIFO in the place of a file must not hang us; it means nothing to files.
    unique_fd fd(open_retrying(path.c_str(), flags_of(mode) | O_NONBLOCK | O_NOCTTY, 0600));
    if (!fd && errno == ELOOP && (flags_of(mode) & O_NOFOLLOW) != 0) {
        return fail_errno(ELOOP, context + ": a symbolic link is not followed here");
    }
    if (!fd) {
        return fail_errno(errno, context);
    }
    struct stat st{};
    if (::fstat(fd.get(), &st) != 0) {
        return fail_errno(errno, context);
    }
    if (S_ISDIR(st.st_mode)) {
        return fail_errno(EISDIR, context);
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        return fail(errc::invalid, context + ", which is neither a file nor a block device");
    }
    int read_only = 0;
    if (S_ISBLK(st.st_mode) && mode != open_mode::read &&
        ::ioctl(fd.get(), BLKROGET, &read_only) == 0 && read_only != 0) {
        return fail_errno(EROFS,
                          context); // Linux lets such a device be opened and fails the writes
    }
    if (::fcntl(fd.get(), F_SETFL, 0) != 0) {
        return fail_errno(errno, context);
    }
    return std::make_unique<posix_file>(std::move(fd), path, S_ISBLK(st.st_mode),
                                        mode != open_mode::read);
}

result<bool> posix_file_system::exists(const std::string &path) {
    may_block();
    struct stat st{};
    if (::stat(path.c_str(), &st) == 0) {
        return true;
    }
    if (errno == ENOENT || errno == ENOTDIR) {
        return false;
    }
    return fail_errno(errno, "can't look for " + path);
}

// Each parent is synced before the next directory is made in it, so when a process was killed on
// the way only the deepest directory that exists can be not durable: its parent is synced as well,
// as far as we may. We need not be allowed to open the parent of a directory that someone else
// made, and then it was not us who was killed half-way.
result<> posix_file_system::make_directories(const std::string &path) {
    may_block();
    std::string deepest;
    for (const std::string &prefix : prefixes_of(path)) {
        if (::mkdir(prefix.c_str(), 0700) == 0) {
            if (!deepest.empty()) {
                static_cast<void>(sync_directory(parent_path(deepest)));
                deepest.clear();
            }
            FS_CHECK(sync_directory(parent_path(prefix)));
            continue;
        }
        const std::string context = "can't make directory " + prefix;
        const int reason = errno;
        struct stat st{};
        // EROFS and EACCES may come before EEXIST: what counts is that the directory is there.
        if (::stat(prefix.c_str(), &st) != 0) {
            return fail_errno(reason, context);
        }
        if (!S_ISDIR(st.st_mode)) {
            return fail_errno(ENOTDIR, context);
        }
        deepest = prefix;
    }
    if (!deepest.empty()) {
        static_cast<void>(sync_directory(parent_path(deepest)));
    }
    return {};
}

result<std::vector<std::string>> posix_file_system::list(const std::string &directory) {
    may_block();
    const std::string context = "can't list " + directory;
    const std::unique_ptr<DIR, int (*)(DIR *)> stream(::opendir(directory.c_str()), ::closedir);
    if (!stream) {
        return fail_errno(errno, context);
    }
    std::vector<std::string> names;
    while (true) {
        errno = 0;
        const dirent *entry = ::readdir(stream.get());
        if (entry == nullptr) {
            if (errno != 0) {
                return fail_errno(errno, context);
            }
            break;
        }
        std::string name(entry->d_name);
        if (name != "." && name != "..") {
            names.push_back(std::move(name));
        }
    }
    std::sort(names.begin(), names.end());
    return names;
}

result<> posix_file_system::rename(const std::string &from, const std::string &to) {
    may_block();
    if (::rename(from.c_str(), to.c_str()) != 0) {
        return fail_errno(errno, "can't rename " + from + " to " + to);
    }
    return {};
}

result<> posix_file_system::remove(const std::string &path) {
    may_block();
    if (std::remove(path.c_str()) != 0 && errno != ENOENT) {
        return fail_errno(errno, "can't remove " + path);
    }
    return {};
}

result<> posix_file_system::sync_directory(const std::string &directory) {
    may_block();
    const std::string context = "can't sync directory " + directory;
    const unique_fd fd(open_retrying(directory.c_str(), O_RDONLY | O_DIRECTORY));
    if (!fd) {
        return fail_errno(errno, context);
    }
    if (::fsync(fd.get()) != 0) {
        return fail_errno(errno, context);
    }
    return {};
}

result<std::uint64_t> posix_file_system::free_bytes(const std::string &path) {
    may_block();
    struct statvfs st{};
    int rc = 0;
    do {
        rc = ::statvfs(path.c_str(), &st);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        return fail_errno(errno, "can't ask for the free space at " + path);
    }
    return static_cast<std::uint64_t>(st.f_bavail) * st.f_frsize;
}

// The coarse clock: the kernel stamps files with it.
std::int64_t posix_file_system::now() {
    struct timespec t{};
    ::clock_gettime(CLOCK_REALTIME_COARSE, &t);
    constexpr std::int64_t second = 1'000'000'000;
    return t.tv_sec * second + t.tv_nsec;
}

} // namespace farshore
