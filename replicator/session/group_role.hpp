#pragma once
// A group's role at this site, as it is kept (STATE/groups/NAME/role.json, of which site::role_of
// has the only object) and as it is said to the other site.
//
// Version 1, an object of: version, role, trial, lineage (a list of {id, left_stream,
// left_interval}, oldest first), offered, offers, void_upto, serving (what an operator is told of a
// promotion, and what its steps need after a crash: since_ms, point, back_to), leave_as. Ids are
// texts of 16 hexadecimal digits.

#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/roles/role_state.hpp"
#include "replicator/session/status.hpp"
#include "replicator/storage/file_system.hpp"

#include <optional>
#include <string>

namespace farshore {

struct group_role {
    role_state state;
    /// Of a site that serves by promotion.
    struct serving_facts {
        wall_time since{};
        interval_id point;   ///< whose content it began with
        interval_id back_to; ///< the images are not as of `point` yet; else 0
        bool operator==(const serving_facts &) const = default;
    };
    serving_facts serving;
    /// Follows again: the name of the point that is made of what the copy holds; empty: it is made.
    std::string leave_as;
    bool operator==(const group_role &) const = default;
};

std::string text_of(const group_role &r);
/// `otherwise` when there is no file. errc::corrupt, errc::unsupported, with what to do. Blocks.
result<group_role> read_group_role(file_system &files, const std::string &path,
                                   group_role otherwise);

/// 16 hexadecimal digits.
std::string text_of(generation_id id);
/// Drawn by chance, not 0.
generation_id fresh_generation();
/// The first generation of a group whose primary has this identity: the same whenever its state is
/// put back.
generation_id first_generation(const wire::id16 &primary, const std::string &group);

/// Nothing before the first copy.
std::optional<generation_status> generation_of(const role_state &s);

wire::site_claim claim_message(const role_state &s);
/// errc::corrupt, the peer's fault: generations that can't be.
result<role_state> role_of_claim(const wire::site_claim &claim);

} // namespace farshore
