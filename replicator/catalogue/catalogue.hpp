#pragma once
// What is known of a group's recovery points beyond what journal and history say: names and notes,
// who keeps them, which are open, and which retention let go. One SQLite file in the group's state
// directory, reached through file_system (sqlite_files.hpp), so that simulated disks hold it, too.
//
// Durability. A change that somebody asked for (pin, forget, opening, the result of a test) is
// durable on return. What is merely noted of points (note_points) becomes durable with the next
// such change, or when SQLite checkpoints; a power cut before it makes the catalogue older than the
// history, never wrong: who owns both adds what the history has beyond it, and drops what it has
// not (point_cases.hpp).
//
// A file of an older version of the table layout gets what it lacks.
//
// Lost or damaged: a file that SQLite can't read, or that is of a newer version of its table
// layout, is moved aside (catalogue.db.damaged) and a new one is begun, as where there was no file
// (begun_anew). The points come from the history then. Openings are lost, and who kept a point is
// not known; damage of the history is found again by the next scrub.
//
// The tables: catalogue.cpp, docs/formats-log.md "Catalogue".
//
// Threads: any; one mutex. Every call may block on the disk, so not on the home thread.

#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"
#include "replicator/catalogue/recovery_record.hpp"
#include "replicator/storage/file_system.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace farshore {

/// A recovery point as the catalogue has it.
struct catalogued_point {
    interval_id id;
    wall_time time{};
    wall_time arrival{}; ///< 1970: not known
    std::string kind = "interval";
    std::string name = {};
    std::string note = {};
    bool pinned = false;
    duration keep{};        ///< so long after its time a bookmark is to be kept; 0: no wish
    std::string hooks = {}; ///< JSON: what each hook of the bookmark said; empty: there were none
};

/// How a rehearsal on a point ended.
struct catalogued_test {
    interval_id point;
    wall_time time{}; ///< when it began
    std::string name; ///< of the test in the configuration; empty: somebody's own
    bool passed = false;
    duration took{};
    std::string message; ///< the last lines of what it printed, or why it failed
};

/// The last rehearsals of a group: known also when their points are gone. 1970: there was none.
struct test_record {
    wall_time last{}; ///< when it began
    interval_id last_point{};
    bool last_passed = false;
    wall_time passed{}; ///< the last one that passed
    interval_id passed_point{};
};

/// After a catalogue was lost: nobody knows who kept the points up to this one.
struct rebuilt_points {
    interval_id through;
    wall_time at{}; ///< when it was found
};

/// A point that is open, until it is closed: restarts of the receiver serve it again.
struct catalogued_opening {
    std::string id; ///< as printed; never used again
    interval_id point{};
    bool writable = false;
    bool suspect = false;          ///< asked for such a one
    std::uint64_t space_bytes = 0; ///< writable: at most so much is written to it
    std::string nbd = {};          ///< endpoint text as bound; empty: only mounted
    std::string mount = {};        ///< directory; empty: not mounted
    wall_time since{};
    interval_id changed_since{}; ///< an older point whose later changes are told; 0: none
};

/// A piece of the copy that can't be trusted, and the points that need it: those with
/// from <= id < to.
struct catalogued_damage {
    std::uint64_t id = 0; ///< given by who adds it
    std::string what;     ///< history, image
    volume_index volume{};
    std::uint64_t block = 0;
    std::uint64_t count = 0; ///< blocks; 0: it is not known which
    interval_id from{};
    interval_id to{};
    wall_time found{};
};

/// How far the reading of everything has come.
struct scrub_record {
    wall_time began{};       ///< the pass under way, or the last one; 1970: there was none
    wall_time finished{};    ///< the last pass that came to its end
    bool under_way = false;  ///< it began and did not end
    std::uint64_t part = 0;  ///< scrub_part that it is at
    std::uint64_t place = 0; ///< in it
    std::uint64_t bytes = 0; ///< read so far, or in the last pass
};

class catalogue {
  public:
    /// Made if absent. Errors: the disk's.
    static result<std::unique_ptr<catalogue>> open(file_system &files, const std::string &path);
    ~catalogue();
    catalogue(const catalogue &) = delete;
    catalogue &operator=(const catalogue &) = delete;

    /// As who uses it stops: all of it goes from the WAL into the file, durably. The destructor
    /// does not wait for a disk.
    result<> checkpoint();

    /// It was begun anew: what it knew is lost, or there never was anything.
    bool begun_anew() const;

    // Points
    /// Oldest first.
    result<std::vector<catalogued_point>> points();
    /// The newest interval of which the catalogue ever knew whether it is a point; 0: none. What
    /// the history has beyond it is new.
    result<interval_id> noted_through();
    /// Adds them (those that are there stay as they are), and remembers that it knows all up to
    /// `through`. Durable if asked, for that costs a sync.
    result<> note_points(std::span<const catalogued_point> points, interval_id through,
                         bool durably = false);
    /// They are no points any more: retention's choice (not durable by itself) or somebody's. Their
    /// tests go, too.
    result<> drop_points(std::span<const interval_id> ids, bool durably);
    /// Points after `id` never were: the group went back to it. Durable.
    result<> cut_after(interval_id id);
    /// Durable. errc::not_found: no such point.
    result<> pin(interval_id id, bool pinned);

    /// What set_rebuilt said last.
    result<std::optional<rebuilt_points>> rebuilt();
    result<> set_rebuilt(const std::optional<rebuilt_points> &what); ///< durable

    // Tests
    /// Oldest first, of all points.
    result<std::vector<catalogued_test>> tests();
    /// Durable. Beyond limits::tests_per_point_max the point's oldest go; the record has it, too.
    /// errc::not_found: no such point, or it was not noted yet.
    result<> add_test(const catalogued_test &test);
    result<test_record> tested();
    /// When what a schedule asks for was last begun, by its name; 1970: never.
    result<wall_time> begun(const std::string &what);
    result<> set_begun(const std::string &what, wall_time at); ///< durable

    // The record (catalogue_record.cpp): what is known for longer than points are kept
    /// Those that began then or later, oldest first.
    result<std::vector<recorded_rehearsal>> rehearsals(wall_time since);
    /// One of a schedule that could not be run; `point`, `passed` and `took` are not read. It says
    /// nothing of the copy, so tested() does not know it. Durable.
    result<> add_unrun(const catalogued_test &test);
    /// Hours that ended after it, oldest first.
    result<std::vector<exposure_hour>> exposure(wall_time since);
    /// To what is there of these hours: the worse counts, times add up. Not durable by itself.
    result<> add_exposure(std::span<const exposure_hour> seen);

    // Damage
    result<std::vector<catalogued_damage>> damages(); ///< oldest first
    /// Added, or put in the place of those with the same ids. Durable.
    result<> add_damages(std::span<const catalogued_damage> found);
    result<> drop_damages(std::span<const std::uint64_t> ids); ///< not durable by itself
    result<scrub_record> scrubbed();
    result<> set_scrubbed(const scrub_record &what); ///< durable

    // Openings
    result<std::vector<catalogued_opening>> openings();
    /// For the next id; never twice, whatever was closed since. Durable.
    result<std::uint64_t> next_opening();
    result<> add_opening(const catalogued_opening &opening); ///< durable
    result<> remove_opening(const std::string &id);          ///< durable; ok when it is not there

  private:
    struct impl;
    explicit catalogue(std::unique_ptr<impl> inner);
    std::unique_ptr<impl> impl_;
};

} // namespace farshore
