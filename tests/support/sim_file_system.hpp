#pragma once
// A file_system in memory that loses, tears and refuses what a real one may, from a seed. For crash
// tests, which stop after each call, and for the simulation of both daemons.
//
// What survives
//   kill()       every process ends: objects that were open fail with errc::dead from now on, locks
//                are free, and all that was written stays, synced or not (it is in the page cache).
//   power_cut(s) the same, and of what was not synced only a part stays, by the seed `s`:
//     - each write_at since the file's last sync is kept; lost; torn at a 512-byte boundary (the
//     part
//       before or behind it is kept); or lost while the length it gave to the file is kept
//       (zeroes);
//     - each zero, truncate and allocate is kept or lost by itself;
//     - each 4 KiB page of a shared_map, in each version it had at some mutating call since the
//     last
//       sync, is kept or lost;
//     - creations, renames and removals are durable only after sync_directory of their directory.
//       Those that are not are kept or lost: half of the seeds lose the latest ones (as a
//       journaling file system), half each by itself. A rename is atomic always: the new name holds
//       the old file or the renamed one. A file's sync says nothing about its name.
//     Seed 0 loses everything that can be lost and seed 1 nothing. Equal seeds give equal disks.
//   What was synced stays, byte by byte, until corrupt() is called.
//
// What fails
//   stop_after(n): after the n-th mutating call from now, every call of any kind fails with
//   errc::dead
//     and stores into maps are ignored, until kill() or power_cut(). With mutating_calls() of a run
//     without faults this enumerates all crash points.
//   inject(fault): the n-th matching call fails with an errno, once or for ever. A failed write has
//     written a part that ends at a sector, or nothing. A failed sync is like Linux's: the file
//     object is dead; what was not synced is partly on the disk and partly not; the page cache
//     forgets that it was dirty, so a later sync through another object succeeds without it, and
//     reads may show either. A failed rename, create, remove, truncate, allocate or sync_directory
//     did nothing.
//   spoil_page(path, page): reads of it fail with EIO until a write or zeroing covers it.
//   set_capacity(bytes): ENOSPC when 4 KiB pages run out; what fits of a write is written.
//   corrupt(path, offset): a byte changes at rest.
//
// Times: every change of a file stamps it, later than all before; a power cut keeps the stamps of
// the last sync_all or the latest ones, by the seed.
//
// What differs from a real one: a file is mapped at most once at a time; map.sync() syncs the
// whole file; no permissions, links or ".."; sizes below 2^62.
//
// Threads: all calls may come from several threads (one lock); hooks and faults are set before. A
// copy shares pages with its origin: use both from one thread.

#include "tests/support/sim_file.hpp"

namespace farshore {

/// The file system as one process sees it.
class sim_view : public file_system {
  public:
    /// process 0 never dies.
    sim_view(std::shared_ptr<sim::world> w, std::uint64_t process)
        : world_(std::move(w)), process_(process) {}

    result<std::unique_ptr<file>> open(const std::string &path, open_mode mode) override;
    result<bool> exists(const std::string &path) override;
    result<> make_directories(const std::string &path) override;
    result<std::vector<std::string>> list(const std::string &directory) override;
    result<> rename(const std::string &from, const std::string &to) override;
    result<> remove(const std::string &path) override;
    result<> sync_directory(const std::string &directory) override;
    result<std::uint64_t> free_bytes(const std::string &path) override;
    std::int64_t now() override {
        const std::lock_guard held(world_->mutex);
        return world_->stamp();
    }

  protected:
    std::shared_ptr<sim::world> world_;

  private:
    using ticket = sim::world::ticket;
    result<ticket> begin(sim_operation what, const std::string &path, const std::string &context);
    result<> check_parent(const std::string &path, const std::string &context) const;
    result<> make_directory(const std::string &path);

    std::uint64_t process_;
};

/// The machine: itself a file_system that outlives kill(), and the test's handles.
class sim_file_system final : public sim_view {
  public:
    explicit sim_file_system(std::uint64_t seed)
        : sim_view(std::make_shared<sim::world>(seed), 0) {}
    /// A snapshot: another machine with the same disk and page cache and no process. Not copied:
    /// counters, faults, the hook, a stop. Cheap: pages are shared until one side writes.
    sim_file_system(const sim_file_system &other);
    sim_file_system &operator=(const sim_file_system &) = delete;

    /// The file system for one life of a daemon: fails with errc::dead after the next kill() or
    /// power_cut(), so what is left of the daemon's objects can't touch the disk.
    std::unique_ptr<file_system> process() {
        const std::lock_guard held(world_->mutex);
        return std::make_unique<sim_view>(world_, world_->epoch);
    }

    void kill() {
        const std::lock_guard held(world_->mutex);
        world_->end_processes();
    }
    void power_cut(std::uint64_t seed) {
        const std::lock_guard held(world_->mutex);
        world_->end_processes();
        world_->disk.power_cut(seed);
    }

    /// The file system was shut down by an I/O error, or taken away, and is mounted anew in the
    /// same boot: the page cache is lost as by a power cut.
    void mount_anew(std::uint64_t seed) {
        power_cut(seed);
        remount();
    }
    /// All that is named below the prefix is as it was when `then` was copied, times included: a
    /// snapshot of the storage below was put back while it was not mounted. Processes end.
    void put_back(const sim_file_system &then, const std::string &prefix) {
        const std::lock_guard held(world_->mutex);
        world_->end_processes();
        world_->disk.put_back(then.world_->disk, sim::normal_path(prefix));
        ++world_->mount;
    }

    /// The disk is what a snapshot of it was; all processes end. Only counters and the clock of
    /// stamps go on.
    void revert(const sim_file_system &snapshot);

    std::uint64_t calls() const { return world_->calls; }
    /// Syncs count as mutating.
    std::uint64_t mutating_calls() const { return world_->mutating_calls; }
    std::uint64_t syncs() const { return world_->syncs; }
    /// Failed syncs: each may have changed what a file holds.
    std::uint64_t losses() const { return world_->losses; }
    /// 0: at once.
    void stop_after(std::uint64_t mutating_calls) {
        const std::lock_guard held(world_->mutex);
        world_->stop_after(mutating_calls);
    }
    bool stopped() const {
        const std::lock_guard held(world_->mutex);
        return world_->stopped;
    }
    /// Called at the start of each call, without the lock: may call stop_after, inject and so on.
    void before_call(std::function<void(const sim_call &)> hook) {
        world_->before_call = std::move(hook);
    }

    void inject(sim_fault fault) {
        const std::lock_guard held(world_->mutex);
        world_->faults.push_back(std::move(fault));
    }
    void clear_faults() {
        const std::lock_guard held(world_->mutex);
        world_->faults.clear();
    }
    /// The 4 KiB page can't be read (EIO) until it is overwritten as a whole, or heal_pages().
    void spoil_page(const std::string &path, std::uint64_t page) {
        const std::lock_guard held(world_->mutex);
        world_->bad_pages[sim::normal_path(path)].insert(page);
    }
    void heal_pages() {
        const std::lock_guard held(world_->mutex);
        world_->bad_pages.clear();
    }
    /// The judge looks behind bad pages.
    void see_bad_pages(bool seen) {
        const std::lock_guard held(world_->mutex);
        world_->bad_pages_seen = seen;
    }
    /// Times of files follow this clock (ns), back only if it was set back by a second or more;
    /// without one only the order of changes counts.
    void set_stamp_clock(std::function<std::int64_t()> clock) {
        const std::lock_guard held(world_->mutex);
        world_->stamp_clock = std::move(clock);
    }
    /// The files' clock goes on by so many ns.
    void pass_stamp_time(std::int64_t ns) {
        const std::lock_guard held(world_->mutex);
        world_->last_stamp += ns;
    }
    /// The file system is mounted anew: nothing of it is lost, but identity() says so.
    void remount() {
        const std::lock_guard held(world_->mutex);
        ++world_->mount;
    }
    void set_capacity(std::uint64_t bytes) {
        const std::lock_guard held(world_->mutex);
        world_->disk.capacity = bytes;
    }
    std::uint64_t used_bytes() const {
        const std::lock_guard held(world_->mutex);
        return world_->disk.used_pages() * sim::page_bytes;
    }
    /// Changes the bits of `mask` in a byte inside the file, on the disk and in the page cache.
    void corrupt(const std::string &path, std::uint64_t offset, std::byte mask = std::byte{0x01});
    /// Of read_at_cached calls inside the file, how many are answered. At first 50.
    void set_cached_percent(unsigned percent) {
        const std::lock_guard held(world_->mutex);
        world_->cached_percent = percent;
    }
    /// A disk of zeroes; its parent directory must exist. Its space is not counted.
    void add_block_device(const std::string &path, std::uint64_t size);
};

inline result<sim_view::ticket> sim_view::begin(sim_operation what, const std::string &path,
                                                const std::string &context) {
    FS_TRY(call, world_->enter(what, path, process_));
    if (call.fault != 0) {
        return fail_errno(call.fault, context);
    }
    return call;
}

inline result<> sim_view::check_parent(const std::string &path, const std::string &context) const {
    const std::string parent = parent_path(path);
    if (world_->disk.is_directory(parent)) {
        return {};
    }
    return fail_errno(world_->disk.live.contains(parent) ? ENOTDIR : ENOENT, context);
}

inline result<std::unique_ptr<file>> sim_view::open(const std::string &given, open_mode mode) {
    const std::string path = sim::normal_path(given);
    const std::string context = "can't open " + path;
    const bool creates = mode == open_mode::create || mode == open_mode::create_new ||
                         mode == open_mode::create_no_link;
    FS_TRY(call, begin(creates ? sim_operation::create : sim_operation::open, path, context));
    if (world_->disk.is_directory(path)) {
        return fail_errno(mode == open_mode::create_new ? EEXIST : EISDIR, context);
    }
    const auto found = world_->disk.live.find(path);
    if (found != world_->disk.live.end()) {
        if (mode == open_mode::create_new) {
            return fail_errno(EEXIST, context);
        }
        return std::make_unique<sim::file>(world_, path, found->second.number,
                                           mode != open_mode::read);
    }
    FS_CHECK(check_parent(path, context));
    if (!creates) {
        return fail_errno(ENOENT, context);
    }
    const std::uint64_t number = world_->disk.make_node();
    world_->disk.change_name({.path = path, .target = {number}});
    return std::make_unique<sim::file>(world_, path, number, true);
}

inline result<bool> sim_view::exists(const std::string &given) {
    const std::string path = sim::normal_path(given);
    FS_TRY(call, begin(sim_operation::exists, path, "can't look for " + path));
    return sim::is_root(path) || world_->disk.live.contains(path);
}

inline result<> sim_view::make_directory(const std::string &path) {
    const std::string context = "can't make directory " + path;
    FS_TRY(call, begin(sim_operation::make_directory, path, context));
    FS_CHECK(check_parent(path, context));
    world_->disk.change_name({.path = path});
    return {};
}

// As the real one: each directory is made and then made durable, so a crash can fall between.
inline result<> sim_view::make_directories(const std::string &given) {
    const std::string path = sim::normal_path(given);
    for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
        const std::string prefix = path.substr(0, slash);
        FS_TRY(present, exists(prefix));
        bool directory = false;
        {
            const std::lock_guard held(world_->mutex);
            directory = world_->disk.is_directory(prefix);
        }
        if (present && !directory) {
            return fail_errno(ENOTDIR, "can't make directory " + prefix);
        }
        if (!present) {
            FS_CHECK(make_directory(prefix));
        }
        if (!sim::is_root(prefix) && (!present || slash == std::string::npos)) {
            FS_CHECK(sync_directory(parent_path(prefix)));
        }
        if (slash == std::string::npos) {
            return {};
        }
    }
}

inline result<std::vector<std::string>> sim_view::list(const std::string &given) {
    const std::string path = sim::normal_path(given);
    const std::string context = "can't list " + path;
    FS_TRY(call, begin(sim_operation::list, path, context));
    const sim::name_tree &live = world_->disk.live;
    if (!world_->disk.is_directory(path)) {
        return fail_errno(live.contains(path) ? ENOTDIR : ENOENT, context);
    }
    std::vector<std::string> names;
    const std::string prefix = sim::prefix_of(path);
    for (auto at = live.lower_bound(prefix); at != live.end() && at->first.starts_with(prefix);
         ++at) {
        const std::string name = at->first.substr(prefix.size());
        if (!name.contains('/')) {
            names.push_back(name);
        }
    }
    return names;
}

inline result<> sim_view::rename(const std::string &given_from, const std::string &given_to) {
    const std::string from = sim::normal_path(given_from);
    const std::string to = sim::normal_path(given_to);
    const std::string context = "can't rename " + from + " to " + to;
    FS_TRY(call, begin(sim_operation::rename, to, context));
    sim::disk &disk = world_->disk;
    const auto source = disk.live.find(from);
    if (source == disk.live.end()) {
        return fail_errno(ENOENT, context);
    }
    FS_CHECK(check_parent(to, context));
    const auto target = disk.live.find(to);
    if (target != disk.live.end() && from != to) {
        if (target->second.directory() != source->second.directory()) {
            return fail_errno(target->second.directory() ? EISDIR : ENOTDIR, context);
        }
        if (target->second.directory() && disk.has_children(to)) {
            return fail_errno(ENOTEMPTY, context);
        }
    }
    if (source->second.directory() && to.starts_with(sim::prefix_of(from))) {
        return fail_errno(EINVAL, context);
    }
    if (from != to) {
        disk.change_name({.what = sim::name_change::kind::rename,
                          .path = to,
                          .from = from,
                          .target = source->second});
        disk.collect();
    }
    return {};
}

inline result<> sim_view::remove(const std::string &given) {
    const std::string path = sim::normal_path(given);
    const std::string context = "can't remove " + path;
    FS_TRY(call, begin(sim_operation::remove, path, context));
    sim::disk &disk = world_->disk;
    const auto found = disk.live.find(path);
    if (found == disk.live.end()) {
        return {};
    }
    if (found->second.directory() && disk.has_children(path)) {
        return fail_errno(ENOTEMPTY, context);
    }
    disk.change_name({.what = sim::name_change::kind::unlink, .path = path});
    disk.collect();
    return {};
}

inline result<> sim_view::sync_directory(const std::string &given) {
    const std::string path = sim::normal_path(given);
    const std::string context = "can't sync directory " + path;
    FS_TRY(call, begin(sim_operation::sync_directory, path, context));
    if (!world_->disk.is_directory(path)) {
        return fail_errno(world_->disk.live.contains(path) ? ENOTDIR : ENOENT, context);
    }
    world_->disk.sync_directory(path);
    return {};
}

inline result<std::uint64_t> sim_view::free_bytes(const std::string &given) {
    const std::string path = sim::normal_path(given);
    const std::string context = "can't ask for the free space at " + path;
    FS_TRY(call, begin(sim_operation::free_bytes, path, context));
    if (!world_->disk.is_directory(path) && !world_->disk.live.contains(path)) {
        return fail_errno(ENOENT, context);
    }
    return world_->free_pages() * sim::page_bytes;
}

inline sim_file_system::sim_file_system(const sim_file_system &other)
    : sim_view(std::make_shared<sim::world>(0), 0) {
    const std::lock_guard held(other.world_->mutex);
    other.world_->fold_all();
    world_->disk = other.world_->disk;
    world_->chance = other.world_->chance;
    world_->last_stamp = other.world_->last_stamp;
    world_->stamp_clock = other.world_->stamp_clock;
    world_->mount = other.world_->mount;
    world_->cached_percent = other.world_->cached_percent;
    world_->end_processes();
}

inline void sim_file_system::revert(const sim_file_system &snapshot) {
    const std::lock_guard held(world_->mutex);
    world_->end_processes();
    const std::uint64_t capacity = world_->disk.capacity;
    world_->disk = snapshot.world_->disk;
    world_->disk.capacity = capacity;
    world_->end_processes();
}

inline void sim_file_system::corrupt(const std::string &path, std::uint64_t offset,
                                     std::byte mask) {
    const std::lock_guard held(world_->mutex);
    const auto found = world_->disk.live.find(sim::normal_path(path));
    REPL_ASSERT(found != world_->disk.live.end() && !found->second.directory());
    world_->fold_all();
    sim::node &n = world_->disk.nodes.at(found->second.number);
    REPL_ASSERT(offset < n.cached.size);
    for (sim::content *c : {&n.cached, &n.synced}) {
        std::byte value{};
        c->read(offset, {&value, 1});
        value ^= mask;
        if (offset < c->size) {
            c->write(offset, {&value, 1});
        }
    }
    world_->refresh(found->second.number);
}

inline void sim_file_system::add_block_device(const std::string &given, std::uint64_t size) {
    const std::lock_guard held(world_->mutex);
    const std::string path = sim::normal_path(given);
    REPL_ASSERT(world_->disk.is_directory(parent_path(path)));
    const std::uint64_t number = world_->disk.make_node();
    sim::node &n = world_->disk.nodes.at(number);
    n.block_special = true;
    n.cached.size = size;
    n.synced.size = size;
    world_->disk.change_name({.path = path, .target = {number}});
    world_->disk.sync_directory(parent_path(path));
}

} // namespace farshore
