#pragma once
// One group at the DR site, as storage: journal, replica images, undo and points. No network and no
// coroutines: the receiver engine calls it on its pools.
//
// Files in `state_directory`: group.state (identity, volumes, commit record in two slots),
// catalogue.db (catalogue/catalogue.hpp), journal/ (interval_log), undo/ (the history behind the
// points), packed/ (what the history was before: history/packed_store.hpp), rollback/ (undo that
// only a roll-back to the commit record needs) and loans (blocks of
// other groups that intervals in the journal refer to). docs/formats.md.
//
// Crash story. (1) Frames are appended to the journal; (2) sync_journal at a barrier, only then may
// the engine acknowledge it; (3) apply decodes a batch of intervals against the replica in memory,
// (4) appends the old content of every block it will change as undo, to the history or to the
// rollback log (undo_writer.hpp), and syncs both; (5) writes the replica, folded (last version
// only); (6) every few seconds `commit` syncs the replica images and then writes one commit record
// {applied position, ends of both undo logs, ...}. A crash at any step: open() rolls the replica
// back by all undo newer than the commit record, newest first, syncs, cuts that undo in the same
// order, and replays the journal from there. Rolling back twice, or by what is left of it, gives
// the same. A delta decoded against half-applied blocks is the trap that the roll-back avoids.
//
// Points. Every applied barrier with `consistent` and no unhealed damage is a point. A point is
// opened without copying: for each block the oldest history after the point, else the replica.
// Readers race safely with apply: look in the undo index, else read the replica and look again.
// While a catch-up is being applied (barriers not consistent), the newest complete point stays: its
// history is never dropped, and does not grow beyond one content a block, however often clients
// overwrite. Retention drops oldest points when `journal_bytes_max` is passed or they are older
// than every rule keeps; never the newest complete point, never one that is open. When nothing may
// be dropped and space is out, append fails with errc::full and a message that says to raise
// `journal`. What is known of points beyond the history (pins, names, what retention let go,
// openings) is the catalogue's; point_cases.hpp settles both at open.
//
// Images are ours alone. At open each must be as the commit record says it was left, or as apply
// that was cut off may have left it (replica/image_cases.hpp): else damage is counted, and the
// points of before are suspect: kept, labelled, and served only to who asks for them as such. While
// it runs the path of each must lead to it: else nothing more is acknowledged, and the object is
// dead.
//
// Damage: a rebuilt block whose digest is wrong (somebody wrote to the replica) is not applied; it
// is reported by apply, `damage_count` grows (persistent; by one an interval; also, without a list
// of blocks, for a payload that can't be decoded and for a journal or undo log found damaged at
// open), and no barrier becomes a point until a stream whose barriers say heals >= damage_count
// reaches a consistent barrier.
//
// Threads: append/sync_journal by one thread at a time; apply/commit/retain by one thread at a
// time; pack by one thread at a time; all kinds may run at once; reads, digests, points, pins, open
// points from any thread.

#include "replicator/base/bytes.hpp"
#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"
#include "replicator/catalogue/catalogue.hpp"
#include "replicator/format/frame.hpp"
#include "replicator/format/point_label.hpp"
#include "replicator/format/position.hpp"
#include "replicator/replica/damage_reach.hpp"
#include "replicator/storage/block_device.hpp"
#include "replicator/storage/file_system.hpp"

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace farshore {

struct replica_volume {
    std::string name;
    std::uint64_t size = 0;
    std::string path; ///< image file or block device
};

struct retention_rule {
    duration spacing{}; ///< zero: keep all; else at most one point a spacing
    duration age{};
};

struct replica_options {
    std::string state_directory;
    std::uint64_t journal_bytes_max = 50ULL << 30; ///< journal + both undo logs
    std::vector<retention_rule> retain;            ///< empty: only space limits
    std::uint64_t batch_bytes_max = 32ULL << 20;   ///< decoded content of one apply batch
    std::uint64_t segment_bytes =
        0; ///< of journal and undo; 0: journal_bytes_max / 64, 1 to 64 MiB; of undo at most half
    /// Of undo in a packed stretch; 0: journal_bytes_max / 16, at most
    /// limits::stretch_undo_bytes_max, and less when it is a minute old.
    std::uint64_t stretch_bytes = 0;
    /// Images here have names that we gave them: they are not followed through symbolic links.
    std::string own_directory = {};
    /// Clients are to write to the images (replica_group::served). A copy that was served and is
    /// not to be any more makes a point of what its images hold, with the label `left_as`.
    bool serve = false;
    bool keep_all = false; ///< served: neither a rule nor space drops a point
    std::optional<point_label> left_as = {};
    /// create(): the images are not empty but what clients wrote, up to this barrier: a copy that
    /// was served.
    stream_position was_served = {};
};

struct replica_point {
    interval_id id;
    wall_time time{};              ///< of the cut, by the primary's clock: its name
    wall_time arrival{};           ///< here, by this site's clock; 1970: not known
    std::string kind = "interval"; ///< interval, crash, app
    std::string name = {};
    std::string note = {};
    bool pinned = false;
    std::string hooks = {}; ///< of a bookmark: what they answered (replica/label_text.hpp)
    bool suspect =
        false; ///< the images were changed by somebody else after it: it may show what never was
    bool damaged = false; ///< a piece of the copy that it needs can't be trusted
};

/// The parts of a copy that a scrub reads, in this order (replica/scrub_source.hpp).
enum class scrub_part : std::uint8_t { journal, history, images };
constexpr std::size_t scrub_parts = 3;
const char *name_of(scrub_part part); ///< as said to operators

class scrub_source;
struct scrub_damage;

/// A damaged piece, and the points that need it. Of the journal: an interval, which no point needs
/// yet.
struct noted_damage {
    scrub_part part = scrub_part::journal;
    damaged_run run{};                 ///< count 0: it is not known which blocks
    point_span points{};               ///< kept or not
    interval_id interval{};            ///< journal, history: of the record
    std::uint64_t point_count = 0;     ///< of those that are kept
    std::vector<interval_id> ids = {}; ///< the oldest of them
};

/// The points at a glance; costs the same however many there are, but for suspect ones.
struct points_overview {
    std::uint64_t points = 0;
    std::uint64_t suspect = 0;             ///< of these; they are the oldest
    std::uint64_t damaged = 0;             ///< of these
    std::optional<replica_point> oldest{}; ///< that is neither
    std::optional<replica_point> newest{}; ///< likewise
};

/// Why a point is kept, and what for.
struct point_keeping {
    replica_point point;
    std::uint64_t undo_bytes = 0; ///< of the history, to go back to it from the next newer point
    std::uint32_t rules = 0;      ///< bit i: rule i of `retain`
    bool bookmark = false;        ///< it has a name, and is not too old for that
    bool open = false;
    bool newest = false;
    bool rebuilt = false;           ///< the catalogue was lost: nobody knows whether it was pinned
    std::optional<wall_time> until; ///< by this site's clock; nothing: no rule ends it
};

/// What other rules or another `journal` would do, now.
struct retention_plan {
    std::uint64_t points = 0;
    std::optional<replica_point> oldest;
    std::uint64_t used_bytes = 0; ///< of `journal`
    std::uint64_t limit_bytes = 0;
    bool fits = true; ///< false: what is pinned, open or newest takes more than may be
};

struct replica_position {
    stream_position durable;  ///< journal synced
    stream_position applied;  ///< replica images show it
    wall_time durable_time{}; ///< of their barriers
    wall_time applied_time{};
    std::optional<replica_point> newest_point; ///< that is neither suspect nor damaged
    std::optional<replica_point> newest_kept;  ///< good or not
    bool in_catch_up = false; ///< the applied barrier is not consistent, or damage is not healed
    std::uint64_t damage_count = 0;
    bool damaged = false; ///< damage not healed yet
    /// Why it was counted last, for the operator; empty: before this object was opened.
    std::string trouble;
    interval_id suspect; ///< points up to it are; 0: none
    wall_time suspect_time{};
};

struct damaged_block {
    volume_index volume;
    std::uint64_t block = 0;
};
struct verify_answer {
    verify_entry entry;
    interval_id at;
    bool equal = false;
    /// A hole (longer than 1 MiB) of which the copy has too much data to look at: says nothing.
    bool unseen = false;
    bool differs() const { return !equal && !unseen; }
};

struct apply_outcome {
    std::uint64_t intervals = 0; ///< 0: nothing was left to apply
    stream_position applied;
    std::uint64_t bytes_written = 0; ///< to the replica images
    std::vector<damaged_block> damaged;
    /// Why a payload did not decode; empty: all did. Its blocks are not known.
    std::string undecoded;
    std::vector<verify_answer> verified;
};

/// Neighbouring 64 KiB regions.
struct region_run {
    volume_index volume;
    std::uint64_t first = 0;
    std::uint64_t count = 0;
    bool operator==(const region_run &) const = default;
};

/// Settings to be tried.
struct retention_wish {
    std::optional<std::vector<retention_rule>> retain = {};
    std::optional<std::uint64_t> journal_bytes_max = {};
};

/// A set of read-only devices, one a volume in order, all as of one point. Holding it keeps the
/// point.
struct open_replica_point {
    replica_point point;
    std::vector<std::shared_ptr<block_device>> devices;
};

class replica_group {
  public:
    /// True when `state_directory` holds a group.
    static result<bool> exists(file_system &files, const std::string &state_directory);
    /// New group: makes state and, where absent, sparse image files of the given size; an image
    /// that is there keeps its content (offline seed) but must have exactly the size
    /// (errc::mismatch, naming both).
    static result<> create(file_system &files, const replica_options &options,
                           const std::vector<replica_volume> &volumes);
    /// Locks state and images (errc::busy), checks sizes, recovers (see the crash story; cases in
    /// replica/recovery_cases.hpp). `verify_key`: see set_verify_key.
    static result<std::unique_ptr<replica_group>> open(file_system &files, replica_options options);
    ~replica_group();

    const std::vector<replica_volume> &volumes() const;
    std::array<std::byte, 16> identity() const; ///< random, made at create
    replica_position position() const;
    std::uint64_t used_bytes() const; ///< journal, both undo logs, packed history, loans

    // Journal
    /// fault::peer: the frame breaks a rule (checksum, order, a barrier that does not fit its
    /// frames or names what no volume has); it is found before anything is touched. All else is of
    /// the storage. errc::full: no room; the next apply() commits what it can to make some.
    /// `arrival` is stamped on a barrier frame. A frame that claims one of its own breaks a rule.
    result<> append(bytes_view frame, wall_time arrival = {});
    result<> abandon_partial();
    std::optional<std::pair<stream_position, std::uint32_t>>
    partial() const; ///< incomplete interval, next index
    /// Durable on return; afterwards position().durable is the newest complete interval.
    result<> sync_journal();

    // Apply
    /// Applies the next batch of durable intervals (folded). Returns intervals == 0 when none is
    /// left. An error is final for the object (errc::dead afterwards) except errc::full and ENOSPC,
    /// of undo or of an image: nothing is lost and apply() goes on when there is space.
    result<apply_outcome> apply();
    /// Syncs the images and writes the commit record if something was applied since the last.
    /// Intervals that both commit records are past leave the journal, so call it also when nothing
    /// was applied: the second call after the last interval frees the rest, further ones do
    /// nothing. Nothing happens while apply() waits for space inside an interval.
    result<> commit();
    /// As the receiver stops: commits, and the images get times that no snapshot of them from
    /// before has.
    result<> close();
    /// Applies the retention rules and drops what is not needed. Call now and then. `now` is no
    /// mere look at a wall clock: what it drops is gone (replica/retention_clock.hpp).
    result<> retain(wall_time now);
    /// Goes on packing the history (history_packer.hpp) for some ten milliseconds. True: there is
    /// more to do. An error changes nothing, and it is tried again. Any thread, one at a time; not
    /// while the group is being closed.
    result<bool> pack();
    /// Little room is left: retain() is due at once, else append has to make some itself.
    bool crowded() const;
    /// Counts damage that somebody else found: from the next interval on no barrier is a point
    /// until it is healed. Any thread; durable with the next commit. `why`: for the operator.
    void report_damage(std::string why);

    // Scrub (replica/scrub_source.hpp)
    /// Reads a part of the copy from a place that an earlier source told, or 0. The group outlives
    /// it.
    std::unique_ptr<scrub_source> scrub(scrub_part part, std::uint64_t place) const;
    /// Marks the points that need what was found, durably, and says which they are. Damage of the
    /// journal is reported (report_damage). Goes through the history: not on the home thread.
    /// Errors: the disk's; what was to be marked is marked until the group is closed.
    result<std::vector<noted_damage>> note_damage(std::span<const scrub_damage> found);
    /// What is marked; ids grow. Any thread.
    std::vector<catalogued_damage> damages() const;
    /// The same after an id, with the kept points that need each.
    std::vector<noted_damage> marks_after(std::uint64_t id) const;

    /// Key of the digests in verify entries, the copy's for its life: what is not equal is damage,
    /// and its barrier no point. Not while apply runs.
    void set_verify_key(const std::array<std::byte, 32> &key);

    // Loans (loan_store.hpp)
    /// Keeps blocks of another group for an interval that is not here yet. Nothing: no room now.
    result<std::optional<std::uint64_t>> keep_loan(interval_id user, bytes_view blocks);
    std::uint64_t loan_slots() const;
    /// Few slots are left until the next commit.
    bool loans_crowded() const;

    // Served: clients write to the images, in place of apply (replica_served.cpp)
    /// Asked for and begun. Asked for and not begun: intervals wait to be applied first; open() it
    /// again when they are.
    bool served() const;
    /// Before anything in the range of an image is changed: on return the points keep what is there
    /// now, durably. errc::full: no room in `journal`, nothing is lost and it may be tried again;
    /// other errors are final for the object. Any thread; the range lies in the volume.
    result<> keep_before(volume_index volume, byte_range range);
    /// keep_before() would return at once.
    bool kept_before(volume_index volume, byte_range range) const;
    /// Rules and space may drop points from here on, as for a copy that is not served.
    void let_points_go();
    /// Blocks that may not be as the point has them, in order, also more than once.
    /// errc::not_found; the point is held while `fn` runs, whose error ends it.
    result<> each_change_after(
        interval_id point,
        const std::function<result<>(volume_index, std::uint64_t block, std::uint64_t count)> &fn);
    /// The images become what the point has; what they had is kept before, as of clients' writes.
    /// Before clients; cut off it can be done again. errc::not_found, full, the disk's.
    result<> go_back_to(interval_id point);

    // Look
    std::vector<replica_point> points() const; ///< oldest first
    points_overview overview() const;
    /// With what keeps each: goes through all records of the history, which may be millions. Not on
    /// the home thread. `now` as for retain().
    std::vector<point_keeping> points_and_keepers(wall_time now) const;
    /// What retain() would do with these settings and the points as they are. Nothing is changed.
    retention_plan plan(const retention_wish &wish, wall_time now) const;
    /// A commit record has it: pin() and forget() take it.
    bool committed(interval_id id) const;
    /// It stays until it is unpinned, whatever rules and space say. Durable. errc::not_found.
    result<> pin(interval_id id, bool pinned);
    /// It is no point any more; its history goes as soon as no other point needs it. Durable.
    /// errc::not_found; errc::refused: pinned, or the newest; errc::busy: open, or, as for pin(),
    /// not committed yet: a commit() later it is.
    result<> forget(interval_id id);
    /// How a rehearsal on a point ended. Durable. errc::not_found; errc::busy as for pin().
    result<> note_test(const catalogued_test &test);
    test_record tested() const; ///< any thread
    /// What is kept of the points besides the history, openings too. Its calls block.
    catalogue &facts() const;
    /// errc::not_found when no such point is kept; errc::refused when it is suspect or damaged,
    /// unless that is what is wanted.
    /// `since`: an older point, likewise; the devices tell what was written after it
    /// (block_device::changed_since), from undo alone.
    result<open_replica_point> open_point(interval_id id, bool suspect_too = false,
                                          std::optional<interval_id> since = std::nullopt);
    /// Every region that an applied interval after `id` changed (and perhaps others), in order, at
    /// most limits::changed_runs_max runs; nothing: the undo does not reach back so far, or
    /// somebody else changed the images since, which no undo tells. Any thread; reads undo.
    std::optional<std::vector<region_run>> changed_since(interval_id id);
    /// Nothing, too, when the copy's barrier of that id is not known to be one of that stream.
    std::optional<std::vector<region_run>> changed_since(stream_position after);
    /// Of what is durable and not applied yet up to this interval: bytes of the journal.
    std::uint64_t bytes_to_apply(interval_id upto) const;
    /// The sender remembers more than the copy has: unless each image was proved to be as it was
    /// left, its points are suspect, those too that the journal still makes, for the state alone
    /// may have been put back. Any thread; durable with the next apply() or commit().
    void suspect_unproved();
    bool suspicion_durable() const; ///< any thread
    /// Bytes of the replica as applied now. For digests during catch-up.
    result<> read_replica(volume_index volume, byte_range range, bytes_span out);
    /// Next data (not hole) of an image at or after offset, as file::next_data.
    result<byte_range> next_data(volume_index volume, std::uint64_t offset);

  private:
    replica_group();
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace farshore
