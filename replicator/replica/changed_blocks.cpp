#include "replicator/replica/changed_blocks.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"

#include <algorithm>

namespace farshore {

void changed_blocks::add(volume_index volume, std::uint64_t block, std::uint64_t count) {
    if (!runs_.empty() && runs_.back().volume == volume &&
        runs_.back().first + runs_.back().count == block) {
        runs_.back().count += count;
        return;
    }
    runs_.push_back({volume, block, count});
    if (runs_.size() >= 2 * max_) {
        finish();
    }
}

void changed_blocks::finish() {
    merge(gap_);
    while (runs_.size() > max_) {
        gap_ = std::max<std::uint64_t>(1, gap_ * 2);
        merge(gap_);
    }
}

/// Sorts, and joins what touches, overlaps, or is not more than `gap` blocks apart.
void changed_blocks::merge(std::uint64_t gap) {
    std::ranges::sort(runs_, [](const run &a, const run &b) {
        return a.volume != b.volume ? a.volume < b.volume : a.first < b.first;
    });
    std::vector<run> merged;
    for (const run &r : runs_) {
        if (!merged.empty() && merged.back().volume == r.volume &&
            r.first <= merged.back().first + merged.back().count + gap) {
            run &last = merged.back();
            last.count = std::max(last.first + last.count, r.first + r.count) - last.first;
        } else {
            merged.push_back(r);
        }
    }
    runs_ = std::move(merged);
}

std::vector<status_extent> changed_blocks::status(volume_index volume, byte_range range,
                                                  std::size_t max) const {
    REPL_ASSERT(range.length > 0 && max > 0);
    std::vector<status_extent> out;
    std::uint64_t at = range.offset;
    auto next = std::ranges::partition_point(runs_, [&](const run &r) {
        return r.volume != volume ? r.volume < volume
                                  : (r.first + r.count) * block_bytes <= range.offset;
    });
    const auto until = [&](std::uint64_t end, std::uint32_t flags) {
        end = std::min(end, range.end());
        if (end > at) {
            out.push_back({end - at, flags});
            at = end;
        }
    };
    for (; at < range.end() && out.size() < max; ++next) {
        if (next == runs_.end() || next->volume != volume) {
            until(range.end(), 0);
            break;
        }
        until(next->first * block_bytes, 0);
        if (out.size() < max) {
            until((next->first + next->count) * block_bytes, 1);
        }
    }
    return out;
}

} // namespace farshore
