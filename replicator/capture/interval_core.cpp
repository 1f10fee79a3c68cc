#include "replicator/capture/interval_core.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>
#include <bit>

namespace farshore {
namespace {

// Keys: the volume above 40 bits of block (limits::volume_bytes_max is 2^38 blocks), so runs of two
// volumes never touch. A region's key is its first block's key divided by 16.
constexpr unsigned volume_shift = 40;
constexpr std::uint32_t page_bias = 2;
constexpr std::uint32_t zero_content = 1;
constexpr std::size_t table_size_min = 64;

std::uint64_t block_key(volume_index volume, std::uint64_t block) {
    return (std::uint64_t{volume.value} << volume_shift) | block;
}

bool has_page(const block_slot &slot) { return slot.content >= page_bias; }

} // namespace

interval_core::interval_core(stream_position at, std::shared_ptr<page_pool> pool)
    : position(at), arena_(std::move(pool)) {}

std::uint64_t interval_core::memory_bytes() const {
    constexpr std::uint64_t run_node_bytes = 64;
    return arena_.memory_bytes() + chunks_.size() * sizeof(entry_chunk) +
           table_.size() * sizeof(table_[0]) + runs_.size() * run_node_bytes +
           commit.verify.size() * sizeof(verify_entry);
}

std::size_t interval_core::home_of(std::uint64_t key) const {
    constexpr std::uint64_t golden = 0x9e3779b97f4a7c15;
    return (key * golden) >> (64 - std::countr_zero(table_.size()));
}

void interval_core::grow() {
    table_.assign(std::max(table_size_min, table_.size() * 2), 0);
    for (std::size_t i = 0; i < entry_total_; ++i) {
        std::size_t place = home_of(entry_at(i).key);
        while (table_[place] != 0) {
            place = (place + 1) & (table_.size() - 1);
        }
        table_[place] = static_cast<std::uint32_t>(i + 1);
    }
}

const interval_core::region_entry *interval_core::find(std::uint64_t key) const {
    if (table_.empty()) {
        return nullptr;
    }
    for (std::size_t place = home_of(key); table_[place] != 0;
         place = (place + 1) & (table_.size() - 1)) {
        const region_entry &entry = entry_at(table_[place] - 1);
        if (entry.key == key) {
            return &entry;
        }
    }
    return nullptr;
}

interval_core::region_entry &interval_core::entry_of(std::uint64_t key) {
    if ((entry_total_ + 1) * 2 > table_.size()) {
        grow();
    }
    std::size_t place = home_of(key);
    while (table_[place] != 0) {
        region_entry &entry = entry_at(table_[place] - 1);
        if (entry.key == key) {
            return entry;
        }
        place = (place + 1) & (table_.size() - 1);
    }
    if (entry_total_ % entries_per_chunk == 0) {
        chunks_.push_back(std::make_unique<entry_chunk>());
    }
    region_entry &entry = entry_at(entry_total_);
    entry.key = key;
    table_[place] = static_cast<std::uint32_t>(++entry_total_);
    return entry;
}

bool interval_core::covered(std::uint64_t key) const {
    if (runs_.empty()) {
        return false;
    }
    const auto after = runs_.upper_bound(key);
    return after != runs_.begin() && std::prev(after)->second > key;
}

void interval_core::reserve(volume_index volume, index_range blocks, bool want_before,
                            run_list &out) {
    const std::uint64_t first_key = block_key(volume, blocks.first);
    const bool zero_beneath = covered(first_key); // runs are whole regions
    region_entry &entry = entry_of(first_key / blocks_per_region);
    enum class kind : std::uint8_t { reused, fresh, changed };
    const auto kind_of = [&](std::uint64_t b) {
        const block_slot &slot = entry.slots[b % blocks_per_region];
        return has_page(slot)                       ? kind::reused
               : slot.content == 0 && !zero_beneath ? kind::fresh
                                                    : kind::changed;
    };
    std::uint64_t at = blocks.first;
    while (at < blocks.last) {
        const kind k = kind_of(at);
        std::uint64_t end = at + 1;
        while (end < blocks.last && kind_of(end) == k) {
            ++end;
        }
        if (k == kind::reused) {
            reserve_reused({at, end}, entry, out);
        } else {
            // A block that was zeroed in this interval reads as zero now, which is not what it was
            // at the last barrier.
            reserve_new({at, end}, entry, want_before && k == kind::fresh, out);
        }
        at = end;
    }
}

void interval_core::reserve_reused(index_range blocks, region_entry &entry, run_list &out) const {
    std::uint64_t at = blocks.first;
    while (at < blocks.last) {
        block_slot *slots = &entry.slots[at % blocks_per_region];
        const page_number page = slots->content - page_bias;
        const std::uint32_t room = page_arena::pages_per_chunk - page % page_arena::pages_per_chunk;
        std::uint32_t n = 1;
        while (at + n < blocks.last && n < room && slots[n].content == slots->content + n) {
            ++n;
        }
        out.push({block_index{at}, n, arena_.at(page), nullptr, 0, slots});
        at += n;
    }
}

void interval_core::reserve_new(index_range blocks, region_entry &entry, bool want_before,
                                run_list &out) {
    const auto n = static_cast<std::uint32_t>(blocks.count());
    const page_number page = arena_.allocate(want_before ? 2 * n : n);
    block_slot *slots = &entry.slots[blocks.first % blocks_per_region];
    for (std::uint32_t i = 0; i < n; ++i) {
        if (slots[i].content == zero_content) {
            --zero_marks_;
        }
        slots[i].content = page + i + page_bias;
    }
    data_blocks_ += n;
    const page_number before = page + n;
    out.push({block_index{blocks.first}, n, arena_.at(page),
              want_before ? arena_.at(before) : nullptr, want_before ? before : 0, slots});
}

void interval_core::drop_content(block_slot &slot) {
    if (has_page(slot)) {
        arena_.free(slot.content - page_bias, 1);
        --data_blocks_;
    } else if (slot.content == zero_content) {
        --zero_marks_;
    }
    slot.content = 0;
}

void interval_core::mark_zero(volume_index volume, index_range blocks) {
    while (blocks.first < blocks.last) {
        const std::uint64_t key = block_key(volume, blocks.first);
        const std::uint64_t end =
            std::min(blocks.last, (blocks.first / blocks_per_region + 1) * blocks_per_region);
        region_entry &entry = entry_of(key / blocks_per_region);
        for (; blocks.first < end; ++blocks.first) {
            block_slot &slot = entry.slots[blocks.first % blocks_per_region];
            drop_content(slot);
            slot.content = zero_content;
            ++zero_marks_;
        }
    }
}

void interval_core::record_zero(volume_index volume, index_range blocks,
                                std::uint64_t volume_blocks) {
    REPL_ASSERT(blocks.last <= volume_blocks);
    const std::uint64_t first = ceil_div(blocks.first, blocks_per_region) * blocks_per_region;
    // The volume's last region may be short; it counts as whole.
    const std::uint64_t last = blocks.last == volume_blocks
                                   ? blocks.last
                                   : blocks.last / blocks_per_region * blocks_per_region;
    if (first >= last) {
        mark_zero(volume, blocks);
        return;
    }
    mark_zero(volume, {blocks.first, first});
    add_run(block_key(volume, first), block_key(volume, last));
    mark_zero(volume, {last, blocks.last});
}

void interval_core::clear_entry(region_entry &entry) {
    for (block_slot &slot : entry.slots) {
        drop_content(slot);
    }
}

void interval_core::add_run(std::uint64_t first_key, std::uint64_t last_key) {
    const std::uint64_t first_region = first_key / blocks_per_region;
    const std::uint64_t last_region = ceil_div(last_key, blocks_per_region);
    if (last_region - first_region < entry_total_) {
        for (std::uint64_t r = first_region; r < last_region; ++r) {
            if (find(r) != nullptr) {
                clear_entry(entry_of(r));
            }
        }
    } else {
        for (std::size_t i = 0; i < entry_total_; ++i) {
            if (entry_at(i).key >= first_region && entry_at(i).key < last_region) {
                clear_entry(entry_at(i));
            }
        }
    }
    auto at = runs_.upper_bound(first_key);
    if (at != runs_.begin() && std::prev(at)->second >= first_key) {
        --at;
        first_key = at->first;
    }
    while (at != runs_.end() && at->first <= last_key) {
        last_key = std::max(last_key, at->second);
        at = runs_.erase(at);
    }
    runs_.emplace(first_key, last_key);
}

// Collects changes in order; neighbouring zero ranges of a volume become one.
class interval_core::change_writer {
  public:
    explicit change_writer(const interval_core &core) : core_(core) {}

    void zero(std::uint64_t first_key, std::uint64_t last_key) {
        if (first_key == last_key) {
            return;
        }
        if (!out.empty() && out.back().kind == change_kind::zero && zero_end_ == first_key) {
            out.back().count += last_key - first_key;
        } else {
            block_change change = at(first_key);
            change.kind = change_kind::zero;
            change.count = last_key - first_key;
            out.push_back(change);
        }
        zero_end_ = last_key;
    }
    /// `beneath`: blocks without a slot's content are zero by a run, up to `limit`.
    void region(const region_entry &entry, bool beneath, std::uint64_t limit) {
        const std::uint64_t base = entry.key * blocks_per_region;
        for (std::uint64_t i = 0; i < blocks_per_region && base + i < limit; ++i) {
            const block_slot &slot = entry.slots[i];
            if (has_page(slot)) {
                data(base + i, slot);
            } else if (slot.content == zero_content || beneath) {
                zero(base + i, base + i + 1);
            }
        }
    }

    std::vector<block_change> out;

  private:
    static block_change at(std::uint64_t key) {
        block_change change;
        change.volume = volume_index{static_cast<std::uint16_t>(key >> volume_shift)};
        change.block = block_index{key & ((1ULL << volume_shift) - 1)};
        return change;
    }
    void data(std::uint64_t key, const block_slot &slot) {
        block_change change = at(key);
        change.content = {core_.arena_.at(slot.content - page_bias), block_bytes};
        if (slot.before != 0) {
            change.before = {core_.arena_.at(slot.before - page_bias), block_bytes};
        }
        out.push_back(change);
    }

    const interval_core &core_;
    std::uint64_t zero_end_ = 0;
};

std::vector<block_change> interval_core::changes() const {
    std::vector<const region_entry *> entries;
    entries.reserve(entry_total_);
    for (std::size_t i = 0; i < entry_total_; ++i) {
        entries.push_back(&entry_at(i));
    }
    std::ranges::sort(entries, {}, &region_entry::key);
    change_writer writer(*this);
    writer.out.reserve(data_blocks_ + runs_.size());
    auto run = runs_.begin();
    std::uint64_t run_at = run == runs_.end() ? 0 : run->first; // what of the run is still to come
    const auto next_run = [&] { run_at = ++run == runs_.end() ? 0 : run->first; };
    for (const region_entry *entry : entries) {
        const std::uint64_t base = entry->key * blocks_per_region;
        while (run != runs_.end() && run->second <= base) {
            writer.zero(run_at, run->second);
            next_run();
        }
        const bool beneath = run != runs_.end() && run->first <= base;
        if (!beneath) {
            writer.region(*entry, false, base + blocks_per_region);
            continue;
        }
        writer.zero(run_at, base);
        writer.region(*entry, true, run->second);
        run_at = std::min(base + blocks_per_region, run->second);
    }
    while (run != runs_.end()) {
        writer.zero(run_at, run->second);
        next_run();
    }
    return std::move(writer.out);
}

} // namespace farshore
