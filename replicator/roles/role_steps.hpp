#pragma once
// The steps of role_cases.hpp as values: from what a site kept before, and what is asked of it, to
// what it keeps afterwards. Each is one atomic write for its caller; a refusal says what to do
// instead and changes nothing. Pure.

#include "replicator/base/error.hpp"
#include "replicator/roles/meeting.hpp"
#include "replicator/roles/role_cases.hpp"
#include "replicator/roles/role_state.hpp"

#include <functional>
#include <optional>
#include <string>

namespace farshore {

/// What this site's content says as the step is taken.
struct content_claim {
    stream_position common; ///< the newest barrier that is known to have been held by both
    stream_position shows;  ///< the newest barrier that it shows
    bool differs = false;   ///< blocks may differ from `common`
    bool suspect = false;   ///< volumes or state were put back without the other
};

/// `fresh`: an id that nobody else draws. Errors: errc::refused, errc::limit (generations).
result<role_state> promoted(const role_state &s, const content_claim &c, generation_id fresh,
                            bool forced);
result<role_state> committed(const role_state &s);
result<role_state> discarded(const role_state &s);
result<role_state> reversed(const role_state &s);
/// A step that needs nothing else: what a command does to a role.
using role_step = std::function<result<role_state>(const role_state &)>;
/// `refused`: how the sites met last; `other`: the lineage that the other site told then.
result<role_state> kept_there(const role_state &s, std::optional<meeting> refused,
                              meeting_side we_are, const lineage &other);

// ---- switchover

/// First step at the serving site: writes are refused from here on. errc::not_in_sync: the other
/// does not follow now.
result<role_state> handing_over(const role_state &s, generation_id fresh, bool other_follows);
/// What the other site may be told once all of this one is proved to be there; nothing: not yet.
std::optional<role_offer> offer_of(const role_state &s, const content_claim &mine,
                                   stream_position theirs);
/// At the site that it is made to. errc::not_in_sync: it is void, of another time, or this site
/// does not show its barrier and nothing else.
result<role_state> offer_accepted(const role_state &s, const content_claim &c,
                                  const role_offer &offer);
/// At the site that serves: its offer was never told, and nobody can have taken it. errc::refused:
/// there is none.
result<role_state> offer_untold(const role_state &s);
/// No offer up to this number will be taken. Durable before it is told.
role_state offers_voided(const role_state &s, std::uint64_t upto);

// ---- meetings

/// What the meeting makes of this site. `theirs`: what the other one is; `they_void`: up to which
/// of our offers it will take none (meeting_outcome::not_used).
role_state after_meeting(const role_state &s, const meeting &m, meeting_side we_are,
                         const role_state &theirs, std::uint64_t they_void);

/// This site's part in meet().
site_claim claim_of(const role_state &s);

} // namespace farshore
