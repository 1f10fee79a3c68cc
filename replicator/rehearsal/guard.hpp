#pragma once
// The process that scripts live under, so that nothing of them outlives a rehearsal: neither what
// they started and left, nor their files, nor their mounts.
//
//   farshore test (home of the object)
//     '- guard         ends all below when we end, whatever ends us; removes the directories
//          '- runner   the steps and the script (script_runner.hpp)
//               '- ...
//
// With privileges (CAP_SYS_ADMIN) the runner is the first process of a process namespace: the
// kernel ends all others with it, daemons too. It has mounts of its own, which end with it, its own
// /proc, and, isolated, a network of its own with nothing but `lo`. The copy's server and mounts
// are shown there below the directory of the rehearsal, so that a script under another user reaches
// them. Without privileges the guard takes over what loses its parent, and ends that.
//
// Directories: BASE (mode 0711) in TMPDIR or /tmp, with `dir` (the scripts' own, mode 0700), and
// `nbd` and `mnt`, where server and mounts are shown.
//
// Thread: one. The program has no others when start() is called.

#include "replicator/base/error.hpp"
#include "replicator/base/unique_fd.hpp"
#include "replicator/rehearsal/script_runner.hpp"

#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace farshore::rehearsal {

struct mounted_volume {
    std::string name;
    std::string path;
};

/// Where the scripts work, and what of the copy is shown there.
struct workplace {
    std::string base;
    std::string socket;                 ///< of the copy's server
    std::vector<mounted_volume> mounts; ///< of the copy
    bool isolate = false;

    std::string directory() const { return base + "/dir"; }
    std::string shown_socket() const { return base + "/nbd"; }
    std::string shown_mount() const { return base + "/mnt"; }
};

/// Whether this process may have namespaces; they are what shows socket and mounts in BASE.
bool has_namespaces();
/// BASE and what is in it. `user`: whose `dir` it is; nothing: ours.
result<std::string> make_workplace(const std::optional<script_user> &user);
void remove_workplace(const std::string &base);

class guarded_scripts {
  public:
    /// What the runner tells, and what the scripts print since the last look.
    struct news {
        std::vector<std::string> told;
        std::string output;
        bool over = false; ///< all ended, and the directories are gone
    };

    /// Takes the workplace over: it is removed by the guard, however it ends. `namespaces`: as
    /// has_namespaces() said.
    static result<std::unique_ptr<guarded_scripts>> start(const script_plan &plan,
                                                          const workplace &place, bool namespaces);
    ~guarded_scripts(); ///< as end(), and waits
    guarded_scripts(const guarded_scripts &) = delete;
    guarded_scripts &operator=(const guarded_scripts &) = delete;

    /// Waits at most `patience` for news, or until `other` can be read or is closed.
    news look(duration patience, int other);
    /// Everything is killed now; over() soon.
    void end() { life_.reset(); }
    /// Waits for the guard's end. False: something waits in the kernel and can't be ended yet.
    bool wait(duration patience);

  private:
    guarded_scripts(pid_t guard, unique_fd life, unique_fd told, unique_fd output);

    pid_t guard_;
    bool reaped_ = false;
    unique_fd life_; ///< the guard ends when it is closed
    unique_fd told_;
    unique_fd output_;
    std::string line_; ///< of told_, begun
};

} // namespace farshore::rehearsal
