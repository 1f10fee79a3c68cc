#include "replicator/hook/mount_table.hpp"

#include "replicator/hook/hook_limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <libmount/libmount.h>
#include <memory>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace farshore::hook {
namespace {

std::string text_of(const char *text) { return text == nullptr ? "" : text; }

/// "/a/b/c" -> "/a/b"; "/" stays.
std::string above(const std::string &path) {
    const auto slash = path.rfind('/');
    return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

/// The file behind a loop device; empty for other devices.
std::string loop_file(dev_t device) {
    std::ifstream file(
        fmt::format("/sys/dev/block/{}:{}/loop/backing_file", ::major(device), ::minor(device)));
    std::string path;
    std::getline(file, path);
    return path;
}

} // namespace

result<std::vector<mount_row>> read_mounts() {
    const std::unique_ptr<libmnt_table, decltype(&mnt_unref_table)> table(
        mnt_new_table_from_file("/proc/self/mountinfo"), &mnt_unref_table);
    const std::unique_ptr<libmnt_iter, decltype(&mnt_free_iter)> at(mnt_new_iter(MNT_ITER_FORWARD),
                                                                    &mnt_free_iter);
    if (!table || !at) {
        return fail_errno(errno, "the table of mounts can't be read");
    }
    std::vector<mount_row> all;
    libmnt_fs *one = nullptr;
    while (mnt_table_next_fs(table.get(), at.get(), &one) == 0) {
        all.push_back({.id = std::uint64_t(mnt_fs_get_id(one)),
                       .file_system = mnt_fs_get_devno(one),
                       .target = text_of(mnt_fs_get_target(one)),
                       .type = text_of(mnt_fs_get_fstype(one)),
                       .source = text_of(mnt_fs_get_source(one)),
                       .options = text_of(mnt_fs_get_fs_options(one))});
    }
    return all;
}

std::optional<std::string> mount_option(const std::string &options, const std::string &key) {
    char *value = nullptr;
    std::size_t size = 0;
    if (mnt_optstr_get_option(options.c_str(), key.c_str(), &value, &size) != 0) {
        return std::nullopt;
    }
    return value == nullptr ? std::string() : std::string(value, size);
}

result<place> place_of(const std::vector<mount_row> &mounts, const std::string &path,
                       bool may_miss) {
    struct statx seen{};
    std::string at = path;
    while (::statx(AT_FDCWD, at.c_str(), AT_NO_AUTOMOUNT, STATX_MNT_ID, &seen) != 0) {
        if (!may_miss || errno != ENOENT || at == "/") {
            return fail_errno(errno, path);
        }
        at = above(at);
    }
    if ((seen.stx_mask & STATX_MNT_ID) == 0 ||
        (seen.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) == 0) {
        return fail(errc::unsupported, "this kernel does not tell which mount a path is on");
    }
    const auto found = std::ranges::find(mounts, seen.stx_mnt_id, &mount_row::id);
    if (found == mounts.end()) {
        return fail(errc::not_found, path + " is on a mount that is not in the table");
    }
    return place{*found, at == path && (seen.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0};
}

result<std::vector<dev_t>> file_systems_below(const std::vector<mount_row> &mounts,
                                              const std::string &path) {
    std::vector<dev_t> all;
    std::string at = path;
    for (int layer = 0; layer < limits::layers_max; ++layer) {
        FS_TRY(where, place_of(mounts, at, true));
        all.push_back(where.mount.file_system);
        const auto upper = where.mount.type == "overlay"
                               ? mount_option(where.mount.options, "upperdir")
                               : std::nullopt;
        at = upper ? *upper : loop_file(where.mount.file_system);
        if (at.empty()) {
            return all;
        }
    }
    return fail(errc::limit, path + " lies below too many layers of devices");
}

} // namespace farshore::hook
