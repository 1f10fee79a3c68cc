#include "dedupe/reference_index.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>
#include <bit>
#include <sys/mman.h>

namespace farshore::dedupe {

namespace {
constexpr unsigned tag_shift = 48;
constexpr std::uint64_t place_mask = (1ULL << tag_shift) - 1;
constexpr std::uint64_t tag_of(std::uint64_t key) { return key & ~place_mask; }
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

void reference_index::put(std::uint64_t key, std::uint64_t place) {
    REPL_ASSERT(place <= place_max);
    const std::uint64_t entry = tag_of(key) | (place + 1);
    auto &entries = of(key).entries;
    // A place that is known moves to the front; else the oldest goes.
    auto last = std::ranges::find(entries, entry);
    if (last == entries.end()) {
        --last;
    }
    std::move_backward(entries.begin(), last, last + 1);
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
