#include "replicator/capture/range_lock.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>

namespace farshore {
namespace {

bool overlap(index_range a, index_range b) { return a.first < b.last && b.first < a.last; }

} // namespace

std::optional<range_table::ticket> range_table::try_enter(index_range blocks) {
    for (const entry &e : entries_) {
        if (overlap(e.blocks, blocks)) {
            return std::nullopt;
        }
    }
    return enqueue(blocks);
}

range_table::ticket range_table::enqueue(index_range blocks) {
    entries_.push_back({++last_, blocks});
    return last_;
}

bool range_table::granted(ticket number) const {
    const auto mine = std::ranges::find(entries_, number, &entry::number);
    REPL_ASSERT(mine != entries_.end());
    return std::ranges::none_of(entries_, [&](const entry &e) {
        return e.number < number && overlap(e.blocks, mine->blocks);
    });
}

void range_table::leave(ticket number) {
    const auto mine = std::ranges::find(entries_, number, &entry::number);
    REPL_ASSERT(mine != entries_.end());
    *mine = entries_.back();
    entries_.pop_back();
}

} // namespace farshore
