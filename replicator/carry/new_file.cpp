#include "replicator/carry/new_file.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace farshore::carry {
namespace {

result<> check_name(const std::string &path, existing when_there) {
    struct stat st{};
    if (::lstat(path.c_str(), &st) != 0) {
        return errno == ENOENT ? result<>{} : fail_errno(errno, path);
    }
    if (!S_ISREG(st.st_mode)) {
        return fail(errc::refused, path + " is there and is no plain file; name another one (a "
                                          "disk is written by `farshore restore`)");
    }
    if (when_there == existing::refuse) {
        return fail(errc::refused,
                    path + " is there already, and was kept; move it away (`export --force` "
                           "replaces a file)");
    }
    return {};
}

result<> sync_directory(const std::string &path) {
    const unique_fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd || ::fsync(fd.get()) != 0) {
        return fail_errno(errno, "syncing directory " + path);
    }
    return {};
}

} // namespace

std::string directory_of(const std::string &path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

std::string base_name(const std::string &path) { return path.substr(path.rfind('/') + 1); }

result<new_file> new_file::make(const std::string &path, existing when_there, partial_as how) {
    if (path.empty() || path.ends_with('/')) {
        return fail(errc::invalid, "\"" + path + "\" is no name of a file");
    }
    FS_CHECK(check_name(path, when_there));
    new_file f;
    f.path_ = path;
    f.when_there_ = when_there;
    std::string name = path + ".partial-XXXXXX";
    const std::string what = fmt::format("a partial file beside {}", path);
    if (how == partial_as::directory) {
        if (::mkdtemp(name.data()) == nullptr) {
            return fail_errno(errno, what);
        }
        f.directory_ = name;
        f.partial_ = name + "/" + base_name(path);
        f.fd_ = unique_fd(::open(f.partial_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    } else {
        f.fd_ = unique_fd(::mkostemp(name.data(), O_CLOEXEC));
        f.partial_ = name;
    }
    if (!f.fd_) {
        return fail_errno(errno, what);
    }
    f.there_ = true;
    return f;
}

new_file::new_file(new_file &&o) noexcept
    : path_(std::move(o.path_)), partial_(std::move(o.partial_)),
      directory_(std::move(o.directory_)), when_there_(o.when_there_), fd_(std::move(o.fd_)),
      there_(std::exchange(o.there_, false)) {
    o.directory_.clear();
}

new_file::~new_file() {
    if (there_) {
        ::unlink(partial_.c_str());
    }
    if (!directory_.empty()) {
        ::rmdir(directory_.c_str());
    }
}

// Order: 1. content durable, 2. the name, 3. the directory. A power cut between 2 and 3 shows
// either no file of that name or the whole one.
result<> new_file::publish() {
    // Another program may have written it (qemu-img): its own descriptor is gone, the pages are the
    // file's.
    if (::fsync(fd_.get()) != 0) {
        return fail_errno(errno, "syncing " + path_);
    }
    const unsigned flags = when_there_ == existing::refuse ? RENAME_NOREPLACE : 0;
    if (::renameat2(AT_FDCWD, partial_.c_str(), AT_FDCWD, path_.c_str(), flags) != 0) {
        return errno == EEXIST ? fail(errc::refused, path_ + " came up meanwhile; it was kept")
                               : fail_errno(errno, "naming " + path_);
    }
    there_ = false;
    return sync_directory(directory_of(path_));
}

void new_file::withdraw() {
    if (!there_) {
        ::unlink(path_.c_str());
    }
}

} // namespace farshore::carry
