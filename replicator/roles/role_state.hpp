#pragma once
// What a site durably keeps of its role in a group, written as one. Content, the barrier that both
// sites are known to have had, and which blocks changed since belong to capture and replica.

#include "replicator/roles/lineage.hpp"
#include "replicator/roles/site_role.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace farshore {

using instance_id =
    strong<struct instance_id_tag, std::uint64_t>; ///< of one life of a site's state

/// How far a promotion can be taken back.
enum class promotion_trial : std::uint8_t {
    none,        ///< there was none, or it was settled
    heard_of,    ///< the other site knows of it: `reverse` there and `switchover` lead back
    discardable, ///< nobody has heard of it
};

constexpr std::array promotion_trials{promotion_trial::none, promotion_trial::heard_of,
                                      promotion_trial::discardable};

/// As files have it.
constexpr std::string_view name_of(promotion_trial t) {
    switch (t) {
    case promotion_trial::none:
        return "none";
    case promotion_trial::heard_of:
        return "heard_of";
    case promotion_trial::discardable:
        return "discardable";
    }
    return "unknown";
}

/// Lives that a site remembers of itself; to a partner that met none of them it is a stranger.
constexpr std::size_t instances_max = 64;

struct role_state {
    site_role role = site_role::following;
    lineage ancestry; ///< blank: it never had a copy
    promotion_trial trial = promotion_trial::none;
    generation_id offered;              ///< handing_over: what the other site may begin; else 0
    std::uint64_t offers = 0;           ///< the number of the newest offer that it ever gave
    std::uint64_t void_upto = 0;        ///< the other's offers up to this number are never taken
    std::vector<instance_id> instances; ///< oldest first, at most instances_max
    instance_id partner;                ///< whom it last followed or fed; 0: nobody
    bool operator==(const role_state &) const = default;
};

/// The role of a site, offered to the other one. It is good for one generation and one barrier.
struct role_offer {
    std::uint64_t number = 0;
    generation_id begins;
    generation_id parent;    ///< the newest generation of who gives it
    stream_position barrier; ///< the last one of it; all was proved to be applied there
    bool operator==(const role_offer &) const = default;
};

} // namespace farshore
