#pragma once
// Copies of a group that leave the DR site or come to it: what the CLI's `export`, `import` and
// `restore` do. The work is done in the CLI's process, at the receiver's host; the daemon opens the
// point for as long as that process is connected (daemon/attached_opening.hpp), so that nothing is
// left open however it ends.
//
// What is being written has a name that says so until it is whole and durable (new_file.hpp).
//
// Threads: the caller's; each call blocks until it is done, and ends early when `stop` says so.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/control/control.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace farshore::carry {

/// What the work needs of the program around it.
struct means {
    std::string socket;          ///< control socket of the receiver
    control::call_limits limits; ///< of what it is asked; all other work is bounded by `stop`
    std::function<bool()> stop;  ///< asked often; true ends the work with errc::cancelled
    /// What is done, of bytes of which volume.
    std::function<void(const std::string &what, std::uint64_t done, std::uint64_t total)> progress;
    std::function<void(const std::string &)> remark; ///< a sentence for the operator
};

/// Which point of which group.
struct point_choice {
    std::string group;
    std::string point; ///< as typed; empty is latest
    bool applied = false;
    bool suspect = false;
    std::string since; ///< an older point, as typed: what changed after it is told, too
    bool writable = false;
    bool mount = false;                            ///< by the receiver, in a directory of its own
    std::optional<std::uint64_t> space_bytes = {}; ///< writable: at most so much is written
};

enum class image_format : unsigned char { raw, qcow2, vmdk, vhdx, vdi };

struct export_request {
    point_choice from;
    std::string volume; ///< empty: the only one, or all as tar
    std::string to;     ///< a path, or "-"
    image_format format = image_format::raw;
    bool tar = false;    ///< all volumes in one stream, also when there is but one
    bool compare = true; ///< with the point, once it is written; not for a stream
    bool force = false;  ///< an existing file is replaced
    std::string backing; ///< with from.since: the image of that point; empty: none is named
};

struct import_request {
    std::string group;
    std::string from; ///< a path, or "-"
};

struct restore_request {
    point_choice from;
    std::string volume;
    std::string to;
    std::string confirm;            ///< the path again, or the device's serial number
    std::uint32_t sector_bytes = 0; ///< of a file that stands for a disk; 0: 512, or the device's
    bool compare = true;
};

/// Each returns its document (see farshore(1)), durable on return unless it went to "-". A failure
/// leaves nothing under the wished name; `restore` says when the target holds half a copy.
control::outcome run_export(const export_request &request, const means &with);
control::outcome run_import(const import_request &request, const means &with);
control::outcome run_restore(const restore_request &request, const means &with);

} // namespace farshore::carry
