// TRIM and WRITE_ZEROES. Here the file comes first and the record after it, since only the file
// knows whether it can zero fast; both happen while the range is held, so the order among
// overlapping requests is the same. Blocks that are covered in part become data, whole ones a zero
// range.
//
// A range that is a hole already is answered without either (zero_at_once): no byte changes, so
// there is nothing to order, to mark or to ship. That holds for what is recorded only: a hole that
// another request has just made, and not recorded yet, is not in the open interval; a barrier
// between our answer and its record would show old content to who was told of zeroes. So nobody may
// hold the range after we looked. An earlier punch that a power cut could take back has its extent
// in the activity log until it is synced. A file that takes long to say so (a peer is asked,
// thousands of extents) is seldom asked: file::is_hole(). File systems trim the same free space
// again and again, and images are zeroed when new.

#include "replicator/base/assert.hpp"
#include "replicator/capture/capture_core.hpp"

#include <cerrno>

namespace farshore {
namespace {

void record_edge_locked(capture_core &group, captured_volume &v, const block_edges &edges,
                        byte_range zeroed, std::uint64_t block) {
    run_list runs;
    group.record_data_locked(v, {block, block + 1}, group.options.keep_before, runs);
    const reserved_run &run = runs[0];
    const bytes_view old = edges.old_of(block);
    if (run.before != nullptr) {
        std::memcpy(run.before, old.data(), block_bytes);
        run.keep_before(0);
    }
    const std::uint64_t start = block * block_bytes;
    const std::uint64_t first = std::max(start, zeroed.offset);
    const std::uint64_t last = std::min(start + block_bytes, zeroed.end());
    std::memcpy(run.content, old.data(), block_bytes);
    std::memset(run.content + (first - start), 0, last - first);
}

/// Whole blocks, without those in regions that the scan will ship.
void record_whole_locked(capture_core &group, captured_volume &v, index_range blocks) {
    std::uint64_t at = blocks.first;
    while (at < blocks.last) {
        const std::uint64_t region = at / blocks_per_region;
        const std::uint64_t regions_end = ceil_div(blocks.last, blocks_per_region);
        if (v.pending.test(region)) {
            at = v.pending.next_clear(region, regions_end) * blocks_per_region;
            continue;
        }
        const std::uint64_t stop = v.pending.next_set(region, regions_end).value_or(regions_end);
        const std::uint64_t end = std::min(blocks.last, stop * blocks_per_region);
        group.record_zero_locked(v, {at, end});
        at = end;
    }
}

void record_locked(capture_core &group, captured_volume &v, const block_edges &edges,
                   byte_range zeroed) {
    // Its epoch may have ended since the range was entered.
    group.mark_locked(v, regions_of_blocks(edges.blocks));
    group.note_client_write_locked(0);
    if (group.mode != capture_mode::recording) {
        return;
    }
    constexpr std::uint64_t blocks_at_most = 2 + 2 * blocks_per_region;
    if (!group.fits_locked(blocks_at_most)) {
        group.overflow_locked();
        return;
    }
    index_range whole = edges.blocks;
    whole.first += edges.head ? 1 : 0;
    whole.last -= edges.tail ? 1 : 0;
    const auto record_edge = [&](bool present, std::uint64_t block) {
        if (present && !v.pending.test(block / blocks_per_region)) {
            record_edge_locked(group, v, edges, zeroed, block);
        }
    };
    record_edge(edges.head, edges.blocks.first);
    record_edge(edges.tail, edges.blocks.last - 1);
    record_whole_locked(group, v, whole);
    group.check_large_locked();
}

} // namespace

result<bool> capture_core::zero_at_once(captured_volume &v, byte_range range, zero_options how) {
    REPL_ASSERT(range.offset <= v.size && range.length <= v.size - range.offset);
    if (how.fua || how.keep_allocated || range.length == 0) {
        return false;
    }
    const auto hole = v.data->is_hole(range);
    if (!hole || !*hole) {
        return false;
    }
    const std::lock_guard lock(mutex);
    if (stopped) {
        return false; // zero() says why it refuses
    }
    const auto held = v.ranges.try_enter(blocks_of(range));
    if (held) {
        v.ranges.leave(*held);
    }
    return held.has_value();
}

result<> capture_core::zero(captured_volume &v, byte_range range, zero_options how) {
    REPL_ASSERT(range.offset <= v.size && range.length <= v.size - range.offset);
    if (range.length == 0) {
        return {};
    }
    block_edges edges(v, range);
    v.map->note_write(options.time->wall()); // the one under the lock then hardly ever stores
    touch_map(v, edges.blocks);
    range_table::ticket ticket = 0;
    {
        std::unique_lock lock(mutex);
        FS_CHECK(enter_write(lock, v, edges.blocks, patience::wait, ticket));
    }
    bool changed = false;
    result<> done;
    if (const auto read = edges.read(v, patience::wait); !read) {
        done = std::unexpected(read.error());
    } else {
        done = v.data->zero(range, how.keep_allocated, how.only_if_fast);
        changed = done || !(how.only_if_fast && is_errno(done.error(), ENOTSUP));
    }
    bool look = false;
    {
        const std::lock_guard lock(mutex);
        if (done) {
            record_locked(*this, v, edges, range);
        } else if (changed) {
            write_failed_locked(v, edges.blocks, done.error());
        }
        leave_range_locked(v, ticket);
        look = take_attention_locked();
    }
    ask_attention(look);
    if (done && how.fua) {
        return sync_volume(v);
    }
    return done;
}

} // namespace farshore
