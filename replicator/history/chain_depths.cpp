#include "replicator/history/chain_depths.hpp"

#include "replicator/base/assert.hpp"

namespace farshore {
namespace {

// Volume and block take 10 and 38 bits of packed_key(): with the depth, 51 of the 64.
constexpr unsigned depth_bits = 3;
constexpr unsigned block_bits = 38;
constexpr unsigned volume_shift = 48;
static_assert(packed_depth_max < 1 << depth_bits);

std::uint64_t dense(std::uint64_t key) {
    return (key >> volume_shift) << block_bits | (key & ((std::uint64_t{1} << block_bits) - 1));
}
std::uint64_t slot_of(std::uint64_t key, std::uint8_t depth) {
    return (dense(key) << depth_bits | depth) + 1;
}
std::uint64_t key_in(std::uint64_t slot) { return (slot - 1) >> depth_bits; }

} // namespace

/// Where the block is, or where it would be put. Linear probing.
std::size_t chain_depths::place_of(std::uint64_t key) const {
    const std::uint64_t wanted = dense(key);
    const std::size_t mask = slots_.size() - 1;
    auto at = static_cast<std::size_t>(wanted * 0x9e3779b97f4a7c15ULL >> 32) & mask;
    while (slots_[at] != 0 && key_in(slots_[at]) != wanted) {
        at = (at + 1) & mask;
    }
    return at;
}

std::uint8_t chain_depths::of(std::uint64_t key) const {
    const std::uint8_t unknown = complete_ ? 0 : packed_depth_max;
    if (slots_.empty()) {
        return unknown;
    }
    const std::uint64_t slot = slots_[place_of(key)];
    return slot == 0 ? unknown : static_cast<std::uint8_t>((slot - 1) & ((1U << depth_bits) - 1));
}

void chain_depths::set(std::uint64_t key, std::uint8_t depth) {
    REPL_ASSERT(depth <= packed_depth_max);
    if (slots_.empty() || used_ * 2 >= slots_.size()) {
        grow();
    }
    std::uint64_t &slot = slots_[place_of(key)];
    used_ += slot == 0 ? 1 : 0;
    slot = slot_of(key, depth);
}

void chain_depths::grow() {
    constexpr std::size_t slots_min = 1024;
    if (used_ >= blocks_max) {
        slots_.assign(slots_min, 0);
        used_ = 0;
        complete_ = false;
        return;
    }
    std::vector<std::uint64_t> old(slots_.empty() ? slots_min : slots_.size() * 2);
    old.swap(slots_);
    for (const std::uint64_t slot : old) {
        if (slot != 0) {
            const std::uint64_t d = key_in(slot);
            const std::uint64_t key =
                (d >> block_bits) << volume_shift | (d & ((std::uint64_t{1} << block_bits) - 1));
            slots_[place_of(key)] = slot;
        }
    }
}

} // namespace farshore
