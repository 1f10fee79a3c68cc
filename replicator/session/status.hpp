#pragma once
// What the engine says of itself: values that apps turn into `status --json` and tables. Names
// follow the interface contract.

#include "replicator/base/clock.hpp"
#include "replicator/base/types.hpp"
#include "replicator/format/point_label.hpp"
#include "replicator/session/config.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

enum class sender_state : std::uint8_t {
    unpaired,
    initial_sync,
    streaming,
    spooling,
    tracking,
    catching_up,
    paused,
    handing_over, ///< the role was offered to the other site; what became of it is not known yet
    fenced,       ///< the other site serves a newer generation: clients get errors
    following,    ///< the other site serves, and this one has a copy
    failed
};
enum class receiver_state : std::uint8_t {
    empty,
    receiving_sync,
    following,
    promoted, ///< its volumes are served from here
    failed,
    replaying
};
const char *name_of(sender_state s);
const char *name_of(receiver_state s);

/// Of a long command, in bytes.
using progress_report = std::function<void(std::uint64_t done, std::uint64_t total)>;

struct barrier_info {
    interval_id id;
    wall_time time{};
};

struct volume_status {
    std::string name;
    std::uint64_t size = 0;
    std::uint64_t dirty_bytes = 0; ///< sender: regions the DR site may not durably hold
    /// Sender: what the volume's disk can't read. No point covers it; the first ranges, and how
    /// much it is in all.
    std::vector<byte_range> unreadable = {};
    std::uint64_t unreadable_bytes = 0;
};

/// What a group's content at a site descends from (roles/lineage.hpp).
struct generation_status {
    std::string id;
    std::string parent;        ///< empty: it is the first one
    interval_id since_barrier; ///< the last one of the parent; 0: none
    bool operator==(const generation_status &) const = default;
};

struct role_status {
    bool serves = false; ///< clients may read and write here now
    std::optional<generation_status> generation;
};

struct sender_group_status {
    std::string name;
    sender_state state = sender_state::unpaired;
    role_status role;
    std::string peer;
    bool connected = false;
    double lag_seconds = 0;
    std::uint64_t lag_bytes = 0;
    std::uint64_t lag_intervals = 0;
    std::optional<barrier_info> last_barrier;
    std::optional<barrier_info> durable_barrier;
    std::uint64_t bytes_written = 0, bytes_folded = 0, bytes_encoded = 0, bytes_wire = 0;
    std::uint64_t encoder_faults = 0; ///< payloads that `verify_encoding` kept back
    std::uint64_t sync_done_bytes = 0, sync_total_bytes = 0;
    std::optional<double> sync_eta_seconds;
    double sync_bytes_per_second = 0;
    std::optional<std::uint64_t> limit_bytes_per_second;
    std::string limit_source = "none"; ///< none, config, set, override, schedule
    std::optional<wall_time> limit_until;
    std::uint64_t spool_used_bytes = 0, spool_limit_bytes = 0;
    std::vector<volume_status> volumes;
    std::vector<std::string> warnings; ///< what works now and will not for long, or looks wrong
    std::optional<std::string> error;
};

/// How a rehearsal on a point ended.
struct test_info {
    wall_time time{}; ///< when it began, by this site's clock
    std::string name; ///< of [[group.test]]; empty: somebody's own
    bool passed = false;
    duration took{};
    std::string message; ///< the last lines of its script, or why it failed
};

struct point_info {
    std::string id;
    wall_time time{};              ///< by the primary's clock
    wall_time arrival{};           ///< at the DR site, by its clock; 1970: not known
    duration age{};                ///< the older of both
    std::string kind = "interval"; ///< interval, crash, app
    std::string name;
    std::string note;
    bool pinned = false;
    std::string hooks = {};                ///< of a bookmark, a JSON list; empty: none
    std::uint64_t size_bytes = 0;          ///< undo kept for it
    bool suspect = false;                  ///< the images were changed by somebody else after it
    bool damaged = false;                  ///< a piece of the copy that it needs can't be trusted
    std::vector<std::string> kept_by = {}; ///< rules as written, pin, open, newest, rebuilt
    std::optional<wall_time> until = {};   ///< by this site's clock; nothing: no rule ends it
    std::vector<test_info> tests = {};     ///< oldest first
};

/// What retention would do now, or with other settings.
struct retention_outlook {
    std::string group;
    std::uint64_t points_now = 0, points = 0;
    std::optional<point_info> oldest_now, oldest;
    std::uint64_t used_bytes_now = 0, used_bytes = 0, limit_bytes = 0;
    bool fits = true; ///< false: what must stay takes more than `limit_bytes` allows
};
/// Settings to be tried; nothing: as configured.
struct retention_trial {
    std::optional<std::vector<retain_rule>> retain = {};
    std::optional<std::uint64_t> journal_bytes = {};
};

/// Of the journal, after a start.
struct replay_status {
    std::uint64_t done_bytes = 0, total_bytes = 0;
    std::optional<double> eta_seconds;
};

/// A pass of a scrub, under way or the last one.
struct scrub_status {
    bool running = false;
    std::uint64_t done_bytes = 0, total_bytes = 0;
    std::optional<wall_time> last_finished;
    std::uint64_t damaged = 0; ///< pieces of the copy that kept points need and can't be trusted
    std::optional<std::string> waits; ///< for what it does not go on
};

/// What a pass found.
struct scrub_finding {
    std::string what; ///< journal, history, image
    std::string volume;
    byte_range range;       ///< in the volume; length 0: it is not known what of it
    interval_id interval{}; ///< journal, history: whose record
    std::uint64_t point_count = 0;
    std::vector<std::string> points; ///< that need it; the oldest of them
};
struct scrub_outcome {
    std::string group;
    std::uint64_t read_bytes = 0;
    bool compared = false; ///< all images with the primary
    std::string why_not;   ///< else
    std::uint64_t findings = 0;
    std::vector<scrub_finding> damaged; ///< the first of them
};

/// The last rehearsals of a group; their points may be gone.
struct tests_status {
    wall_time time{}; ///< of the last one
    std::string point;
    bool passed = false;
    std::optional<wall_time> last_passed;
};

/// A volume that is served after a promotion.
struct served_volume {
    std::string volume;
    std::string uri;
    std::uint64_t dirty_bytes = 0; ///< regions that may differ from what the other site holds
};
struct served_status {
    std::string generation;
    wall_time since{};
    std::string point;               ///< that it began with
    bool settled = false;            ///< committed: `demote --discard` is over
    bool heard_of = false;           ///< by the other site, likewise
    bool fenced = false;             ///< and it serves a newer generation: clients get errors
    std::string stream = "unpaired"; ///< to the site that follows, as a sender's state
    double lag_seconds = 0;
    std::vector<served_volume> volumes;
    std::optional<std::string> error; ///< why they are not served
};

struct receiver_group_status {
    std::string name;
    receiver_state state = receiver_state::empty;
    role_status role;
    std::optional<served_status> serving; ///< promoted
    bool connected = false;
    std::optional<barrier_info> applied_barrier;
    std::optional<barrier_info> durable_barrier;
    std::uint64_t points = 0;
    std::uint64_t suspect_points = 0;                     ///< of these
    std::uint64_t damaged_points = 0;                     ///< of these
    std::optional<point_info> oldest_point, newest_point; ///< of the others
    std::optional<scrub_status> scrub;                    ///< of a copy that is served
    std::optional<std::string> held_back;                 ///< why no point is made of what arrives
    std::optional<tests_status> tests;                    ///< nothing: there was none
    std::optional<replay_status> replay;
    struct {
        std::uint64_t count = 0;
        double oldest_seconds = 0;
    } opened;                 ///< points
    bool apply_waits = false; ///< for space: what is durable is not all applied
    std::uint64_t wrong_bases =
        0; ///< blocks that were not what the primary's changes build on, since the start
    std::uint64_t journal_used_bytes = 0, journal_limit_bytes = 0;
    std::uint64_t bytes_wire = 0, bytes_applied = 0;
    std::vector<volume_status> volumes;
    std::vector<std::string> warnings;
    std::optional<std::string> error;
};

struct promote_outcome {
    std::string group;
    point_info point;
    std::string generation;
    bool nothing_lost = false; ///< as the primary said last: all its clients wrote is in the point
    std::vector<start_step> start; ///< how the applications start on it
    std::vector<served_volume> volumes;
};

struct switchover_outcome {
    std::string group;
    std::string point;      ///< the last barrier here, and the one that the other site began with
    std::string generation; ///< the other site's
    duration held{};        ///< for so long clients waited
};

struct peer_status {
    std::string group;
    std::string address;
    std::string fingerprint;
    bool connected = false;
};

struct wait_outcome {
    std::string group;
    std::string point;
    interval_id barrier;
    wall_time time{};
    bool applied = false;
};

/// A named point that is asked for.
struct bookmark_request {
    std::string name; ///< {time} in it becomes the time
    std::string note = {};
    bool app = false;   ///< with the group's hooks
    duration keep{};    ///< at the DR site; 0: as `retain` says
    duration timeout{}; ///< for all of it
};
/// Of a bookmark, until the DR site shows it, unless told.
constexpr duration bookmark_timeout_default = std::chrono::seconds(60);
struct bookmark_outcome {
    wait_outcome point;   ///< its `applied`: the DR site shows it
    bool durable = false; ///< the DR site holds it
    point_label label;
    std::string why_not_app; ///< it was wanted, and is not: empty
};

struct difference {
    std::string volume;
    byte_range range;
};
struct verify_outcome {
    std::string group;
    interval_id barrier;
    bool equal = false;
    std::vector<difference> differences;
};

/// How a point is to be opened.
struct open_request {
    std::string point = {}; ///< id, RFC 3339 time, "latest" or "-5m"; empty is latest
    std::string nbd = {};   ///< endpoint text, see nbd::parse_endpoint; empty: not served
    bool writable = false;
    bool suspect = false; ///< also a point that is
    /// Writable: at most so much is written to it; nothing: limits::overlay_space_default.
    std::optional<std::uint64_t> space_bytes = {};
    std::string mount = {}; ///< directory; empty: not mounted
    bool attached = false;  ///< it ends with who asked, and with the process: it is not recorded
    bool mount_attached = false; ///< attached: mounted in a directory of the receiver's own
    std::string since = {}; ///< an older point: what changed after it is served, too; may be empty
};
struct opened_export {
    std::string volume;
    std::string uri;
};
struct opened_mount {
    std::string volume;
    std::string path;
};
struct opened_point {
    std::string id;
    std::string group;
    std::string point;
    bool writable = false;
    std::vector<opened_export> exports;
    std::uint64_t space_used_bytes = 0, space_limit_bytes = 0; ///< writable
    std::string mount;                ///< directory; empty: not to be mounted
    std::vector<opened_mount> mounts; ///< what is mounted now
    bool served = true;               ///< false: its point or its copy is waited for
    std::optional<std::string> error; ///< why it is not, or not mounted
    std::string since = {};           ///< the point whose later changes are told; empty: none
};

/// Where the images of a group belong, for who brings its content by another way than the line.
struct seed_target {
    std::string group;
    std::string state;                                        ///< of the group, as in `status`
    bool copy = false;                                        ///< there is one, whole or not
    bool connected = false;                                   ///< a sender is there
    std::string directory;                                    ///< of VOLUME.img; may be empty
    std::vector<std::pair<std::string, std::string>> targets; ///< volume name, path
};

struct invitation {
    std::string token;
    wall_time expires{};
};

} // namespace farshore
