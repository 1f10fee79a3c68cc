#include "dedupe/reference_index.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"

#include <algorithm>
#include <bit>

namespace farshore::dedupe {

namespace {
constexpr unsigned tag_shift = 48;
constexpr std::uint64_t place_mask = (1ULL << tag_shift) - 1;
constexpr std::size_t kept_newest = 4;
constexpr std::uint64_t tag_of(std::uint64_t key) { return key & ~place_mask; }
/// A free entry is none.
constexpr bool is_whole_block(std::uint64_t entry) {
    return (entry & place_mask) % block_bytes == 1;
}
} // namespace

std::size_t reference_index::buckets_in(std::size_t bytes) {
    return std::bit_floor(std::max<std::size_t>(bytes / sizeof(bucket), 1));
}

reference_index::reference_index(std::size_t bytes)
    : mask_(buckets_in(bytes) - 1), buckets_(mask_ + 1) {}

// A place that is known moves to the front. Else the oldest goes that is not a whole block, but
// none of the newest: a whole block stands for 4096 bytes, and nothing else finds one that looks
// random; an anchor is one of many.
void reference_index::put(std::uint64_t key, std::uint64_t place) {
    REPL_ASSERT(place <= place_max);
    const std::uint64_t entry = tag_of(key) | (place + 1);
    auto &entries = of(key).entries;
    auto out = std::ranges::find(entries, entry);
    for (std::size_t i = ways; i > kept_newest && out == entries.end(); --i) {
        if (!is_whole_block(entries[i - 1])) {
            out = entries.begin() + static_cast<std::ptrdiff_t>(i - 1);
        }
    }
    if (out == entries.end()) {
        --out;
    }
    std::move_backward(entries.begin(), out, out + 1);
    entries.front() = entry;
}

std::size_t reference_index::find(std::uint64_t key, std::span<std::uint64_t> places) const {
    std::size_t count = 0;
    for (const std::uint64_t entry : of(key).entries) {
        if (entry != 0 && tag_of(entry) == tag_of(key) && count < places.size()) {
            places[count++] = (entry & place_mask) - 1;
        }
    }
    return count;
}

void reference_index::prefetch(std::uint64_t key) const { __builtin_prefetch(&of(key)); }

} // namespace farshore::dedupe
