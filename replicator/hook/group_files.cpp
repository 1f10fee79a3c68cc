#include "replicator/hook/group_files.hpp"

#include "replicator/hook/hook_limits.hpp"
#include "replicator/hook/refusal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace farshore::hook {
namespace {

/// The devices of a mounted file system; none: it has no device (NFS, overlay, tmpfs).
std::vector<dev_t> devices_of(const mount_row &mount) {
    if (::major(mount.file_system) != 0) {
        return {mount.file_system};
    }
    struct stat source{};
    if (mount.type != "btrfs" || ::stat(mount.source.c_str(), &source) != 0 ||
        !S_ISBLK(source.st_mode)) {
        return {};
    }
    const auto known = identify(mount.source);
    return known ? btrfs_devices(known->uuid) : std::vector<dev_t>{};
}

} // namespace

std::optional<std::string> device_apart(const mount_row &mount) {
    for (const char *key : {"logdev", "rtdev", "journal_path", "journal_dev"}) {
        if (const auto value = mount_option(mount.options, key)) {
            return fmt::format("{}={}", key, *value);
        }
    }
    return std::nullopt;
}

result<group_files> group_files::look(const request &asked) {
    group_files all;
    FS_TRY(mounts, read_mounts());
    all.mounts_ = std::move(mounts);
    for (const group_volume &volume : asked.volumes) {
        auto parts = identify_parts(volume.path);
        if (!parts) {
            return std::unexpected(
                error{parts.error().code,
                      fmt::format("volume {} can't be looked at: {}", volume.name, volume.path)});
        }
        std::ranges::move(*parts, std::back_inserter(all.parts_));
    }
    return all;
}

bool group_files::on_volumes(dev_t device, int layers) const {
    const auto path = device_path(device);
    const auto known = path ? identify(*path) : std::unexpected(path.error());
    if (known && !known->journal_elsewhere &&
        std::ranges::any_of(parts_, [&](const auto &part) { return part.same_as(*known); })) {
        return true;
    }
    const auto below = devices_below(device);
    return layers > 0 && !below.empty() &&
           std::ranges::all_of(below, [&](dev_t one) { return on_volumes(one, layers - 1); });
}

result<> group_files::check(const std::string &what, const std::string &path) const {
    const auto where = place_of(mounts_, path);
    if (!where) {
        return std::unexpected(
            error{where.error().code,
                  fmt::format("{} can't be looked at ({}); if it is on the group's volumes all the "
                              "same, set outside = true",
                              what, path)});
    }
    return check_mount(fmt::format("{} ({})", what, path), where->mount);
}

result<> group_files::check_mount(const std::string &what, const mount_row &mount) const {
    const auto devices = devices_of(mount);
    if (const auto apart = device_apart(mount)) {
        return refusal(fmt::format("{}: its file system has a part on a device of its own ({}), "
                                   "which is not known to be in the group",
                                   what, *apart));
    }
    if (!devices.empty() && std::ranges::all_of(devices, [&](dev_t one) {
            return on_volumes(one, limits::layers_max);
        })) {
        return {};
    }
    return refusal(fmt::format("{} is on {} ({}), which is no volume of the group; name the "
                               "volume in the group, or set outside = true",
                               what, mount.source, mount.type));
}

} // namespace farshore::hook
