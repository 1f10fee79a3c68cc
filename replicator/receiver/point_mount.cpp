#include "replicator/receiver/point_mount.hpp"

#include "replicator/base/blocking.hpp"
#include "replicator/base/log.hpp"
#include "replicator/receiver/mount_cases.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ranges>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace farshore {
namespace {

namespace fs = std::filesystem;

constexpr duration step_patience = std::chrono::seconds(20); ///< of one program
constexpr duration mount_patience = std::chrono::minutes(2); ///< a journal may be replayed
constexpr duration stop_patience = std::chrono::seconds(5);
constexpr duration look_every = std::chrono::milliseconds(20);

std::string text_of(const fs::path &path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<mounted> mounts_now() { return parse_mountinfo(text_of("/proc/self/mountinfo")); }

bool is_mounted(const std::string &target) {
    const auto all = mounts_now();
    return std::ranges::find(all, target, &mounted::target) != all.end();
}

std::vector<loop_device> loops_now() {
    std::vector<loop_device> all;
    std::error_code ec;
    for (const auto &entry : fs::directory_iterator("/sys/block", ec)) {
        std::string file = text_of(entry.path() / "loop/backing_file");
        if (!file.empty()) {
            file.erase(std::min(file.find('\n'), file.size()));
            all.push_back({"/dev/" + entry.path().filename().string(), file});
        }
    }
    return all;
}

/// The program's output; an exit code other than 0 is an error.
result<std::string> run(const std::vector<std::string> &argv, duration patience = step_patience) {
    FS_TRY(end, run_program(argv, {.patience = patience}));
    if (const std::string why = failure_of(argv.front(), end); !why.empty()) {
        return fail(end.timed_out ? make_error_code(errc::timeout)
                                  : std::make_error_code(std::errc::io_error),
                    why);
    }
    return end.output;
}

/// What can't be taken down while it is in use is detached, and said.
void take_down(const std::string &target) {
    if (!is_mounted(target)) {
        return;
    }
    const auto done = run({"umount", target});
    if (done) {
        return;
    }
    const auto detached = run({"umount", "--lazy", target});
    if (detached) {
        log::warning("{} is in use: it is detached, who has files open there keeps them ({})",
                     target, done.error().context);
    } else {
        log::error("{} stays mounted: {}. Unmount it by hand: umount --lazy {}", target,
                   detached.error().context, target);
    }
}

void detach_loop(const std::string &device) {
    if (auto done = run({"losetup", "--detach", device}); !done) {
        log::warning("{} stays attached: {}; `losetup --detach {}` by hand", device,
                     done.error().context, device);
    }
}

void remove_directory(const std::string &path) {
    if (::rmdir(path.c_str()) != 0 && errno != ENOENT && errno != ENOTEMPTY) {
        log::warning("{}: {}", path, fail_errno(errno, "can't be removed").error().text());
    }
}

result<> make_directory(const std::string &path) {
    if (::mkdir(path.c_str(), 0755) == 0) {
        return {};
    }
    return fail_errno(errno, "can't make the directory " + path);
}

} // namespace

// ---- may it be
// --------------------------------------------------------------------------------------

result<> point_mount::check(const std::string &target) {
    may_block();
    if (!target.starts_with('/')) {
        return fail(errc::invalid, "--mount " + target + ": give an absolute path");
    }
    if (::geteuid() != 0) {
        return fail_errno(EPERM, "mounting needs a receiver that runs as root; use --nbd and "
                                 "mount it yourself");
    }
    if (::access("/dev/fuse", R_OK | W_OK) != 0) {
        return fail_errno(errno, "/dev/fuse can't be used; load it (modprobe fuse), and let the "
                                 "service use it (docs/operations.md, \"Mounted points\")");
    }
    if (is_mounted(target)) {
        return fail(errc::busy, target + " is a mount point already; name another directory");
    }
    std::error_code ec;
    const auto status = fs::status(target, ec);
    if (!fs::exists(status)) {
        return fs::is_directory(fs::path(target).parent_path(), ec)
                   ? result<>{}
                   : fail_errno(ENOENT,
                                "the directory above " + target + " is not there; make it first");
    }
    if (!fs::is_directory(status)) {
        return fail(errc::invalid, target + " is no directory; name an empty one");
    }
    if (fs::directory_iterator(target, ec) != fs::directory_iterator()) {
        return fail(errc::busy, target + " is not empty; name an empty directory, or a new one");
    }
    return {};
}

// ---- up
// ---------------------------------------------------------------------------------------------

result<std::unique_ptr<point_mount>> point_mount::mount(plan wanted) {
    may_block();
    if (::mkdir(wanted.target.c_str(), 0755) != 0 && errno != EEXIST) {
        const int why = errno;
        return fail_errno(why, "can't make the directory " + wanted.target +
                                   (why == EROFS ? "; systemd's unit sees the system read-only: "
                                                   "docs/operations.md, \"Mounted points\""
                                                 : ""));
    }
    std::unique_ptr<point_mount> made(new point_mount(std::move(wanted)));
    std::string without;
    for (std::size_t i = 0; i < made->plan_.volumes.size(); ++i) {
        auto added = made->add(i);
        if (!added) { // the destructor takes down what is there
            return std::unexpected(added.error());
        }
        if (!*added) {
            without += (without.empty() ? "" : ", ") + made->plan_.volumes[i];
        }
    }
    if (made->mounted_.empty()) {
        return fail(errc::unsupported,
                    fmt::format("none of the volumes ({}) has a file system that can be mounted; "
                                "use --nbd",
                                without));
    }
    if (!without.empty()) {
        log::warning("{}: not mounted, for they have no file system: {}", made->plan_.target,
                     without);
    }
    return made;
}

result<bool> point_mount::add(std::size_t index) {
    step &s = steps_.emplace_back();
    s.volume = plan_.volumes[index];
    s.fuse = plan_.directory + "/" + s.volume + fuse_suffix;
    s.target = plan_.target + "/" + s.volume;
    FS_CHECK(show_file(s, plan_.uris[index]));
    FS_CHECK(attach_loop(s));
    // 2: nothing was found; 8: several things, by which nobody may guess.
    FS_TRY(looked, run_program({"blkid", "-p", "-o", "export", s.loop}));
    if (looked.timed_out || (looked.code != 0 && looked.code != 2)) {
        return fail(errc::unsupported, fmt::format("volume {}: what is on it can't be told: {}",
                                                   s.volume, failure_of("blkid", looked)));
    }
    const disk_content content = parse_blkid(looked.output);
    if (!content.file_system()) {
        log::info("{}: volume {} is not mounted: {}", plan_.target, s.volume, content.what());
        undo(s);
        steps_.pop_back();
        return false;
    }
    FS_CHECK(mount_content(s, content.type));
    mounted_.push_back({s.volume, s.target});
    return true;
}

result<> point_mount::show_file(step &s, const std::string &uri) {
    std::error_code ec;
    fs::create_directories(s.fuse, ec);
    if (ec) {
        return fail(ec, "can't make the directory " + s.fuse);
    }
    std::vector<std::string> words{"nbdfuse"};
    if (!plan_.writable) {
        words.push_back("-r");
    }
    words.insert(words.end(), {s.fuse, uri});
    auto started = program::start(words);
    if (!started) {
        return fail(started.error().code,
                    started.error().context + "; install it (Debian: libnbd-bin)");
    }
    s.server = std::move(*started);
    const auto end = std::chrono::steady_clock::now() + step_patience;
    while (!is_mounted(s.fuse)) {
        if (!s.server->running()) {
            return fail(std::make_error_code(std::errc::io_error),
                        fmt::format("volume {}: nbdfuse ended: {}", s.volume, s.server->words()));
        }
        if (std::chrono::steady_clock::now() > end) {
            return fail(errc::timeout,
                        fmt::format("volume {}: nbdfuse shows nothing in {}", s.volume, s.fuse));
        }
        std::this_thread::sleep_for(look_every);
    }
    s.fuse_mounted = true;
    return {};
}

result<> point_mount::attach_loop(step &s) {
    std::vector<std::string> words{"losetup", "--find", "--show"};
    if (!plan_.writable) {
        words.push_back("--read-only");
    }
    words.push_back(s.fuse + "/nbd");
    auto shown = run(words);
    if (!shown) {
        return fail(shown.error().code,
                    fmt::format("volume {}: no loop device: {}", s.volume, shown.error().context));
    }
    shown->erase(std::min(shown->find('\n'), shown->size()));
    s.loop = std::move(*shown);
    return {};
}

result<> point_mount::mount_content(step &s, const std::string &type) {
    s.target_made = !fs::exists(s.target);
    if (s.target_made) {
        FS_CHECK(make_directory(s.target));
    }
    error last;
    for (const std::string &options : mount_options(type, plan_.writable)) {
        const auto done =
            run({"mount", "-t", type, "-o", options, s.loop, s.target}, mount_patience);
        if (done) {
            s.file_system_mounted = true;
            return {};
        }
        last = done.error();
    }
    return fail(last.code,
                fmt::format("volume {} ({}) can't be mounted: {}", s.volume, type, last.context));
}

// ---- down
// -------------------------------------------------------------------------------------------

point_mount::~point_mount() { undo(); }

void point_mount::undo() {
    may_block();
    for (step &s : steps_ | std::views::reverse) {
        undo(s);
    }
    steps_.clear();
    mounted_.clear();
}

void point_mount::undo(step &s) {
    if (s.file_system_mounted) {
        take_down(s.target);
    }
    if (s.target_made) {
        remove_directory(s.target);
    }
    if (!s.loop.empty()) {
        detach_loop(s.loop);
    }
    if (s.fuse_mounted) {
        take_down(s.fuse);
    }
    if (s.server && !s.server->stop(stop_patience)) {
        log::error("nbdfuse of volume {} does not end; it waits in the kernel, and is left alone",
                   s.volume);
    }
    if (!s.fuse.empty()) {
        remove_directory(s.fuse);
    }
}

void point_mount::clean_up(const std::string &directory) {
    may_block();
    const leftovers left = leftovers_of(directory, mounts_now(), loops_now());
    if (left.empty()) {
        return;
    }
    log::info("{}: mounts of an earlier process are taken down", directory);
    for (const std::string &target : left.file_systems) {
        take_down(target);
        remove_directory(target);
    }
    for (const std::string &loop : left.loops) {
        detach_loop(loop);
    }
    for (const std::string &fuse : left.fuses) {
        take_down(fuse);
        remove_directory(fuse);
    }
}

} // namespace farshore
