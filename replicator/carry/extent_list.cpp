#include "replicator/carry/extent_list.hpp"

#include "replicator/base/assert.hpp"

namespace farshore::carry {
namespace {

std::uint64_t end_of(const byte_range &r) { return r.offset + r.length; }

} // namespace

void extent_list::add(byte_range range) {
    if (range.length == 0) {
        return;
    }
    if (!ranges_.empty()) {
        byte_range &last = ranges_.back();
        REPL_ASSERT(range.offset >= end_of(last));
        if (range.offset - end_of(last) < gap_min_) {
            last.length = end_of(range) - last.offset;
            return;
        }
    }
    ranges_.push_back(range);
    while (ranges_.size() > max_) {
        coarsen();
    }
}

// Gaps twice as large each time: the list halves about as often as a disk has sizes of holes.
void extent_list::coarsen() {
    gap_min_ *= 2;
    std::vector<byte_range> fewer;
    for (const byte_range &r : ranges_) {
        if (!fewer.empty() && r.offset - end_of(fewer.back()) < gap_min_) {
            fewer.back().length = end_of(r) - fewer.back().offset;
        } else {
            fewer.push_back(r);
        }
    }
    ranges_ = std::move(fewer);
}

std::uint64_t extent_list::bytes() const {
    std::uint64_t sum = 0;
    for (const byte_range &r : ranges_) {
        sum += r.length;
    }
    return sum;
}

} // namespace farshore::carry
