#pragma once
// A disk in memory for tests: thread-safe, with a dirty context, counters, and faults on demand.

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/storage/block_device.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <mutex>

namespace farshore::test {

class memory_device final : public block_device {
  public:
    explicit memory_device(std::uint64_t size)
        : live_(size), stable_(size), dirty_(region_count(size)) {}

    // Set before use.
    bool writable = true;
    bool never_try = false; ///< try_ verbs answer false: everything goes to the disk pool
    bool dirty_context = true;
    std::string since;        ///< the dirty context tells what changed since this point
    bool knows_holes = false; ///< try_zero answers for what is zero already
    /// Called on entry of every verb with its name; an errno makes the verb fail, 0 lets it go on.
    /// May block to hold a request in flight.
    std::function<int(const char *verb)> on_call;

    std::atomic<bool> held_now = false;
    std::atomic<int> inside = 0; ///< who entered and did not leave

    bool enter() override {
        ++inside;
        const bool may = !held_now;
        inside -= may ? 0 : 1;
        return may;
    }
    void leave() override { --inside; }
    bool held() const override { return held_now; }
    std::uint64_t size() const override { return live_.size(); }
    bool read_only() const override { return !writable; }
    bool has_dirty_context() const override { return dirty_context; }
    std::string changed_since() const override { return since; }

    result<> read(std::uint64_t offset, bytes_span out) override {
        FS_CHECK(begin_call("read"));
        const std::lock_guard lock(mutex_);
        check({offset, out.size()});
        std::copy_n(live_.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
        return {};
    }
    result<bool> try_read(std::uint64_t offset, bytes_span out) override {
        if (never_try) {
            return false;
        }
        FS_CHECK(read(offset, out));
        return true;
    }
    result<> write(std::uint64_t offset, bytes_view data, bool fua) override {
        FS_CHECK(begin_call("write"));
        const std::lock_guard lock(mutex_);
        check({offset, data.size()});
        std::ranges::copy(data, live_.begin() + static_cast<std::ptrdiff_t>(offset));
        mark({offset, data.size()}, fua);
        return {};
    }
    result<bool> try_write(std::uint64_t offset, bytes_view data) override {
        if (never_try) {
            return false;
        }
        FS_CHECK(write(offset, data, false));
        return true;
    }
    result<> flush() override {
        FS_CHECK(begin_call("flush"));
        const std::lock_guard lock(mutex_);
        stable_ = live_;
        ++flushes;
        return {};
    }
    result<> trim(byte_range range, bool fua) override { return zero("trim", range, fua); }
    result<> write_zeroes(byte_range range, zero_options options) override {
        last_zero = options;
        if (options.only_if_fast && !fast_zero) {
            return fail_errno(ENOTSUP, "no fast zero");
        }
        return zero("write_zeroes", range, options.fua);
    }
    result<bool> try_zero(byte_range range, zero_options options) override {
        return knows_holes && !options.fua && !options.keep_allocated &&
               is_zero(bytes_view(content()).subspan(range.offset, range.length));
    }
    /// Regions: dirty, or not; zero (and a hole), or data.
    result<std::vector<status_extent>> status(byte_range range, status_context context,
                                              std::size_t max) override {
        FS_CHECK(begin_call("status"));
        const std::lock_guard lock(mutex_);
        check(range);
        std::vector<status_extent> out;
        for (std::uint64_t at = range.offset; at < range.end();) {
            const std::uint64_t region = at / region_bytes;
            const byte_range all = range_of(region_index{region}, live_.size());
            const std::uint64_t end = std::min(range.end(), all.end());
            const bool hole = is_zero(bytes_view(live_).subspan(all.offset, all.length));
            const std::uint32_t flags =
                context == status_context::dirty ? (dirty_[region] ? 1U : 0U) : (hole ? 3U : 0U);
            if (!out.empty() && out.back().flags == flags) {
                out.back().length += end - at;
            } else if (out.size() == max) {
                break;
            } else {
                out.push_back({end - at, flags});
            }
            at = end;
        }
        return out;
    }

    byte_vector content() {
        const std::lock_guard lock(mutex_);
        return live_;
    }
    /// What a power cut would leave.
    byte_vector stable_content() {
        const std::lock_guard lock(mutex_);
        return stable_;
    }

    std::atomic<int> flushes{0};
    bool fast_zero = true;
    zero_options last_zero; ///< read it when nothing is in flight

  private:
    result<> begin_call(const char *verb) {
        if (const int number = on_call ? on_call(verb) : 0; number != 0) {
            return fail_errno(number, verb);
        }
        return {};
    }
    void check(byte_range range) const {
        // Validation must have kept these away from every device.
        REPL_ASSERT(range.length > 0 && range.offset <= live_.size() &&
                    range.length <= live_.size() - range.offset);
    }
    void mark(byte_range range, bool fua) {
        const index_range touched = regions_of(range);
        std::fill(dirty_.begin() + static_cast<std::ptrdiff_t>(touched.first),
                  dirty_.begin() + static_cast<std::ptrdiff_t>(touched.last), true);
        if (fua) {
            const auto begin = static_cast<std::ptrdiff_t>(range.offset);
            std::copy_n(live_.begin() + begin, range.length, stable_.begin() + begin);
        }
    }
    result<> zero(const char *verb, byte_range range, bool fua) {
        FS_CHECK(begin_call(verb));
        const std::lock_guard lock(mutex_);
        check(range);
        std::fill_n(live_.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length,
                    std::byte{0});
        mark(range, fua);
        return {};
    }

    std::mutex mutex_;
    byte_vector live_;
    byte_vector stable_;
    std::vector<bool> dirty_;
};

} // namespace farshore::test
