#include "replicator/config/config_probe.hpp"

#include "replicator/capture/volume_file.hpp"
#include "replicator/storage/file_system.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <sys/stat.h>
#include <tuple>
#include <unistd.h>

namespace farshore {
namespace {

/// What tells one file from another, whatever names lead to it. A block device is itself, not the
/// node in /dev.
using file_identity = std::tuple<bool, dev_t, ino_t>;

std::optional<file_identity> identity_of(const std::string &path) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) {
        return std::nullopt;
    }
    return S_ISBLK(info.st_mode) ? file_identity{true, info.st_rdev, 0}
                                 : file_identity{false, info.st_dev, info.st_ino};
}

std::string reason_of(int number) { return std::generic_category().message(number); }

/// Empty when the directory is there and can be written to, or can be made.
std::string directory_problem(const std::string &path, bool is_made) {
    struct stat info{};
    if (::stat(path.c_str(), &info) == 0) {
        if (!S_ISDIR(info.st_mode)) {
            return path + " is no directory";
        }
        return ::access(path.c_str(), W_OK | X_OK) == 0
                   ? ""
                   : fmt::format("{}: {}", path, reason_of(errno));
    }
    if (errno != ENOENT) {
        return fmt::format("{}: {}", path, reason_of(errno));
    }
    if (!is_made) {
        return path + " is missing; make it, the daemon does not";
    }
    const std::string above = parent_path(path);
    if (above == path || above.empty()) {
        return path + " is missing";
    }
    const std::string why = directory_problem(above, true);
    return why.empty() ? "" : fmt::format("{} can't be made: {}", path, why);
}

class prober {
  public:
    explicit prober(file_system &files) : files_(files) {}

    void look(const named_path &p);
    probe_outcome take() { return std::move(out_); }

  private:
    void note(const named_path &p, std::string what) {
        out_.problems.push_back({p.line, p.column, std::move(what)});
    }
    void look_at_state(const named_path &p);
    void look_at_volume(const named_path &p);
    void look_at_image(const named_path &p);
    void look_for_twin(const named_path &p);

    file_system &files_;
    probe_outcome out_;
    std::map<file_identity, std::string> seen_; ///< whose it is
    std::string control_directory_;             ///< the daemon makes it before other sockets
};

void prober::look_at_state(const named_path &p) {
    if (std::string why = directory_problem(p.path, true); !why.empty()) {
        note(p, "state: " + std::move(why));
        return;
    }
    look_for_twin(p);
    const std::string lock = join_path(p.path, "lock");
    if (const auto present = files_.exists(lock); present && *present) {
        if (auto held = files_.open(lock, open_mode::read_write); held) {
            const auto locked = (*held)->lock();
            out_.daemon_runs = !locked && is(locked.error(), errc::busy);
        }
    }
}

void prober::look_for_twin(const named_path &p) {
    const auto self = identity_of(p.path);
    if (!self) {
        return;
    }
    if (const auto [it, fresh] = seen_.emplace(*self, p.owner); !fresh) {
        note(p, fmt::format(
                    "{} is the same file, directory or device as that of {}; each needs its own",
                    p.path, it->second));
    }
}

void prober::look_at_volume(const named_path &p) {
    look_for_twin(p);
    const auto opened = open_volume_file(files_, {p.name, p.path});
    if (!opened && !(out_.daemon_runs && is(opened.error(), errc::busy))) {
        note(p, opened.error().context);
    }
}

void prober::look_at_image(const named_path &p) {
    look_for_twin(p);
    const auto present = files_.exists(p.path);
    if (present && !*present) {
        if (std::string why = directory_problem(parent_path(p.path), true); !why.empty()) {
            note(p, fmt::format("volume {}: {}", p.name, why));
        }
        return;
    }
    const auto opened = open_volume_file(files_, {p.name, p.path});
    const bool made_and_empty = !opened && is(opened.error(), errc::invalid);
    if (!opened && !made_and_empty && !(out_.daemon_runs && is(opened.error(), errc::busy))) {
        note(p, opened.error().context);
    }
}

void prober::look(const named_path &p) {
    std::string why;
    switch (p.kind) {
    case named_kind::state_directory:
        look_at_state(p);
        return;
    case named_kind::volume:
        look_at_volume(p);
        return;
    case named_kind::image:
        look_at_image(p);
        return;
    case named_kind::image_directory:
        look_for_twin(p);
        why = directory_problem(p.path, true);
        break;
    case named_kind::socket:
        if (parent_path(p.path) != control_directory_) {
            why = directory_problem(parent_path(p.path), false);
        }
        break;
    case named_kind::control_socket:
        control_directory_ = parent_path(p.path);
        why = directory_problem(control_directory_, true);
        break;
    case named_kind::readable_file:
        if (::access(p.path.c_str(), R_OK) != 0) {
            why = fmt::format("{}: {}", p.path, reason_of(errno));
        }
        break;
    }
    if (!why.empty()) {
        note(p, fmt::format("{}: {}", p.name, why));
    }
}

} // namespace

probe_outcome probe_paths(file_system &files, const std::vector<named_path> &paths) {
    prober p(files);
    // Whether the daemon runs, and which directories it makes, is known before its volumes are
    // looked at.
    const auto is_daemons = [](const named_path &n) {
        return n.kind == named_kind::state_directory || n.kind == named_kind::control_socket;
    };
    for (const bool daemons : {true, false}) {
        for (const named_path &n : paths) {
            if (is_daemons(n) == daemons) {
                p.look(n);
            }
        }
    }
    probe_outcome out = p.take();
    std::ranges::sort(out.problems, {},
                      [](const config_problem &x) { return std::tie(x.line, x.column, x.what); });
    return out;
}

} // namespace farshore
