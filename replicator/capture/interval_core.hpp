#pragma once
// The inside of an interval: the fold index and the memory of the blocks.
//
// Fold index: an open-addressing hash of (volume, region) -> 16 slots, one a block; beneath it a
// map of runs, zeroed ranges of whole regions. A slot says what the block is at the interval's end:
// nothing recorded, zero, or a page with its content; and the page of what it was before, if known.
// A search is one probe and a compare, and a region's 16 neighbours share it. Rejected: an ordered
// tree (cost), a hash of single blocks (16 times the probes for large writes).
//
// Threads: everything that changes the index is called under the group's lock. The pages that
// reserve() hands out are filled, and block_slot::before is set, outside of it by the one writer
// who holds the blocks' range. Entries never move in memory, so that his pointers stay good.
//
// Life: counted by hand. The interval (or the group, while it is open) holds one count, each writer
// between join() and part() one more: a writer needs no allocation and no second counter, and
// settled() is "only the owner is left". Whoever parts last deletes.

#include "replicator/base/clock.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/capture/page_arena.hpp"
#include "replicator/format/change.hpp"
#include "replicator/format/frame.hpp"
#include "replicator/format/position.hpp"

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace farshore {

struct block_slot {
    std::uint32_t content = 0; ///< 0 nothing, 1 zero, else page + 2
    std::uint32_t before = 0;  ///< 0 unknown, else page + 2
};

/// Neighbouring blocks of one region, for a writer to fill.
struct reserved_run {
    block_index first;
    std::uint32_t count = 0;
    std::byte *content = nullptr; ///< count * 4096 bytes
    std::byte *before = nullptr;  ///< as many, for the old content; nullptr: not wanted
    page_number before_page = 0;
    block_slot *slots = nullptr;

    /// Makes the old content of block `i` of the run known, once it was read into `before`.
    void keep_before(std::uint32_t i) const { slots[i].before = before_page + i + 2; }
};

/// A short list that needs the heap only for large requests.
class run_list {
  public:
    void push(const reserved_run &run) {
        if (count_ < few_.size()) {
            few_[count_] = run;
        } else {
            many_.push_back(run);
        }
        ++count_;
    }
    std::size_t size() const { return count_; }
    const reserved_run &operator[](std::size_t i) const {
        return i < few_.size() ? few_[i] : many_[i - few_.size()];
    }

  private:
    std::array<reserved_run, 5> few_; ///< an unaligned 256 KiB write
    std::vector<reserved_run> many_;
    std::size_t count_ = 0;
};

class interval_core {
  public:
    interval_core(stream_position position, std::shared_ptr<page_pool> pool);
    interval_core(const interval_core &) = delete;
    interval_core &operator=(const interval_core &) = delete;

    void join() { holders_.fetch_add(1, std::memory_order_relaxed); }
    void part() {
        if (holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            delete this;
        }
    }
    bool settled() const { return holders_.load(std::memory_order_acquire) == 1; }

    /// Slots and pages for data in blocks of one region. `want_before`: also pages for the old
    /// content of blocks that nothing was recorded of in this interval.
    void reserve(volume_index volume, index_range blocks, bool want_before, run_list &out);
    /// Takes back the pages of old content that could not be had.
    void free_before(const reserved_run &run) { arena_.free(run.before_page, run.count); }
    /// The blocks became zero. `volume_blocks`: blocks of the whole volume.
    void record_zero(volume_index volume, index_range blocks, std::uint64_t volume_blocks);

    bool has_changes() const { return entry_count() != 0; }
    std::uint64_t data_blocks() const { return data_blocks_; }
    std::uint64_t entry_count() const { return data_blocks_ + zero_marks_ + runs_.size(); }
    std::uint64_t memory_bytes() const;
    /// Of new and old content of so many blocks more.
    std::uint64_t more_bytes(std::uint64_t blocks) const {
        return arena_.has_room(2 * blocks) ? 0 // what is left over of a chunk comes on top else
                                           : 2 * blocks * block_bytes + page_pool::chunk_bytes;
    }
    std::vector<block_change> changes() const;

    // Facts about the interval, kept by the group under its lock until the close.
    stream_position position;
    barrier commit;
    time_point closed_at{};
    std::optional<time_point> first_write;
    std::uint64_t written_bytes = 0;
    bool attention_asked = false;

  private:
    struct region_entry {
        std::uint64_t key = 0; ///< volume and region
        std::array<block_slot, blocks_per_region> slots{};
    };
    static constexpr std::size_t entries_per_chunk = 64;
    using entry_chunk = std::array<region_entry, entries_per_chunk>;
    class change_writer;

    ~interval_core() = default;

    region_entry &entry_at(std::size_t i) const {
        return (*chunks_[i / entries_per_chunk])[i % entries_per_chunk];
    }
    region_entry &entry_of(std::uint64_t key);
    const region_entry *find(std::uint64_t key) const;
    void grow();
    std::size_t home_of(std::uint64_t key) const;
    bool covered(std::uint64_t block_key) const;
    void reserve_reused(index_range blocks, region_entry &entry, run_list &out) const;
    void reserve_new(index_range blocks, region_entry &entry, bool want_before, run_list &out);
    void mark_zero(volume_index volume, index_range blocks);
    void add_run(std::uint64_t first_key, std::uint64_t last_key);
    void clear_entry(region_entry &entry);
    void drop_content(block_slot &slot);

    std::atomic<std::uint32_t> holders_ = 1;
    page_arena arena_;
    std::vector<std::uint32_t> table_; ///< entry + 1, 0 free; a power of two
    std::vector<std::unique_ptr<entry_chunk>> chunks_;
    std::size_t entry_total_ = 0;
    std::map<std::uint64_t, std::uint64_t> runs_; ///< block key: first -> one past last
    std::uint64_t data_blocks_ = 0;
    std::uint64_t zero_marks_ = 0;
};

/// Gives the owner's count back; writers may still hold theirs.
struct core_release {
    void operator()(interval_core *core) const { core->part(); }
};
using owned_core = std::unique_ptr<interval_core, core_release>;

} // namespace farshore
