#pragma once
// The documents of the control socket as text for people. Pure; missing keys (an older daemon) show
// as "-".

#include <nlohmann/json.hpp>

#include <string>

namespace farshore {

using json = nlohmann::json;

/// A row a group. `before` is the status `seconds` earlier (null: none) and gives the throughput.
std::string render_status(const json &status, const json &before, double seconds);
std::string render_bookmark(const std::string &group, const json &bookmark); ///< for standard error
std::string render_plan(const json &plan);
std::string render_points(const json &points);
std::string render_peers(const json &peers);
std::string render_invitations(const json &invitations);
std::string render_throttle(const json &throttle);
std::string render_opened(const json &opened);
/// The id on the first line, then a volume and its URI a line.
std::string render_open(const json &opened);
std::string render_verify(const json &verify);
std::string render_scrub(const json &scrub); ///< scrub --wait

/// Share of the written bytes that did not have to be sent: "93 %"; "-" when nothing was written or
/// more was sent than written (a first synchronisation).
std::string render_saved(std::uint64_t written, std::uint64_t wire);

} // namespace farshore
