#pragma once
// What simulated files, maps and file systems share: the disk, the lock, the counters, the faults
// and the end of the world. Part of sim_file_system.hpp, which explains the model.

#include "replicator/base/assert.hpp"
#include "tests/support/sim_disk.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <set>

namespace farshore {

enum class sim_operation : std::uint8_t {
    open,
    exists,
    list,
    free_bytes,
    size,
    read,
    read_cached,
    next_data,
    lock,
    map,
    // From here on the disk is changed.
    create,
    make_directory,
    rename,
    remove,
    write,
    truncate,
    allocate,
    zero,
    times,
    // and these make changes durable.
    sync,
    sync_map,
    sync_directory,
};

constexpr bool is_mutating(sim_operation o) { return o >= sim_operation::create; }
constexpr bool is_sync(sim_operation o) { return o >= sim_operation::sync; }

struct sim_call {
    sim_operation what = sim_operation::open;
    std::string path;
    std::uint64_t number = 0; ///< among all calls, from 1
};

enum class sim_scope : std::uint8_t { every, mutating, reads, writes, syncs };

/// Fails the nth matching call from now (and, `forever`, all later ones) with an errno.
struct sim_fault {
    sim_scope scope = sim_scope::mutating;
    std::string path_prefix = {}; ///< of the normalised path; empty: all paths
    std::uint64_t nth = 1;
    bool forever = false;
    int number = EIO;
};

} // namespace farshore

namespace farshore::sim {

constexpr bool matches(sim_scope scope, sim_operation what) {
    switch (scope) {
    case sim_scope::every:
        return true;
    case sim_scope::mutating:
        return is_mutating(what);
    case sim_scope::reads:
        return what == sim_operation::read || what == sim_operation::read_cached;
    case sim_scope::writes:
        return is_mutating(what) && !is_sync(what);
    case sim_scope::syncs:
        return is_sync(what);
    }
    return false;
}

/// Memory of a shared_map. Its owner stores into it without telling us, perhaps from other threads
/// with atomics: we look at it by relaxed loads.
struct mapping {
    std::uint64_t number = 0;
    std::uint64_t size = 0;
    buffer memory; ///< whole pages
    bool attached = true;

    void load(std::uint64_t offset, bytes_span out) {
        for (std::size_t i = 0; i < out.size(); i += sizeof(std::uint64_t)) {
            const std::uint64_t value = word(offset + i).load(std::memory_order_relaxed);
            std::memcpy(out.data() + i, &value, std::min(sizeof value, out.size() - i));
        }
    }
    /// Whether a page, or what there is of the last one, is not `known` (null: zeroes).
    bool differs(std::uint64_t offset, const content::page *known) {
        const std::size_t length = std::min(page_bytes, size - offset);
        std::uint64_t difference = 0;
        std::size_t i = 0;
        for (; i + sizeof difference <= length; i += sizeof difference) {
            std::uint64_t other = 0;
            if (known != nullptr) {
                std::memcpy(&other, known->data() + i, sizeof other);
            }
            difference |= word(offset + i).load(std::memory_order_relaxed) ^ other;
        }
        if (i < length) {
            const std::uint64_t last = word(offset + i).load(std::memory_order_relaxed);
            const content::page zeroes{};
            difference |= static_cast<std::uint64_t>(
                std::memcmp(&last, (known ? known : &zeroes)->data() + i, length - i) != 0);
        }
        return difference != 0;
    }
    void store(std::uint64_t offset, bytes_view page) {
        for (std::size_t i = 0; i < page.size(); i += sizeof(std::uint64_t)) {
            std::uint64_t value = 0;
            std::memcpy(&value, page.data() + i, sizeof value);
            if (word(offset + i).load(std::memory_order_relaxed) != value) {
                word(offset + i).store(value, std::memory_order_relaxed);
            }
        }
    }

  private:
    std::atomic_ref<std::uint64_t> word(std::uint64_t offset) {
        return std::atomic_ref(
            *static_cast<std::uint64_t *>(static_cast<void *>(memory.data() + offset)));
    }
};

class world {
  public:
    explicit world(std::uint64_t seed) : chance(seed) {}

    /// Holds the lock during one call; its end is the moment "after the call".
    class ticket {
      public:
        ticket(world &w, std::unique_lock<std::mutex> lock, bool mutating, int fault)
            : fault(fault), world_(&w), lock_(std::move(lock)), mutating_(mutating) {}
        ticket(ticket &&o) noexcept
            : fault(o.fault), world_(std::exchange(o.world_, nullptr)), lock_(std::move(o.lock_)),
              mutating_(o.mutating_) {}
        ticket &operator=(ticket &&) = delete;
        ~ticket() {
            if (world_ != nullptr && mutating_) {
                world_->after_mutating_call();
            }
        }
        int fault = 0; ///< errno to fail with, or 0

      private:
        world *world_;
        std::unique_lock<std::mutex> lock_;
        bool mutating_;
    };

    /// Begins a call of an object of the epoch `process` (0: of no process, it never dies).
    result<ticket> enter(sim_operation what, const std::string &path, std::uint64_t process) {
        if (before_call) {
            before_call({what, path, calls.load() + 1});
        }
        std::unique_lock held(mutex);
        if (stopped || (process != 0 && process != epoch)) {
            return fail(errc::dead, path + " is out of reach: the simulated machine stopped");
        }
        ++calls;
        if (is_mutating(what)) {
            fold_all();
            ++mutating_calls;
        }
        if (is_sync(what)) {
            ++syncs;
        }
        return ticket(*this, std::move(held), is_mutating(what), fault_of(what, path));
    }

    // The rest is called under the lock.

    bool can_read(const std::string &path, std::uint64_t offset, std::uint64_t length) const {
        const auto bad = bad_pages.find(path);
        if (!bad_pages_seen || bad == bad_pages.end() || length == 0) {
            return true;
        }
        const auto first = bad->second.lower_bound(offset / page_bytes);
        return first == bad->second.end() || *first * page_bytes >= offset + length;
    }
    /// What is overwritten as a whole can be read again.
    void overwritten(const std::string &path, std::uint64_t offset, std::uint64_t length) {
        if (const auto bad = bad_pages.find(path); bad != bad_pages.end()) {
            std::erase_if(bad->second, [&](std::uint64_t page) {
                return page * page_bytes >= offset && (page + 1) * page_bytes <= offset + length;
            });
        }
    }

    void stop_after(std::uint64_t count) {
        stop_at_ = mutating_calls.load() + count;
        stopped = false;
        if (count == 0) {
            stop();
        }
    }
    void never_stop() {
        stop_at_ = no_page;
        stopped = false;
    }
    /// All processes end; the page cache stays.
    void end_processes() {
        fold_all();
        detach_all();
        ++epoch;
        never_stop();
        locks.clear();
        for (auto &[number, one] : disk.nodes) {
            one.opens = 0;
        }
        disk.collect();
    }

    /// What was stored into maps becomes changes of their files.
    void fold_all() {
        for (const auto &one : mappings) {
            fold(*one);
        }
    }
    /// For a read of the file: other files' maps can't matter to it.
    void fold_maps_of(std::uint64_t number) {
        for (const auto &one : mappings) {
            if (one->number == number) {
                fold(*one);
            }
        }
    }
    /// What was written to a file is seen in its maps.
    void refresh(std::uint64_t number) {
        for (const auto &one : mappings) {
            if (one->number != number) {
                continue;
            }
            const content &c = disk.nodes.at(number).cached;
            content::page page{};
            for (std::uint64_t at = 0; at < one->memory.size(); at += page_bytes) {
                c.read(at, page);
                one->store(at, page);
            }
        }
    }
    bool mapped(std::uint64_t number) const {
        return std::any_of(mappings.begin(), mappings.end(),
                           [&](const auto &one) { return one->number == number; });
    }

    /// A failed fdatasync: some of the changes got to the disk, none will be tried again, and the
    /// page cache may or may not still show them.
    void lose(std::uint64_t number) {
        ++losses;
        node &n = disk.nodes.at(number);
        cut c(2 + chance.below(no_page - 2));
        n.settle(c);
        if (!mapped(number) && chance.percent(50)) {
            n.evict();
        }
    }

    /// How many bytes from the start of a write have room.
    std::size_t room_for(const node &n, std::uint64_t offset, std::size_t length) {
        if (n.block_special || length == 0) {
            return length;
        }
        const std::uint64_t first = offset / page_bytes;
        const std::uint64_t last = content::pages_of(offset + length);
        if (disk.capacity >= unlimited || n.cached.allocated.missing(first, last) == 0) {
            return length;
        }
        std::uint64_t room = free_pages();
        std::uint64_t fits = offset;
        for (std::uint64_t page = first; page < last; ++page) {
            if (!n.cached.allocated.contains(page)) {
                if (room == 0) {
                    break;
                }
                --room;
            }
            fits = (page + 1) * page_bytes;
        }
        return std::min<std::uint64_t>(fits - offset, length);
    }
    std::uint64_t free_pages() const {
        const std::uint64_t all = disk.capacity / page_bytes;
        const std::uint64_t used = disk.used_pages();
        return all > used ? all - used : 0;
    }

    static constexpr std::uint64_t unlimited = 1ULL << 60;

    /// Each change has a later one, and the clock goes on by itself only if it was given.
    std::int64_t stamp() {
        constexpr std::int64_t tick = 1000;
        constexpr std::int64_t set_back = 1'000'000'000;
        const std::int64_t shown = stamp_clock ? stamp_clock() : 0;
        last_stamp = stamp_clock && shown < last_stamp - set_back
                         ? shown
                         : std::max(last_stamp + tick, shown);
        return last_stamp;
    }
    void touch(std::uint64_t number) {
        const std::int64_t at = stamp();
        disk.nodes.at(number).cached_stamps = {at, at};
    }

    std::mutex mutex;
    sim::disk disk;
    random chance;
    std::uint64_t epoch = 1;
    bool stopped = false;
    unsigned cached_percent = 50;
    std::atomic<std::uint64_t> calls = 0;
    std::atomic<std::uint64_t> mutating_calls = 0;
    std::atomic<std::uint64_t> syncs = 0;
    std::atomic<std::uint64_t> losses = 0;
    std::function<void(const sim_call &)> before_call;
    std::function<std::int64_t()> stamp_clock;
    std::uint64_t mount = 1;
    std::int64_t last_stamp = 1'700'000'000'000'000'000;
    std::list<sim_fault> faults;
    std::map<std::string, std::set<std::uint64_t>>
        bad_pages; ///< by path: can't be read until they are overwritten
    bool bad_pages_seen = true;
    std::list<std::shared_ptr<mapping>> mappings;
    std::map<std::uint64_t, const void *> locks; ///< file number -> holder

  private:
    int fault_of(sim_operation what, const std::string &path) {
        int number = 0;
        for (auto at = faults.begin(); at != faults.end();) {
            if (!matches(at->scope, what) || !path.starts_with(at->path_prefix) ||
                (at->nth > 1 && --at->nth >= 1)) {
                ++at;
                continue;
            }
            number = at->number;
            at = at->forever ? std::next(at) : faults.erase(at);
        }
        return number;
    }
    void after_mutating_call() {
        if (!stopped && mutating_calls >= stop_at_) {
            stop();
        }
    }
    void stop() {
        fold_all();
        detach_all();
        stopped = true;
    }
    void detach_all() {
        for (const auto &one : mappings) {
            one->attached = false;
        }
        mappings.clear();
    }
    void fold(mapping &m) {
        node &n = disk.nodes.at(m.number);
        for (std::uint64_t at = 0; at < m.size; at += page_bytes) {
            if (!m.differs(at, n.cached.find(at / page_bytes))) {
                continue;
            }
            byte_vector stored(std::min(page_bytes, m.size - at));
            m.load(at, stored);
            touch(m.number);
            n.make({.what = change::kind::mapped_page,
                    .offset = at,
                    .data = std::make_shared<const byte_vector>(std::move(stored))});
        }
    }

    std::uint64_t stop_at_ = no_page;
};

} // namespace farshore::sim
