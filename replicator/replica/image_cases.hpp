#pragma once
// Whether an image of the replica is as we left it: a closed table from evidence to a decision.
// Pure; replica_group gathers and carries out. The rule: what is not proved is compared.
// tests/unit/replica/image_cases_test.cpp walks the table.
//
// What we leave behind: each commit (every 5 s, and a stop in order) syncs the images with their
// times and writes inode, size, mtime and ctime of each into the commit record. After it, each undo
// record says when it was written, durably before an image is changed on its account; a roll-back,
// and a step whose image writes last (or waited for space), note their time in the commit record in
// between. So our own writes after a commit lie between known times.
//
//   event                                       evidence at open                           decision
//   stop in order                               times are those of the commit: made new    as_left:
// trust                                                 when all was durable (replica_group::close)
//   kill or power cut while idle                times are those of the commit              as_left:
// trust   kill or power cut while apply wrote         undo after the commit, times not after
// own_writes: trust                                               its last record + own_writes_max
//            after the roll-back   killed within a roll-back                   touched_time of the
// commit, likewise       own_writes   image restored, booted, mounted, written    times later than
// that, or (a snapshot of   not_as_left: damage,     by hand
// its file system) earlier than the commit   points suspect,
//                                                     everything compared   image replaced (mv,
// rsync, cp anew)         another inode                              not_as_left   image grown or
// cut                          refused before this: errc::mismatch   state put back beside current
// images        the commit record is older than the times  not_as_left   state and images put back
// together          times are those of the commit              as_left: one whole
//                                                                          copy, older; the
//                                                                                    sender knows
// its age   chmod, a hard link, mv away and back        ctime alone is another
// doubtful: everything
//               compared, points stay
//                              (mtime would tell of a
//                                              write, unless it was
//                                                            set back)   a block device
//                  it has no times                            not_proved: trusted
//
// Left unproved, and said in docs/operations.md: what was written to a block device behind our
// back; a write by somebody else within own_writes_max after a crash in the middle of apply; after
// a kill, an image put back from a snapshot of the storage that was taken between the last write of
// a commit and its sync; times that somebody set back on purpose (mtime and ctime). `farshore
// resync` compares everything.
//
// While the receiver runs an image that we did not write since the last commit must keep its mtime,
// size and inode; ctime alone may change (chmod). Looked at before each commit, and before apply
// writes to it.

#include "replicator/format/group_state.hpp"

#include <cstdint>
#include <string_view>

namespace farshore {

/// From the undo record of a step, or the time noted last, until an image write has returned. Apply
/// and roll-back note the time before a write when half of it has passed.
constexpr std::int64_t own_writes_max = 30'000'000'000; // ns

/// When we may have written images after the commit, besides the times that the commit left.
struct own_writes {
    bool any = false;
    std::int64_t first = 0; ///< ns, by the clock that stamps files
    std::int64_t last = 0;
    void add(std::int64_t at) {
        first = any && first < at ? first : at;
        last = any && last > at ? last : at;
        any = true;
    }
};

struct image_evidence {
    bool has_times = true; ///< false: a block device
    image_stamp left;      ///< by the commit
    image_stamp found;
    own_writes ours;
};

/// Graver ones come later.
enum class image_case : std::uint8_t { as_left, own_writes, not_proved, doubtful, not_as_left };

image_case judge_image(const image_evidence &evidence);
/// While running, of an image that was not written since the commit.
bool disturbed(const image_stamp &left, const image_stamp &found);
std::string_view to_text(image_case c);

} // namespace farshore
