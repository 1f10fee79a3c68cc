#pragma once
// The documents of the contract, out of the engine's values. Names here are what scripts rely on:
// fields are added, never renamed.

#include "replicator/sender/throttle.hpp"
#include "replicator/session/status.hpp"
#include "replicator/session/trust.hpp"

#include <nlohmann/json.hpp>

#include <vector>

namespace farshore {

using json = nlohmann::json;

json to_json(const sender_group_status &g);
json to_json(const receiver_group_status &g);
json sender_status_document(const std::vector<sender_group_status> &groups);
json receiver_status_document(const std::vector<receiver_group_status> &groups);

json to_json(const wait_outcome &w);
json to_json(const bookmark_outcome &b);
json to_json(const verify_outcome &v);
json to_json(const scrub_outcome &s);
json to_json(const test_info &t);
json to_json(const point_info &p);
/// `held_back`: why no newer point is made.
json to_json(const retention_outlook &o);
json points_document(const std::string &group, const std::vector<point_info> &points,
                     const std::optional<std::string> &held_back = {});
json to_json(const opened_point &o);
json to_json(const seed_target &t);
json to_json(const invitation &i);
json to_json(const peer_status &p);
json invitations_document(const std::vector<open_invitation> &invitations);
json peers_document(const std::vector<peer_status> &peers);
/// `daemon`: the cap of all groups together.
json throttle_document(const throttle_view &daemon, const std::vector<sender_group_status> &groups);

} // namespace farshore
