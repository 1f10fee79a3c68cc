#pragma once
// What to do with a group at open: a closed table from the evidence found on the disk to a
// decision. Pure; replica_group carries it out. tests/unit/replica/recovery_test.cpp walks all
// combinations.

#include <cstdint>
#include <string_view>

namespace farshore {

/// Of the two slots of group.state.
enum class commit_evidence : std::uint8_t { none, valid };

/// An undo log behind the commit record. Graver ones come later: of two logs the greater counts.
enum class undo_tail : std::uint8_t {
    empty,    ///< nothing was begun after the commit
    complete, ///< whole records only
    torn,     ///< it ends in a record that was being written (whole ones may stand before it)
    broken,   ///< a record that was durable can't be read
};

/// The journal against the commit record.
enum class journal_state : std::uint8_t {
    ends_before, ///< nothing after the applied interval, and nothing more was known to be durable
    continues,   ///< the next interval is there
    gap,         ///< there are later intervals, but not the next one
    regressed,   ///< it ends before what the commit record says was durable
};

struct recovery_evidence {
    commit_evidence commit = commit_evidence::none;
    undo_tail tail = undo_tail::empty;
    bool history_broken = false; ///< undo before the commit has a hole
    journal_state journal = journal_state::ends_before;
    bool images_changed = false;  ///< an image is not as it was left (image_cases.hpp)
    bool images_doubtful = false; ///< nothing worse, and one may not be
};

/// Labels for the operator's log and for tests.
enum class recovery_case : std::uint8_t {
    clean,         ///< images are at the commit, nothing to do but replay
    rolled_back,   ///< apply was cut off: undo takes the images back to the commit
    tail_was_torn, ///< it was cut off while undo was written: the images may be touched by earlier
                   ///< records
    history_lost,  ///< old points are gone, the replica itself is good
    journal_lost,  ///< intervals that were acknowledged are gone: the sender must compare
    undo_lost,     ///< the roll-back is incomplete: images are not to be trusted before a compare
    images_doubtful, ///< the sender must compare; points stay
    images_changed,  ///< images and state are not of one moment: likewise, the points are suspect
    no_commit,       ///< nothing says where the images stand: refuse
};

struct recovery_decision {
    recovery_case label = recovery_case::clean;
    bool refuse = false;
    bool roll_back = false;     ///< by all undo after the commit
    bool drop_points = false;   ///< all of them: the images they build on are wrong
    bool clear_journal = false; ///< what is left can't be applied in order
    bool add_damage = false;    ///< no point until the sender has compared everything
    bool suspect_points =
        false; ///< all of them: kept, labelled, and not served unless asked for as such
};

recovery_decision decide_recovery(const recovery_evidence &evidence);
std::string_view to_text(recovery_case label);

} // namespace farshore
