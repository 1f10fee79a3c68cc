#include "replicator/roles/meeting.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>

namespace farshore {
namespace {

bool is_of(site_role role, role_class c) {
    switch (c) {
    case role_class::any:
        return true;
    case role_class::source:
        return is_source(role);
    case role_class::handing_over:
        return role == site_role::handing_over;
    case role_class::passive:
        return !is_source(role);
    case role_class::following:
        return role == site_role::following;
    case role_class::fenced:
        return role == site_role::fenced;
    }
    return false;
}

bool is_of(kinship kin, kin_class c) {
    switch (c) {
    case kin_class::any:
        return true;
    case kin_class::contradicting:
        return kin == kinship::contradicting;
    case kin_class::unrelated:
        return kin == kinship::unrelated;
    case kin_class::same:
        return kin == kinship::same;
    case kin_class::older:
        return kin == kinship::older;
    case kin_class::forked:
        return kin == kinship::forked;
    case kin_class::not_older:
        return kin == kinship::same || kin == kinship::newer;
    }
    return false;
}

bool is_true(meeting_fact fact, const site_claim &first, const site_claim &second) {
    switch (fact) {
    case meeting_fact::none:
        return true;
    case meeting_fact::offer_taken:
        return first.offer.value != 0 && second.ancestry.knows(first.offer);
    case meeting_fact::stranger:
        return second.partner.value != 0 &&
               std::ranges::find(first.instances, second.partner) == first.instances.end();
    }
    return false;
}

/// `kin`: how the first's lineage stands to the second's; the longest are compared but once.
bool matches(const meeting_row &row, const site_claim &first, const site_claim &second,
             kinship kin) {
    return is_of(first.role, row.first) && is_of(second.role, row.second) && is_of(kin, row.kin) &&
           is_true(row.fact, first, second);
}

meeting_side swapped(meeting_side s) {
    return s == meeting_side::first    ? meeting_side::second
           : s == meeting_side::second ? meeting_side::first
                                       : s;
}

} // namespace

meeting meet(const site_claim &first, const site_claim &second) {
    const kinship kin = first.ancestry.to(second.ancestry);
    const kinship back = second.ancestry.to(first.ancestry);
    for (const meeting_row &row : meeting_rows) {
        if (matches(row, first, second, kin)) {
            return {row.outcome, row.who};
        }
        if (matches(row, second, first, back)) {
            return {row.outcome, swapped(row.who)};
        }
    }
    REPL_ASSERT(false); // the table is closed; the unit test walks all of it
    return {meeting_outcome::contradiction, meeting_side::nobody};
}

std::string_view name_of(meeting_outcome o) {
    switch (o) {
    case meeting_outcome::contradiction:
        return "contradiction";
    case meeting_outcome::unrelated:
        return "unrelated";
    case meeting_outcome::two_serving:
        return "two_serving";
    case meeting_outcome::handed_over:
        return "handed_over";
    case meeting_outcome::fenced:
        return "fenced";
    case meeting_outcome::split_brain:
        return "split_brain";
    case meeting_outcome::unknown_ancestry:
        return "unknown_ancestry";
    case meeting_outcome::clone:
        return "clone";
    case meeting_outcome::not_used:
        return "not_used";
    case meeting_outcome::waits:
        return "waits";
    case meeting_outcome::follows:
        return "follows";
    case meeting_outcome::no_source:
        return "no_source";
    }
    return "unknown";
}

} // namespace farshore
