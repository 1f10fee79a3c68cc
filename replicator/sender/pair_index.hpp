#pragma once
// Which block of which group has some content: a hint for all groups of a sender that replicate to
// the same DR site, so that content which one group has shipped need not cross the line for
// another.
//
// What it says is never believed: the receiver compares a keyed digest before it lends
// (receiver_session). Lossy, of fixed size; lost with the process.
//
// Threads: any.

#include "dedupe/reference_index.hpp"
#include "replicator/base/types.hpp"
#include "replicator/session/trust.hpp"

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

class pair_index {
  public:
    struct place {
        std::size_t group = 0; ///< as add_group() counted
        volume_index volume;
        block_index block;
    };

    explicit pair_index(std::size_t bytes) : index_(bytes) {}

    /// A group and how many blocks its volumes have; returns its number.
    std::size_t add_group(std::string name, const std::vector<std::uint64_t> &volume_blocks);
    void set_peer(std::size_t group, std::optional<pinned_peer> peer);
    std::string name_of(std::size_t group) const;
    /// Blocks of one group beyond which it would push out too much of the others.
    std::uint64_t offer_max() const { return index_.entries() / 2; }

    /// `key`: a good hash of the block's 4096 bytes.
    void note(std::size_t group, volume_index volume, block_index block, std::uint64_t key);
    /// A place in another group of the same pair of sites that had this content once.
    std::optional<place> find_elsewhere(std::size_t group, std::uint64_t key) const;

  private:
    struct member {
        std::string name;
        std::optional<pinned_peer> peer;
    };
    struct extent {
        std::uint64_t first = 0; ///< of all blocks of all groups, laid end to end
        std::uint64_t count = 0;
        std::size_t group = 0;
        volume_index volume;
    };
    bool same_pair(std::size_t a, std::size_t b) const;

    mutable std::mutex mutex_; // groups encode side by side; held for a look-up
    dedupe::reference_index index_;
    std::vector<member> groups_;
    std::vector<extent> extents_; ///< in order of `first`
    std::uint64_t end_ = 0;
};

} // namespace farshore
