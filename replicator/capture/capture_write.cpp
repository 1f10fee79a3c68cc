// A client's write. Cost beyond the file's own: two short critical sections, a copy of the data
// into the open interval, and a read of the old content from the page cache.
//
//   lock   take the range, check the extent, mark the regions, reserve slots     unlock
//   read the old content, copy the new one, leave the interval; write the file
//   lock   leave the range                                                       unlock
//
// A write that covers a block in part reads the block's old content between range and slots, so it
// takes the lock once more. The interval is left before the file is written: the encoder never
// waits for a disk. Should the write fail then, or the process die, the region is dirty: it is
// never called clean while the range is held (epochs.hpp).

#include "replicator/base/assert.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/capture/capture_core.hpp"

namespace farshore {
namespace {

/// Larger writes go to the disk pool: their copies would keep the connection's thread from its
/// others.
constexpr std::size_t inline_bytes_max = 512 * limits::KiB;
constexpr std::uint64_t bulk_blocks_min = 16; ///< 64 KiB

struct write_op {
    write_op(captured_volume &volume, std::uint64_t at, bytes_view bytes)
        : v(volume), offset(at), data(bytes), edges(volume, {at, bytes.size()}) {}

    captured_volume &v;
    const std::uint64_t offset;
    const bytes_view data;
    block_edges edges;
    range_table::ticket ticket = 0;
    interval_core *core = nullptr; ///< joined
    std::uint64_t serial = 0;      ///< of the core
    run_list runs;
    std::uint32_t before_hits = 0;
    std::uint32_t before_misses = 0;
    std::vector<reserved_run> unused_before; ///< pages for old content that was not to be had
};

void reserve_locked(capture_core &group, write_op &op) {
    captured_volume &v = op.v;
    group.note_client_write_locked(op.data.size());
    if (group.mode != capture_mode::recording) {
        return;
    }
    if (!group.fits_locked(op.edges.blocks.count())) {
        group.overflow_locked();
        return;
    }
    // Bulk data (a long write into an interval that fills fast) is rarely a small change of what
    // was there; reading the old content of all of it would cost the writer as much as its own
    // copy.
    const bool bulk = op.edges.blocks.count() >= bulk_blocks_min && !op.edges.any() &&
                      group.open->memory_bytes() > group.options.memory.interval_bytes / 4;
    const bool want_before = group.options.keep_before && !bulk &&
                             (op.edges.any() || v.before.wants(op.edges.blocks.count()));
    const index_range blocks = op.edges.blocks;
    for (std::uint64_t at = blocks.first; at < blocks.last;) {
        const std::uint64_t region = at / blocks_per_region;
        const std::uint64_t end = std::min(blocks.last, (region + 1) * blocks_per_region);
        if (!v.pending.test(region)) {
            group.record_data_locked(v, {at, end}, want_before, op.runs);
        }
        at = end;
    }
    if (op.runs.size() > 0) {
        op.core = group.open.get();
        op.core->join();
        op.serial = group.open_serial;
        group.check_large_locked();
    }
}

/// Old content of neighbouring whole blocks, zero-padded behind the volume's end.
bool read_before(const captured_volume &v, index_range blocks, std::byte *out) {
    const byte_range at = v.bytes_of(blocks);
    const std::size_t room = blocks.count() * block_bytes;
    const auto cached = v.data->read_at_cached(at.offset, {out, at.length});
    if (!cached || !*cached) {
        return false;
    }
    std::fill(out + at.length, out + room, std::byte{0});
    return true;
}

void fill_before(write_op &op, const reserved_run &run, std::uint32_t i, std::uint32_t count) {
    const std::uint64_t block = run.first.value + i;
    std::byte *out = run.before + std::size_t{i} * block_bytes;
    const bool edge = count == 1 && op.edges.contains(block);
    if (edge) {
        std::memcpy(out, op.edges.old_of(block).data(), block_bytes);
    } else if (!read_before(op.v, {block, block + count}, out)) {
        op.before_misses += count;
        op.unused_before.push_back({run.first, count, nullptr, out, run.before_page + i, nullptr});
        return;
    }
    op.before_hits += edge ? 0 : count;
    for (std::uint32_t k = i; k < i + count; ++k) {
        run.keep_before(k);
    }
}

void fill_block(const write_op &op, std::uint64_t block, std::byte *out) {
    const std::uint64_t start = block * block_bytes;
    if (op.edges.contains(block)) {
        std::memcpy(out, op.edges.old_of(block).data(), block_bytes);
    } else if (start + block_bytes > op.v.size) {
        std::memset(out, 0, block_bytes);
    }
    const std::uint64_t first = std::max(start, op.offset);
    const std::uint64_t last = std::min(start + block_bytes, op.offset + op.data.size());
    std::memcpy(out + (first - start), op.data.data() + (first - op.offset), last - first);
}

void fill_run(write_op &op, const reserved_run &run) {
    const std::uint64_t last = run.first.value + run.count - 1;
    const bool edges = op.edges.contains(run.first.value) || op.edges.contains(last);
    if (run.before != nullptr && !edges) {
        fill_before(op, run, 0, run.count);
    } else if (run.before != nullptr) {
        for (std::uint32_t i = 0; i < run.count; ++i) {
            fill_before(op, run, i, 1);
        }
    }
    const std::uint64_t start = run.first.value * block_bytes;
    const std::size_t bytes = std::size_t{run.count} * block_bytes;
    if (start >= op.offset && start + bytes <= op.offset + op.data.size()) {
        std::memcpy(run.content, op.data.data() + (start - op.offset), bytes);
        return;
    }
    for (std::uint32_t i = 0; i < run.count; ++i) {
        fill_block(op, run.first.value + i, run.content + std::size_t{i} * block_bytes);
    }
}

void fill(write_op &op) {
    if (op.core == nullptr) {
        return;
    }
    for (std::size_t i = 0; i < op.runs.size(); ++i) {
        fill_run(op, op.runs[i]);
    }
    op.core->part(); // it may be encoded and gone from here on
}

/// The end of every write that entered. Returns whether the engine must be asked to look.
bool leave(capture_core &group, write_op &op, const result<> &written) {
    const std::lock_guard lock(group.mutex);
    if (!written) {
        group.write_failed_locked(op.v, op.edges.blocks, written.error());
    }
    if (op.core != nullptr && group.open && op.serial == group.open_serial) {
        for (const reserved_run &run : op.unused_before) {
            group.open->free_before(run);
        }
    }
    if (op.before_hits + op.before_misses > 0) {
        op.v.before.tried(op.before_hits, op.before_misses);
    }
    group.leave_range_locked(op.v, op.ticket);
    return group.take_attention_locked();
}

} // namespace

result<bool> capture_core::write(captured_volume &v, std::uint64_t offset, bytes_view data,
                                 patience p) {
    REPL_ASSERT(offset <= v.size && data.size() <= v.size - offset);
    if (data.empty()) {
        return true;
    }
    if (p == patience::never &&
        (data.size() > inline_bytes_max || !v.data->writes_at_once({offset, data.size()}))) {
        return false;
    }
    write_op op(v, offset, data);
    v.map->note_write(options.time->wall()); // the one under the lock then hardly ever stores
    touch_map(v, op.edges.blocks);
    std::unique_lock lock(mutex);
    FS_TRY(entered, enter_write(lock, v, op.edges.blocks, p, op.ticket));
    if (!entered) {
        return false;
    }
    if (op.edges.any()) {
        lock.unlock();
        auto edges = op.edges.read(v, p);
        lock.lock();
        if (!edges || !*edges) {
            leave_range_locked(v, op.ticket);
            return edges;
        }
        // The epoch in which the write entered may have ended meanwhile.
        mark_locked(v, regions_of_blocks(op.edges.blocks));
    }
    reserve_locked(*this, op);
    lock.unlock();
    fill(op);
    const result<> written = v.data->write_at(offset, data);
    ask_attention(leave(*this, op, written));
    if (!written) {
        return std::unexpected(written.error());
    }
    return true;
}

} // namespace farshore
