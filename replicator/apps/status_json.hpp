#pragma once
// The documents of the contract, out of the engine's values. Names here are what scripts rely on:
// fields are added, never renamed.

#include "replicator/engine/status.hpp"
#include "replicator/engine/throttle.hpp"
#include "replicator/engine/trust.hpp"

#include <nlohmann/json.hpp>

#include <vector>

namespace farshore::apps {

using json = nlohmann::json;

json to_json(const engine::sender_group_status &g);
json to_json(const engine::receiver_group_status &g);
json sender_status_document(const std::vector<engine::sender_group_status> &groups);
json receiver_status_document(const std::vector<engine::receiver_group_status> &groups);

json to_json(const engine::wait_outcome &w);
json to_json(const engine::verify_outcome &v);
json to_json(const engine::point_info &p);
/// `held_back`: why no newer point is made.
json points_document(const std::string &group, const std::vector<engine::point_info> &points,
                     const std::optional<std::string> &held_back = {});
json to_json(const engine::opened_point &o);
json to_json(const engine::invitation &i);
json to_json(const engine::peer_status &p);
json invitations_document(const std::vector<engine::open_invitation> &invitations);
json peers_document(const std::vector<engine::peer_status> &peers);
/// `daemon`: the cap of all groups together.
json throttle_document(const engine::throttle_view &daemon,
                       const std::vector<engine::sender_group_status> &groups);

} // namespace farshore::apps
