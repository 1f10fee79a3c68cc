#pragma once
// The volumes of an opened point, mounted: for each an nbdfuse over our NBD server, a loop device
// on its file, and the file system on that. Taken down in the other order, each step within a
// time; a mount that is busy is detached, so that its users keep what they have open until they
// close it, and nobody else gets in.
//
// Needs root, /dev/fuse, and the programs nbdfuse, losetup, blkid, mount and umount.
//
// Threads: any, one call at a time for an object; all calls block, for minutes when something
// hangs. What answers nbdfuse must run on other threads.

#include "replicator/base/error.hpp"
#include "replicator/base/program.hpp"

#include <memory>
#include <string>
#include <vector>

namespace farshore {

class point_mount {
  public:
    struct plan {
        std::string directory; ///< of the opening, ours: nbdfuse's files go here
        std::string target;    ///< each volume at TARGET/VOLUME
        std::vector<std::string> volumes;
        std::vector<std::string> uris; ///< of their exports, in that order
        bool writable = false;
    };
    struct volume {
        std::string name;
        std::string path; ///< where it is mounted
    };

    /// Whether it can be done at all and TARGET is ours to use: absolute, and an empty directory or
    /// not there, of an existing parent. Errors: EPERM, ENODEV, ENOENT, errc::invalid, errc::busy.
    static result<> check(const std::string &target);
    /// Mounts all volumes that have a file system; the others are said in the log. Errors: one that
    /// can't be mounted, or none of them has a file system; nothing is left mounted then.
    static result<std::unique_ptr<point_mount>> mount(plan wanted);
    ~point_mount(); ///< as undo()

    const std::vector<volume> &volumes() const { return mounted_; }
    void undo();

    /// By its name in the directory of an opening: something may be mounted there.
    static bool is_file_of_ours(const std::string &name) { return name.ends_with(fuse_suffix); }
    /// Takes down what an earlier process mounted through this directory of an opening.
    static void clean_up(const std::string &directory);

  private:
    static constexpr const char *fuse_suffix = ".fuse";
    struct step {
        std::string volume;
        std::string fuse; ///< directory of nbdfuse
        std::unique_ptr<program> server;
        bool fuse_mounted = false;
        std::string loop;
        std::string target;
        bool target_made = false;
        bool file_system_mounted = false;
    };
    explicit point_mount(plan wanted) : plan_(std::move(wanted)) {}
    /// Whether it has a file system, which is mounted then.
    result<bool> add(std::size_t index);
    result<> show_file(step &s, const std::string &uri);
    result<> attach_loop(step &s);
    result<> mount_content(step &s, const std::string &type);
    void undo(step &s);

    plan plan_;
    std::vector<step> steps_;
    std::vector<volume> mounted_;
};

} // namespace farshore
