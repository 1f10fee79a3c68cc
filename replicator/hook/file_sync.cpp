#include "replicator/hook/file_sync.hpp"

#include "replicator/base/unique_fd.hpp"

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>

namespace farshore::hook {

result<> sync_path(const std::string &path) {
    const unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd || ::fsync(fd.get()) != 0) {
        return fail_errno(errno, "fsync of " + path);
    }
    return {};
}

result<> sync_files_in(const std::string &directory) {
    std::error_code wrong;
    for (const auto &entry : std::filesystem::directory_iterator(directory, wrong)) {
        if (const auto done = sync_path(entry.path()); !done && !is_errno(done.error(), ENOENT)) {
            return done;
        }
    }
    if (wrong) {
        return fail(wrong, directory);
    }
    return sync_path(directory);
}

} // namespace farshore::hook
