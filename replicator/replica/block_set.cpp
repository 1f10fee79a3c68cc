#include "replicator/replica/block_set.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>
#include <bit>

namespace farshore {
namespace {

constexpr std::uint64_t chunk_blocks = 1 << 15;
constexpr std::uint64_t word_bits = 64;
constexpr std::uint64_t bitmap_bytes = chunk_blocks / 8;
constexpr std::uint64_t node_bytes = 96; ///< of the map, about
constexpr unsigned volume_shift = 48;    // volume_bytes_max has 2^38 blocks

std::uint64_t key_of(volume_index volume, std::uint64_t block) {
    return std::uint64_t{volume.value} << volume_shift | block / chunk_blocks;
}

/// `count` ones from bit `first` on; first + count <= 64, count > 0.
std::uint64_t ones(std::uint64_t first, std::uint64_t count) {
    return ~std::uint64_t{0} >> (word_bits - count) << first;
}

/// The first bit in [from, to) that is not `value`, or `to`.
std::uint64_t first_other(const std::vector<std::uint64_t> &bits, std::uint64_t from,
                          std::uint64_t to, bool value) {
    while (from < to) {
        const std::uint64_t word = bits[from / word_bits];
        const std::uint64_t others = (value ? ~word : word) >> from % word_bits;
        if (others != 0) {
            return std::min(to, from + static_cast<std::uint64_t>(std::countr_zero(others)));
        }
        from = (from / word_bits + 1) * word_bits;
    }
    return to;
}

} // namespace

void block_set::clear() {
    chunks_.clear();
    bytes_ = 0;
}

void block_set::add(volume_index volume, std::uint64_t block, std::uint64_t count) {
    const std::uint64_t end = block + count;
    while (block < end) {
        const std::uint64_t first = block % chunk_blocks;
        const std::uint64_t some = std::min(end - block, chunk_blocks - first);
        add_part(key_of(volume, block), first, some);
        block += some;
    }
}

void block_set::add_part(std::uint64_t key, std::uint64_t first, std::uint64_t count) {
    const bool whole = count == chunk_blocks;
    auto at = chunks_.find(key);
    if (at == chunks_.end()) {
        const std::uint64_t bytes = node_bytes + (whole ? 0 : bitmap_bytes);
        if (bytes_ + bytes > bytes_max_) {
            return;
        }
        bytes_ += bytes;
        chunk c;
        c.bits.resize(whole ? 0 : chunk_blocks / word_bits);
        c.blocks = whole ? chunk_blocks : 0;
        at = chunks_.emplace(key, std::move(c)).first;
    }
    chunk &c = at->second;
    if (c.blocks == chunk_blocks) {
        return;
    }
    for (const std::uint64_t end = first + count; first < end;) {
        const std::uint64_t some = std::min(end - first, word_bits - first % word_bits);
        std::uint64_t &word = c.bits[first / word_bits];
        const std::uint64_t added = ones(first % word_bits, some) & ~word;
        word |= added;
        c.blocks += static_cast<std::uint64_t>(std::popcount(added));
        first += some;
    }
    if (c.blocks == chunk_blocks) {
        c.bits = {};
        bytes_ -= bitmap_bytes;
    }
}

block_set::run block_set::look(volume_index volume, std::uint64_t block,
                               std::uint64_t count) const {
    REPL_ASSERT(count > 0);
    const std::uint64_t end = block + count;
    const std::uint64_t base = std::uint64_t{volume.value} << volume_shift;
    std::uint64_t at = block;
    bool in = false;
    while (at < end) {
        const auto found = chunks_.lower_bound(key_of(volume, at));
        const bool here = found != chunks_.end() && found->first >> volume_shift == volume.value;
        const std::uint64_t start = here ? (found->first - base) * chunk_blocks : end;
        if (start > at) { // no chunk here: none of these is in the set
            if (in) {
                break;
            }
            at = std::min(end, start);
            continue;
        }
        const chunk &c = found->second;
        const std::uint64_t stop = std::min(end - start, chunk_blocks);
        const bool all = c.blocks == chunk_blocks;
        if (at == block) {
            const std::uint64_t bit = block - start;
            in = all || (c.bits[bit / word_bits] >> bit % word_bits & 1) != 0;
        }
        const std::uint64_t same =
            all ? (in ? stop : at - start) : first_other(c.bits, at - start, stop, in);
        at = start + same;
        if (same < stop) {
            break;
        }
    }
    return {in, at - block};
}

} // namespace farshore
