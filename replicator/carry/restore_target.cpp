#include "replicator/carry/restore_target.hpp"

#include "replicator/base/unique_fd.hpp"
#include "replicator/storage/posix_file_system.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <linux/fs.h>
#include <optional>
#include <set>
#include <sstream>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace farshore::carry {
namespace {

constexpr std::uint32_t usual_sector_bytes = 512;

/// "8:1" of a block device; nothing for anything else.
std::optional<std::string> number_of(const std::string &path) {
    struct stat st{};
    if (::stat(path.c_str(), &st) != 0 || !S_ISBLK(st.st_mode)) {
        return std::nullopt;
    }
    return fmt::format("{}:{}", major(st.st_rdev), minor(st.st_rdev));
}

std::string first_line(const std::filesystem::path &path) {
    std::ifstream in(path);
    std::string line;
    std::getline(in, line);
    const auto end = line.find_last_not_of(" \t");
    return end == std::string::npos ? "" : line.substr(0, end + 1);
}

/// The device's folder in sysfs and those of its partitions.
std::vector<std::filesystem::path> folders_of(const std::string &number) {
    std::vector<std::filesystem::path> out;
    std::error_code ec;
    const auto own = std::filesystem::canonical("/sys/dev/block/" + number, ec);
    if (ec) {
        return out;
    }
    out.push_back(own);
    for (const auto &entry : std::filesystem::directory_iterator(own, ec)) {
        if (std::filesystem::exists(entry.path() / "partition", ec)) {
            out.push_back(entry.path());
        }
    }
    return out;
}

void add(std::string &text, const std::string &more) { text += (text.empty() ? "" : ", ") + more; }

result<std::uint32_t> sector_bytes_of(file &disk, const restore_request &request) {
    if (!disk.block_special()) {
        return request.sector_bytes == 0 ? usual_sector_bytes : request.sector_bytes;
    }
    const unique_fd fd(::open(request.to.c_str(), O_RDONLY | O_CLOEXEC));
    int bytes = 0;
    if (!fd || ::ioctl(fd.get(), BLKSSZGET, &bytes) != 0) {
        return fail_errno(errno, "asking " + request.to + " for its sector size");
    }
    const auto own = static_cast<std::uint32_t>(bytes);
    if (request.sector_bytes != 0 && request.sector_bytes != own) {
        return fail(errc::invalid, fmt::format("{} has sectors of {} bytes; leave --sector-size "
                                               "out, it is for files",
                                               request.to, own));
    }
    return own;
}

} // namespace

std::string serial_of(const std::string &path) {
    const auto number = number_of(path);
    std::error_code ec;
    auto folder = number ? std::filesystem::canonical("/sys/dev/block/" + *number, ec)
                         : std::filesystem::path();
    if (!folder.empty() && std::filesystem::exists(folder / "partition", ec)) {
        folder = folder.parent_path();
    }
    for (const char *place : {"serial", "device/serial"}) {
        if (std::string serial = folder.empty() ? "" : first_line(folder / place);
            !serial.empty()) {
            return serial;
        }
    }
    return "";
}

std::string users_of(const std::string &path) {
    const auto number = number_of(path);
    std::string text;
    if (!number) {
        return text;
    }
    std::set<std::string> numbers;
    std::set<std::string> names;
    std::error_code ec;
    for (const auto &folder : folders_of(*number)) {
        numbers.insert(first_line(folder / "dev"));
        names.insert("/dev/" + folder.filename().string());
        for (const auto &holder : std::filesystem::directory_iterator(folder / "holders", ec)) {
            add(text, "part of " + holder.path().filename().string());
        }
    }
    std::ifstream mounts("/proc/self/mountinfo");
    for (std::string line; std::getline(mounts, line);) {
        std::istringstream words(line);
        std::string id, parent, device, root, place;
        words >> id >> parent >> device >> root >> place;
        if (numbers.contains(device)) {
            add(text, "mounted at " + place);
        }
    }
    std::ifstream swaps("/proc/swaps");
    for (std::string line; std::getline(swaps, line);) {
        if (names.contains(line.substr(0, line.find_first_of(" \t")))) {
            add(text, "swap");
        }
    }
    return text;
}

result<> restore_target::check_confirmed(const restore_request &request) {
    struct stat st{};
    if (::stat(request.to.c_str(), &st) != 0) {
        return errno == ENOENT
                   ? fail(errc::not_found,
                          request.to + " is not there: `restore` writes onto a disk or file that "
                                       "is; make a file with truncate(1), or use `export`")
                   : fail_errno(errno, request.to);
    }
    if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode)) {
        return fail(errc::invalid, request.to + " is neither a block device nor a plain file");
    }
    const std::string serial = serial_of(request.to);
    if (!request.confirm.empty() && (request.confirm == request.to || request.confirm == serial)) {
        return {};
    }
    const std::string how = serial.empty()
                                ? "--confirm " + request.to
                                : fmt::format("--confirm {} (its serial number)", serial);
    return fail(errc::refused,
                request.confirm.empty()
                    ? fmt::format("all of {} would be overwritten; if that is meant, add {}",
                                  request.to, how)
                    : fmt::format("--confirm {} is not what --to names; to overwrite {}, say {}",
                                  request.confirm, request.to, how));
}

result<restore_target> restore_target::open(const restore_request &request) {
    posix_file_system files;
    if (const std::string users = users_of(request.to); !users.empty()) {
        return fail(errc::busy, fmt::format("{} is in use ({}); nothing was written. Unmount or "
                                            "detach it first",
                                            request.to, users));
    }
    FS_TRY(disk, files.open(request.to, open_mode::read_write));
    FS_CHECK(disk->lock());
    FS_TRY(bytes, disk->size());
    FS_TRY(sector, sector_bytes_of(*disk, request));
    return restore_target(std::move(disk), {bytes, sector});
}

} // namespace farshore::carry
