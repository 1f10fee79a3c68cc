#include "replicator/replica/recovery_cases.hpp"

namespace farshore {

// The graver loss gives the label; the actions add up.
recovery_decision decide_recovery(const recovery_evidence &evidence) {
    recovery_decision d;
    if (evidence.commit == commit_evidence::none) {
        d.label = recovery_case::no_commit;
        d.refuse = true;
        return d;
    }
    switch (evidence.tail) {
    case undo_tail::empty:
        break;
    case undo_tail::complete:
        d.label = recovery_case::rolled_back;
        d.roll_back = true;
        break;
    case undo_tail::torn:
        // The torn record was never synced, so no image was changed on its account.
        d.label = recovery_case::tail_was_torn;
        d.roll_back = true;
        break;
    case undo_tail::broken:
        // What can be read is still rolled back: fewer blocks to repair.
        d.label = recovery_case::undo_lost;
        d.roll_back = true;
        d.drop_points = true;
        d.add_damage = true;
        break;
    }
    if (evidence.history_broken) {
        if (d.label != recovery_case::undo_lost) {
            d.label = recovery_case::history_lost;
        }
    }
    if (evidence.journal == journal_state::gap || evidence.journal == journal_state::regressed) {
        d.add_damage = true;
        d.clear_journal = evidence.journal == journal_state::gap;
        if (d.label != recovery_case::undo_lost) {
            d.label = recovery_case::journal_lost;
        }
    }
    // Before anything else is done about it the damage is written down: a roll-back changes the
    // times that show it.
    if (evidence.images_doubtful) {
        d.label = d.label == recovery_case::undo_lost ? d.label : recovery_case::images_doubtful;
        d.add_damage = true;
    }
    if (evidence.images_changed) {
        d.label = recovery_case::images_changed;
        d.add_damage = true;
        d.suspect_points = true;
    }
    return d;
}

std::string_view to_text(recovery_case label) {
    switch (label) {
    case recovery_case::clean:
        return "clean";
    case recovery_case::rolled_back:
        return "rolled back to the last commit";
    case recovery_case::tail_was_torn:
        return "rolled back to the last commit, an unfinished undo record was dropped";
    case recovery_case::history_lost:
        return "undo of old points is damaged: these points are lost";
    case recovery_case::journal_lost:
        return "the journal is damaged: intervals that were acknowledged are lost, the sender must "
               "compare";
    case recovery_case::undo_lost:
        return "undo that the roll-back needed is damaged: the sender must compare";
    case recovery_case::images_doubtful:
        return "it can't be proved that the images are as the receiver left them: everything is "
               "compared";
    case recovery_case::images_changed:
        return "the images are not as the receiver left them: the points of before are suspect, "
               "and everything is compared";
    case recovery_case::no_commit:
        return "no valid commit record";
    }
    return "";
}

} // namespace farshore
