#include "replicator/hook/filesystem.hpp"

#include "replicator/hook/group_files.hpp"
#include "replicator/hook/hook_limits.hpp"
#include "replicator/hook/refusal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace farshore::hook {
namespace {

/// Flushes until one takes no longer than this: the rest is what writers wait for in the freeze.
constexpr std::chrono::milliseconds short_flush{50};
constexpr int flushes_max = 4;

result<unique_fd> open_root(const std::string &mount) {
    unique_fd root(::open(mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!root) {
        return fail_errno(errno, mount);
    }
    return root;
}

std::string device_of(int fd) {
    struct stat seen{};
    return ::fstat(fd, &seen) == 0 ? fmt::format("{}", seen.st_dev) : "";
}

std::string this_program() {
    std::error_code ignored;
    return std::filesystem::read_symlink("/proc/self/exe", ignored).string();
}

} // namespace

/// Every reason not to freeze it, before anything is touched.
result<mount_row> filesystem_freezer::allowed() const {
    FS_TRY(files, group_files::look(asked_));
    FS_TRY(where, place_of(files.mounts(), asked_.where));
    if (!where.is_root) {
        return refusal(fmt::format("{} is no mount point; it lies on the mount {}", asked_.where,
                                   where.mount.target));
    }
    std::vector<std::string> never = asked_.never;
    never.push_back(this_program());
    for (const group_volume &volume : asked_.volumes) {
        never.push_back(volume.path);
    }
    for (const std::string &path : never) {
        FS_TRY(below, file_systems_below(files.mounts(), path));
        if (std::ranges::find(below, where.mount.file_system) != below.end()) {
            return refusal(fmt::format("{} lies on {}: freezing it could stop what has to release "
                                       "it; move one of them to another file system",
                                       path, asked_.where));
        }
    }
    if (!asked_.outside) {
        FS_CHECK(files.check_mount(asked_.where, where.mount));
    }
    return where.mount;
}

/// So that the freeze has little left to write.
result<> filesystem_freezer::flush(const tether &t) const {
    for (int i = 0; i < flushes_max; ++i) {
        const auto begun = tether::clock::now();
        if (::syncfs(root_.get()) != 0) {
            return fail_errno(errno, "syncfs of " + asked_.where);
        }
        FS_CHECK(t.check());
        if (tether::clock::now() - begun <= short_flush) {
            break;
        }
    }
    return {};
}

result<facts> filesystem_freezer::freeze(tether &t) {
    FS_TRY(mount, allowed());
    FS_TRY(root, open_root(asked_.where));
    root_ = std::move(root);
    {
        write_probe before;
        FS_CHECK(before.start(root_.get()));
        FS_TRY(waits, before.settle(t));
        if (waits) {
            return refusal(asked_.where + " is frozen already by somebody else, and left so");
        }
    }
    FS_CHECK(flush(t));
    FS_CHECK(t.arm(device_of(root_.get())));
    if (::ioctl(root_.get(), FIFREEZE, 0) != 0) {
        const int number = errno;
        if (number == EBUSY) {
            return refusal(asked_.where + " is frozen already by somebody else, and left so");
        }
        return fail_errno(number, number == EPERM
                                      ? "freezing " + asked_.where + " needs CAP_SYS_ADMIN"
                                      : "freezing " + asked_.where);
    }
    frozen_ = true;
    FS_CHECK(probe_.start(root_.get()));
    FS_TRY(waits, probe_.settle(t));
    if (!waits) {
        return refusal(asked_.where + " takes writes although it was frozen");
    }
    facts known;
    known.add("mount", asked_.where);
    known.add("file_system", mount.type);
    known.add("device", mount.source);
    known.add("group_device", asked_.outside ? "not checked" : "a volume of the group");
    return known;
}

result<> filesystem_freezer::prove(tether &t) {
    FS_CHECK(t.check());
    if (probe_.ended()) {
        return refusal(asked_.where + " was thawed by somebody else before the release");
    }
    return {};
}

result<facts> filesystem_freezer::release(tether &) {
    // The probe is asked once more, as late as can be.
    const bool held = !probe_.ended();
    if (::ioctl(root_.get(), FITHAW, 0) != 0) {
        const int number = errno;
        frozen_ = frozen_ && number != EINVAL;
        return fail_errno(number, number == EINVAL ? asked_.where + " was thawed by somebody else"
                                                   : "thawing " + asked_.where);
    }
    frozen_ = false;
    if (!held) {
        return refusal(asked_.where + " was thawed by somebody else before the release");
    }
    return facts{};
}

result<> filesystem_freezer::let_go(tether &) {
    if (frozen_ && ::ioctl(root_.get(), FITHAW, 0) != 0 && errno != EINVAL) {
        return fail_errno(errno, "thawing " + asked_.where);
    }
    frozen_ = false;
    return {};
}

result<> filesystem_freezer::force_release(tether &, const std::string &trace) {
    FS_TRY(root, open_root(asked_.where));
    if (device_of(root.get()) != trace) {
        return refusal(asked_.where + " is another file system now; thaw the old one by "
                                      "fsfreeze --unfreeze");
    }
    if (::ioctl(root.get(), FITHAW, 0) != 0 && errno != EINVAL) { // EINVAL: it is not frozen
        return fail_errno(errno, "thawing " + asked_.where + "; try fsfreeze --unfreeze");
    }
    return {};
}

} // namespace farshore::hook
