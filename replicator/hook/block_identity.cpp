#include "replicator/hook/block_identity.hpp"

#include "replicator/base/unique_fd.hpp"
#include "replicator/hook/hook_limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <blkid/blkid.h>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sys/sysmacros.h>

namespace farshore::hook {
namespace {

using probe = std::unique_ptr<blkid_struct_probe, decltype(&blkid_free_probe)>;

probe new_probe(int fd, blkid_loff_t offset, blkid_loff_t size) {
    probe made(blkid_new_probe(), &blkid_free_probe);
    if (made && blkid_probe_set_device(made.get(), fd, offset, size) != 0) {
        made.reset();
    }
    return made;
}

std::string value_of(blkid_probe of, const char *name) {
    const char *text = nullptr;
    return blkid_probe_lookup_value(of, name, &text, nullptr) == 0 && text != nullptr ? text : "";
}

result<block_identity> identify_at(int fd, blkid_loff_t offset, blkid_loff_t size,
                                   const std::string &path) {
    const probe at = new_probe(fd, offset, size);
    if (!at) {
        return fail_errno(errno, path);
    }
    blkid_probe_enable_superblocks(at.get(), 1);
    blkid_probe_set_superblocks_flags(at.get(),
                                      BLKID_SUBLKS_UUID | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_TYPE);
    block_identity one;
    one.sectors = std::uint64_t(blkid_probe_get_size(at.get())) / 512;
    const int found = blkid_do_safeprobe(at.get());
    if (found == -1) {
        return fail_errno(errno, path);
    }
    if (found == 0) { // 1: nothing is on it; -2: two things are, so none is sure
        one.type = value_of(at.get(), "TYPE");
        one.uuid = value_of(at.get(), "UUID");
        one.part = value_of(at.get(), "UUID_SUB");
        one.label = value_of(at.get(), "LABEL");
        one.journal_elsewhere = !value_of(at.get(), "EXT_JOURNAL").empty();
    }
    return one;
}

result<unique_fd> open_to_look(const std::string &path) {
    unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) {
        return fail_errno(errno, path);
    }
    return fd;
}

/// "7:0" in a file of sysfs.
std::vector<dev_t> numbers_in(const std::string &directory, const char *file) {
    std::vector<dev_t> all;
    std::error_code ignored;
    for (const auto &entry : std::filesystem::directory_iterator(directory, ignored)) {
        std::ifstream text(entry.path() / file);
        unsigned major = 0;
        unsigned minor = 0;
        char colon = 0;
        if (text >> major >> colon >> minor) {
            all.push_back(::makedev(major, minor));
        }
    }
    return all;
}

} // namespace

bool block_identity::same_as(const block_identity &other) const {
    return !uuid.empty() && type == other.type && uuid == other.uuid && part == other.part &&
           label == other.label && sectors == other.sectors;
}

result<block_identity> identify(const std::string &path) {
    FS_TRY(fd, open_to_look(path));
    return identify_at(fd.get(), 0, 0, path);
}

result<std::vector<block_identity>> identify_parts(const std::string &path) {
    FS_TRY(fd, open_to_look(path));
    std::vector<block_identity> all;
    FS_TRY(whole, identify_at(fd.get(), 0, 0, path));
    all.push_back(std::move(whole));
    const probe table = new_probe(fd.get(), 0, 0);
    if (!table) {
        return fail_errno(errno, path);
    }
    blkid_probe_enable_superblocks(table.get(), 0);
    blkid_probe_enable_partitions(table.get(), 1);
    blkid_partlist list = blkid_probe_get_partitions(table.get());
    const int count = list == nullptr ? 0 : blkid_partlist_numof_partitions(list);
    for (int i = 0; i < std::min(count, int(limits::partitions_max)); ++i) {
        blkid_partition one = blkid_partlist_get_partition(list, i);
        FS_TRY(part, identify_at(fd.get(), blkid_partition_get_start(one) * 512,
                                 blkid_partition_get_size(one) * 512, path));
        all.push_back(std::move(part));
    }
    return all;
}

result<std::string> device_path(dev_t number) {
    std::ifstream text(
        fmt::format("/sys/dev/block/{}:{}/uevent", ::major(number), ::minor(number)));
    for (std::string line; std::getline(text, line);) {
        if (line.starts_with("DEVNAME=")) {
            return "/dev/" + line.substr(8);
        }
    }
    return fail(errc::not_found,
                fmt::format("the block device {}:{}", ::major(number), ::minor(number)));
}

std::vector<dev_t> devices_below(dev_t number) {
    return numbers_in(fmt::format("/sys/dev/block/{}:{}/slaves", ::major(number), ::minor(number)),
                      "dev");
}

std::vector<dev_t> btrfs_devices(const std::string &uuid) {
    return numbers_in("/sys/fs/btrfs/" + uuid + "/devices", "dev");
}

} // namespace farshore::hook
