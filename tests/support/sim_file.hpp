#pragma once
// A simulated file and its map. Part of sim_file_system.hpp.

#include "tests/support/sim_world.hpp"

namespace farshore::sim {

constexpr std::uint64_t offset_max = 1ULL << 62;

class map final : public shared_map {
  public:
    map(std::shared_ptr<world> w, std::shared_ptr<mapping> m, std::string path, std::uint64_t epoch,
        std::shared_ptr<bool> dead)
        : world_(std::move(w)), mapping_(std::move(m)), path_(std::move(path)), epoch_(epoch),
          dead_(std::move(dead)) {}
    ~map() override {
        const std::lock_guard held(world_->mutex);
        if (mapping_->attached) {
            world_->fold_all();
            world_->mappings.remove(mapping_);
            node &n = world_->disk.nodes.at(mapping_->number);
            --n.opens;
            world_->disk.collect(mapping_->number);
        }
    }
    map(const map &) = delete;
    map &operator=(const map &) = delete;

    bytes_span bytes() override { return mapping_->memory.span().first(mapping_->size); }
    result<> sync() override {
        FS_TRY(call, world_->enter(sim_operation::sync_map, path_, epoch_));
        if (*dead_) {
            return fail(errc::dead, path_ + " is not written any more since a sync of it failed");
        }
        if (call.fault != 0) {
            *dead_ = true;
            world_->lose(mapping_->number);
            return fail_errno(call.fault, "can't sync the map of " + path_);
        }
        world_->disk.nodes.at(mapping_->number).sync();
        return {};
    }

  private:
    std::shared_ptr<world> world_;
    std::shared_ptr<mapping> mapping_;
    std::string path_;
    std::uint64_t epoch_;
    std::shared_ptr<bool> dead_; ///< of the file
};

class file final : public farshore::file {
  public:
    /// Under the world's lock.
    file(std::shared_ptr<world> w, std::string path, std::uint64_t number, bool writable)
        : world_(std::move(w)), path_(std::move(path)), number_(number), epoch_(world_->epoch),
          writable_(writable), block_special_(self().block_special) {
        ++self().opens;
        if (self().cached_stamps.modified == 0) {
            world_->touch(number_);
        }
    }
    ~file() override {
        const std::lock_guard held(world_->mutex);
        if (epoch_ == world_->epoch) {
            const auto lock = world_->locks.find(number_);
            if (lock != world_->locks.end() && lock->second == this) {
                world_->locks.erase(lock);
            }
            --self().opens;
            world_->disk.collect(number_);
        }
    }
    file(const file &) = delete;
    file &operator=(const file &) = delete;

    const std::string &path() const override { return path_; }
    bool block_special() const override { return block_special_; }

    result<file_identity> identity() override {
        FS_TRY(call, begin(sim_operation::size, "can't ask what this is: "));
        file_identity id;
        id.device = block_special_ ? number_ : 1;
        id.inode = number_;
        id.mount = world_->mount;
        id.size = self().cached.size;
        if (!block_special_) {
            id.modified = self().cached_stamps.modified;
            id.changed = self().cached_stamps.changed;
        }
        return id;
    }
    result<bool> named() override {
        FS_TRY(call, begin(sim_operation::size, "can't ask what this is: "));
        const auto at = world_->disk.live.find(normal_path(path_));
        return at != world_->disk.live.end() && at->second.number == number_;
    }

    result<std::uint64_t> size() override {
        FS_TRY(call, begin(sim_operation::size, "can't ask for the size of "));
        return self().cached.size;
    }

    result<> read_at(std::uint64_t offset, bytes_span out) override {
        FS_TRY(call, begin(sim_operation::read, "can't read "));
        if (!world_->can_read(path_, offset, out.size())) {
            return fail_errno(EIO, "can't read " + path_);
        }
        return read(offset, out);
    }

    result<bool> read_at_cached(std::uint64_t offset, bytes_span out) override {
        FS_TRY(call, begin(sim_operation::read_cached, "can't read "));
        if (!world_->chance.percent(world_->cached_percent) ||
            !world_->can_read(path_, offset, out.size()) || !read(offset, out)) {
            return false;
        }
        return true;
    }

    result<> write_at(std::uint64_t offset, bytes_view data) override {
        const std::string context = "can't write " + path_;
        FS_TRY(call, world_->enter(sim_operation::write, path_, epoch_));
        FS_CHECK(may_write(context));
        if (offset > offset_max || data.size() > offset_max - offset) {
            return fail_errno(EFBIG, context);
        }
        std::size_t fits = world_->room_for(self(), offset, data.size());
        if (block_special_) {
            const std::uint64_t end = self().cached.size;
            fits = static_cast<std::size_t>(
                std::min<std::uint64_t>(data.size(), end > offset ? end - offset : 0));
        }
        int reason = fits < data.size() ? ENOSPC : 0;
        if (call.fault != 0) {
            reason = call.fault;
            const std::size_t sectors = fits / sector_bytes;
            fits = sector_bytes * static_cast<std::size_t>(world_->chance.below(sectors + 1));
        }
        if (fits > 0) {
            const bytes_view part = data.first(fits);
            world_->overwritten(path_, offset, fits);
            make({.what = change::kind::write,
                  .offset = offset,
                  .data = std::make_shared<const byte_vector>(part.begin(), part.end())});
        }
        return reason != 0 ? fail_errno(reason, context) : result<>();
    }

    result<> sync_data() override {
        FS_TRY(call, world_->enter(sim_operation::sync, path_, epoch_));
        if (*dead_) {
            return fail(errc::dead, path_ + " is not written any more since a sync of it failed");
        }
        if (call.fault != 0) {
            *dead_ = true;
            world_->lose(number_);
            return fail_errno(call.fault, "can't sync " + path_);
        }
        self().sync();
        return {};
    }

    result<> sync_all() override {
        FS_CHECK(sync_data());
        const std::lock_guard held(world_->mutex);
        if (epoch_ == world_->epoch) { // else the machine ended meanwhile
            self().synced_stamps = self().cached_stamps;
        }
        return {};
    }

    result<> renew_times() override {
        FS_TRY(call, begin_change(sim_operation::times, "can't set the times of " + path_));
        if (!block_special_) {
            world_->touch(number_);
        }
        return {};
    }

    result<> truncate(std::uint64_t size) override {
        const std::string context = "can't set the size of " + path_;
        FS_TRY(call, begin_change(sim_operation::truncate, context));
        if (block_special_) {
            return fail(errc::invalid, context + ", a block device");
        }
        if (size > offset_max) {
            return fail_errno(EFBIG, context);
        }
        make({.what = change::kind::truncate, .offset = size});
        return {};
    }

    result<> allocate(std::uint64_t size) override {
        const std::string context = "can't reserve space for " + path_;
        FS_TRY(call, begin_change(sim_operation::allocate, context));
        if (block_special_) {
            return size <= self().cached.size ? result<>() : fail_errno(ENOSPC, context);
        }
        if (size > offset_max) {
            return fail_errno(EFBIG, context);
        }
        const std::uint64_t missing = self().cached.allocated.missing(0, content::pages_of(size));
        if (missing > 0 && missing > world_->free_pages()) {
            return fail_errno(ENOSPC, context);
        }
        if (size > 0) {
            make({.what = change::kind::allocate, .offset = size});
        }
        return {};
    }

    result<> zero(byte_range range, bool keep_allocated, bool only_if_fast) override {
        static_cast<void>(only_if_fast); // always fast
        FS_TRY(call, begin_change(sim_operation::zero, "can't zero a range of " + path_));
        const std::uint64_t end = self().cached.size;
        if (range.offset >= end || range.length == 0) {
            return {};
        }
        world_->overwritten(path_, range.offset, range.length);
        make({.what = change::kind::zero,
              .offset = range.offset,
              .length = std::min(range.length, end - range.offset),
              .keep_allocated = keep_allocated});
        return {};
    }

    result<byte_range> next_data(std::uint64_t offset) override {
        FS_TRY(call, begin(sim_operation::next_data, "can't look for data in "));
        return self().cached.next_data(offset);
    }

    result<bool> is_hole(byte_range range) override {
        FS_TRY(call, begin(sim_operation::next_data, "can't look for data in "));
        const content &now = self().cached;
        const byte_range data = now.next_data(range.offset);
        return range.end() <= now.size && (data.length == 0 || data.offset >= range.end());
    }

    result<> lock() override {
        FS_TRY(call, begin(sim_operation::lock, "can't lock "));
        const auto [at, free] = world_->locks.emplace(number_, this);
        if (!free && at->second != this) {
            return fail(errc::busy, path_ + " is locked by another process");
        }
        return {};
    }

    std::string intruder() override { return {}; }

    result<std::unique_ptr<shared_map>> map(std::uint64_t size) override {
        const std::string context = "can't map " + path_;
        FS_TRY(call, begin(sim_operation::map, "can't map "));
        if (!writable_) {
            return fail_errno(EACCES, context);
        }
        if (size == 0 || size > self().cached.size) {
            return fail(errc::invalid, context + " beyond its end");
        }
        if (world_->mapped(number_)) {
            return fail(errc::unsupported, context + " twice (a limit of the simulation)");
        }
        auto mapped = std::make_shared<mapping>();
        mapped->number = number_;
        mapped->size = size;
        mapped->memory = buffer(content::pages_of(size) * page_bytes);
        self().cached.read(0, mapped->memory.span());
        world_->mappings.push_back(mapped);
        ++self().opens;
        return std::make_unique<sim::map>(world_, mapped, path_, epoch_, dead_);
    }

  private:
    node &self() { return world_->disk.nodes.at(number_); }

    void make(change one) {
        self().make(std::move(one));
        world_->touch(number_);
        world_->refresh(number_);
    }

    result<> may_write(const std::string &context) const {
        if (*dead_) {
            return fail(errc::dead, path_ + " is not written any more since a sync of it failed");
        }
        return writable_ ? result<>() : fail_errno(EBADF, context);
    }

    result<world::ticket> begin(sim_operation what, const char *context) {
        FS_TRY(call, world_->enter(what, path_, epoch_));
        if (call.fault != 0) {
            return fail_errno(call.fault, context + path_);
        }
        world_->fold_maps_of(number_); // stores into a map are seen by reads at once
        return call;
    }
    result<world::ticket> begin_change(sim_operation what, const std::string &context) {
        FS_TRY(call, world_->enter(what, path_, epoch_));
        FS_CHECK(may_write(context));
        if (call.fault != 0) {
            return fail_errno(call.fault, context);
        }
        return call;
    }

    result<> read(std::uint64_t offset, bytes_span out) {
        const std::uint64_t end = self().cached.size;
        if (offset > end || out.size() > end - offset) {
            return out.empty() ? result<>()
                               : fail(errc::corrupt, "can't read " + path_ + " beyond its end");
        }
        self().cached.read(offset, out);
        return {};
    }

    std::shared_ptr<world> world_;
    std::string path_;
    std::uint64_t number_;
    std::uint64_t epoch_;
    bool writable_;
    bool block_special_;
    std::shared_ptr<bool> dead_ = std::make_shared<bool>(false);
};

} // namespace farshore::sim
