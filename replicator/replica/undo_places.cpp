#include "replicator/replica/undo_places.hpp"

#include "replicator/base/geometry.hpp"

#include <mutex>

namespace farshore {

// Runs of blocks that follow each other in volume, table and contents become one node.
void undo_places::insert(const undo_table &table, bool rollback) {
    const undo_record &record = table.record;
    std::uint64_t contents = record.place.offset + undo_header_bytes;
    std::uint64_t entry = contents + record.header.content_bytes;
    indexed_run run;
    const std::scoped_lock lock(mutex_);
    for (const undo_entry &e : table.entries) {
        const bool zero = e.kind == undo_kind::zero;
        if (run.count > 0 && run.volume == e.volume && run.block + run.count == e.block.value &&
            run.zero == zero) {
            run.count += e.count;
        } else {
            if (run.count > 0) {
                index_.insert(run);
            }
            run = {e.volume, e.block.value,        e.count, zero,
                   rollback, record.place.segment, entry,   contents};
        }
        entry += undo_entry_bytes;
        contents += zero ? 0 : block_bytes;
    }
    if (run.count > 0) {
        index_.insert(run);
    }
}

std::vector<indexed_run> undo_places::find(volume_index volume, std::uint64_t block,
                                           std::uint64_t count) const {
    const std::shared_lock lock(mutex_);
    return index_.find(volume, block, count);
}

bool undo_places::surely_none(volume_index volume, std::uint64_t block, std::uint64_t count) const {
    const std::shared_lock lock(mutex_, std::try_to_lock);
    return lock.owns_lock() && index_.none(volume, block, count);
}

std::size_t undo_places::runs() const {
    const std::shared_lock lock(mutex_);
    return index_.runs();
}

void undo_places::clear() {
    const std::scoped_lock lock(mutex_);
    index_ = {};
}

} // namespace farshore
