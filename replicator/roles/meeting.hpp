#pragma once
// What two sites do when they meet: a closed table over what both say of themselves, the same at
// both ends. Pure. tests/roles/RULES.md has the reasons; tests/roles/roles_model.py has checked
// them over all histories up to a length. Tests hold this table against a plain model of it over
// all pairs of histories up to a depth, and against what roles_model.py exports.
//
// Nothing is discarded here: who follows, keeps what it alone has as a point first; who is refused
// goes on as it is until an operator says which content counts.

#include "replicator/roles/role_state.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace farshore {

/// What a site says of itself. The spans outlive the call.
struct site_claim {
    site_role role = site_role::following;
    lineage ancestry;
    generation_id offer;                    ///< handing_over: what the other site may begin; else 0
    std::span<const instance_id> instances; ///< its own lives that its state remembers
    instance_id partner;                    ///< whom it last followed or fed; 0: nobody
};

enum class meeting_outcome : std::uint8_t {
    contradiction,    ///< refused: different things are said of one generation
    unrelated,        ///< refused: another group, or set up anew at one site
    two_serving,      ///< refused, and an alarm: no step of ours leads there
    handed_over,      ///< `who` hears that its offer was taken: it follows
    fenced,           ///< `who` takes no write any more
    split_brain,      ///< refused, both go on and both say so: an operator decides
    unknown_ancestry, ///< refused: an operator says that `who` takes the other's content
    clone,            ///< refused: it is not the site that `who` knows
    not_used,         ///< `who` promises never to take the offer, then the other serves again
    waits,            ///< `who` was fenced before: it waits for `reverse`
    follows,          ///< `who` follows
    no_source,        ///< connected, and nobody's content counts: `promote`
};

enum class meeting_side : std::uint8_t { nobody, first, second };

struct meeting {
    meeting_outcome outcome;
    meeting_side who;
    bool operator==(const meeting &) const = default;
};

meeting meet(const site_claim &first, const site_claim &second);

/// Neither follows; the connection ends with the words.
constexpr bool is_refused(meeting_outcome o) {
    using enum meeting_outcome;
    return o == contradiction || o == unrelated || o == two_serving || o == split_brain ||
           o == unknown_ancestry || o == clone;
}

std::string_view name_of(meeting_outcome o);

/// How the sites met last, for who has to choose between them.
struct last_meeting {
    meeting how;
    meeting_side we_are = meeting_side::nobody;
    lineage other;
};

// ---- the table

/// Which roles a row speaks of.
enum class role_class : std::uint8_t { any, source, handing_over, passive, following, fenced };
/// How the first's lineage stands to the second's, in a row.
enum class kin_class : std::uint8_t {
    any,
    contradicting,
    unrelated,
    same,
    older,
    forked,
    not_older
};
/// What else has to be true.
enum class meeting_fact : std::uint8_t {
    none,
    offer_taken, ///< the second knows the generation that the first offered
    stranger,    ///< the second had a partner, and the first was never that one
};

struct meeting_row {
    role_class first;
    role_class second;
    kin_class kin;
    meeting_outcome outcome;
    meeting_side who; ///< as the row names the two
    meeting_fact fact = meeting_fact::none;
};

/// The first match wins, each row with the two sites either way round.
// clang-format off
constexpr auto meeting_rows = [] {
    using r = role_class;
    using k = kin_class;
    using f = meeting_fact;
    using o = meeting_outcome;
    using s = meeting_side;
    return std::to_array<meeting_row>({
        {r::any,          r::any,       k::contradicting, o::contradiction,    s::nobody},
        {r::any,          r::any,       k::unrelated,     o::unrelated,        s::nobody},
        {r::source,       r::source,    k::same,          o::two_serving,      s::nobody},
        {r::handing_over, r::any, k::older, o::handed_over, s::first, f::offer_taken},
        {r::source,       r::any,       k::older,         o::fenced,           s::first},
        {r::source,       r::source,    k::forked,        o::split_brain,      s::nobody},
        {r::source,       r::passive,   k::forked,        o::unknown_ancestry, s::second},
        {r::source, r::passive, k::not_older, o::clone, s::second, f::stranger},
        {r::handing_over, r::passive,   k::not_older,     o::not_used,         s::second},
        {r::source,       r::fenced,    k::not_older,     o::waits,            s::second},
        {r::source,       r::following, k::not_older,     o::follows,          s::second},
        {r::passive,      r::passive,   k::any,           o::no_source,        s::nobody},
    });
}();
// clang-format on

} // namespace farshore
