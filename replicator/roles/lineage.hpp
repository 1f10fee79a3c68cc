#pragma once
// The generations that a site's content of a group lived through, oldest first. Each promotion and
// each switchover begins one: a random id that nobody else draws, and the barrier of its parent at
// which it left it. A site takes over the lineage of the one that it follows. Pure values.

#include "replicator/base/error.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/position.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace farshore {

using generation_id = strong<struct generation_id_tag, std::uint64_t>;

struct generation {
    generation_id id;     ///< never 0
    stream_position left; ///< the last barrier of its parent; of the first one {0, 0}
    bool operator==(const generation &) const = default;
};

/// A promotion beyond this many is refused.
constexpr std::size_t generations_max = limits::generations_max;

/// How one lineage stands to another one.
enum class kinship : std::uint8_t {
    same,          ///< the same generations
    older,         ///< the other one went on from here
    newer,         ///< it went on from where the other one is
    forked,        ///< both went on from something older that they share
    unrelated,     ///< they share nothing
    contradicting, ///< they tell different things of one generation, which no step of ours does
};

class lineage {
  public:
    /// Of a site that never had the group: a part of every other one, so older.
    lineage() = default;
    /// errc::invalid: an id is 0 or there twice. errc::limit: more than generations_max.
    static result<lineage> of(std::vector<generation> oldest_first);

    bool blank() const { return generations_.empty(); }
    const std::vector<generation> &generations() const { return generations_; }
    std::optional<generation_id> newest() const;
    bool knows(generation_id id) const;
    kinship to(const lineage &other) const;

    /// What both lived through; contradicting parts count as different.
    lineage shared_with(const lineage &other) const;
    /// With one more. errc::limit; errc::invalid: `id` is known already, or 0.
    result<lineage> child(generation_id id, stream_position left) const;
    /// Without its newest one; blank stays blank.
    lineage parent() const;

    bool operator==(const lineage &) const = default;

  private:
    std::vector<generation> generations_;
};

} // namespace farshore
