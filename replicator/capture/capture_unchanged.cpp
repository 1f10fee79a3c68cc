// Content of blocks that the DR site has as well: what the encoder may refer to.

#include "replicator/base/assert.hpp"
#include "replicator/capture/capture_core.hpp"

namespace farshore {

/// Nobody writes or zeroes the block now, nothing newer than `since` was recorded of it, and it is
/// not one that is still to be compared.
bool capture_core::unchanged_locked(const captured_volume &v, std::uint64_t block,
                                    interval_id since) const {
    if (mode != capture_mode::recording || v.pending.test(block / blocks_per_region) ||
        v.unreadable.contains(block) || stamps.changed_since(v.index, block, since)) {
        return false;
    }
    return std::ranges::none_of(v.ranges.entries(), [&](const range_table::entry &e) {
        return e.blocks.first <= block && block < e.blocks.last;
    });
}

// Looked at before and after the read: a write that begins in between has left its stamp, or still
// holds its range, by then.
bool capture_group::read_unchanged(volume_index volume, block_index block, stream_position since,
                                   bytes_span out, cold_reads cold) const {
    REPL_ASSERT(out.size() == block_bytes);
    const impl &core = *impl_;
    const captured_volume &v = *core.volumes.at(volume.value);
    if (block.value >= v.blocks) {
        return false;
    }
    const auto unchanged = [&] {
        const std::lock_guard lock(core.mutex);
        return core.stream == since.stream && core.unchanged_locked(v, block.value, since.interval);
    };
    if (!unchanged()) {
        return false;
    }
    const byte_range at = v.bytes_of({block.value, block.value + 1});
    const auto cached = v.data->read_at_cached(at.offset, out.first(at.length));
    if (!cached) {
        return false;
    }
    if (!*cached &&
        (cold == cold_reads::refuse || !v.data->read_at(at.offset, out.first(at.length)))) {
        return false;
    }
    std::ranges::fill(out.subspan(at.length), std::byte{0});
    return unchanged();
}

} // namespace farshore
