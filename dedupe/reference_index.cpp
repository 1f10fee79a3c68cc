#include "dedupe/reference_index.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"

#include <algorithm>
#include <bit>
#include <sys/mman.h>

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

void reference_index::unmap::operator()(bucket *b) const { ::munmap(b, bytes); }

reference_index::reference_index(std::size_t bytes) : buckets_(nullptr, unmap{0}) {
    const std::size_t count = std::bit_floor(std::max<std::size_t>(bytes / sizeof(bucket), 1));
    const std::size_t length = count * sizeof(bucket);
    void *memory = ::mmap(nullptr, length, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REPL_ASSERT(memory != MAP_FAILED);
    buckets_ = std::unique_ptr<bucket, unmap>(static_cast<bucket *>(memory), unmap{length});
    mask_ = count - 1;
}

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

std::size_t reference_index::find(std::uint64_t key,
                                  std::span<std::uint64_t, found_max> places) const {
    std::size_t count = 0;
    for (const std::uint64_t entry : of(key).entries) {
        if (entry != 0 && tag_of(entry) == tag_of(key) && count < found_max) {
            places[count++] = (entry & place_mask) - 1;
        }
    }
    return count;
}

void reference_index::prefetch(std::uint64_t key) const { __builtin_prefetch(&of(key)); }

} // namespace farshore::dedupe
