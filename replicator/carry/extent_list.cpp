#include "replicator/carry/extent_list.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>

namespace farshore::carry {
namespace {

std::uint64_t end_of(const byte_range &r) { return r.offset + r.length; }

/// The parts of each range of `a` that lie in ranges of `b`, and those that don't.
template <class Inside, class Outside>
void split(const std::vector<byte_range> &a, const std::vector<byte_range> &b, Inside inside,
           Outside outside) {
    auto next = b.begin();
    for (const byte_range &r : a) {
        std::uint64_t at = r.offset;
        while (next != b.end() && end_of(*next) <= at) {
            ++next;
        }
        for (auto over = next; over != b.end() && over->offset < end_of(r); ++over) {
            const std::uint64_t begin = std::max(at, over->offset);
            const std::uint64_t end = std::min(end_of(r), end_of(*over));
            outside(byte_range{at, begin - at});
            inside(byte_range{begin, end - begin});
            at = end;
        }
        outside(byte_range{at, end_of(r) - at});
    }
}

} // namespace

std::vector<byte_range> in_both(const std::vector<byte_range> &a,
                                const std::vector<byte_range> &b) {
    std::vector<byte_range> out;
    split(a, b, [&](byte_range r) { out.push_back(r); }, [](byte_range) {});
    return out;
}

std::vector<byte_range> in_first_only(const std::vector<byte_range> &a,
                                      const std::vector<byte_range> &b) {
    std::vector<byte_range> out;
    split(
        a, b, [](byte_range) {},
        [&](byte_range r) {
            if (r.length > 0) {
                out.push_back(r);
            }
        });
    return out;
}

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
