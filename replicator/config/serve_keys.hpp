#pragma once
// The keys of [[group]] in receiver.toml that a promotion needs: `serve` and `commit_after`.

#include "replicator/config/config_reader.hpp"
#include "replicator/session/config.hpp"

namespace farshore {

constexpr duration commit_after_min = std::chrono::minutes(1);

void read_serve(table_reader &r, receiver_group_config &g);

/// `start` of a sender's group.
void read_start(table_reader &r, sender_group_config &g);

} // namespace farshore
