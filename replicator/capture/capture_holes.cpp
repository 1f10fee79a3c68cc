// Runs of holes: pending regions of which neither side has anything are settled by the extents of
// both, without reading, hashing or asking for digests of zeroes. The cost is one look at the file
// a run, whatever its length.
//
// The range is excluded from clients' writes while the file is asked, as for any other piece of the
// scan, so what was a hole then is what the peer's answer is compared with, and later writes are
// recorded above it.

#include "replicator/base/assert.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/capture/capture_core.hpp"

namespace farshore {
namespace {

/// Whole regions of the range; the volume's last one counts as whole.
index_range regions_within(byte_range range, const captured_volume &v) {
    const std::uint64_t first = ceil_div(range.offset, region_bytes);
    const std::uint64_t last = range.end() >= v.size ? v.regions : range.end() / region_bytes;
    return {first, std::max(first, last)};
}

/// Of `regions`, those before the next data; and that data, as whole regions among them.
struct hole_look {
    index_range hole;
    index_range data;
};
result<hole_look> look_for_hole(const captured_volume &v, index_range regions) {
    FS_TRY(data, v.data->next_data(regions.first * region_bytes));
    if (data.length == 0 || data.offset / region_bytes >= regions.last) {
        return hole_look{regions, {regions.last, regions.last}};
    }
    const std::uint64_t first = std::max(regions.first, data.offset / region_bytes);
    const std::uint64_t last = std::min(regions.last, ceil_div(data.end(), region_bytes));
    return hole_look{{regions.first, first}, {first, last}};
}

/// Holds a range of whole regions for as long as it lives.
class held_regions {
  public:
    held_regions(capture_core &group, captured_volume &v) : group_(group), v_(v) {}
    ~held_regions() {
        if (ticket_ != 0) {
            const std::lock_guard lock(group_.mutex);
            group_.leave_range_locked(v_, ticket_);
        }
    }
    held_regions(const held_regions &) = delete;
    held_regions &operator=(const held_regions &) = delete;

    /// Returns the run of recording that it was taken in; 0: capture does not record.
    std::uint64_t take(index_range regions) {
        std::unique_lock lock(group_.mutex);
        if (group_.mode != capture_mode::recording) {
            return 0;
        }
        const std::uint64_t run = group_.run;
        const index_range blocks{regions.first * blocks_per_region,
                                 std::min(regions.last * blocks_per_region, v_.blocks)};
        group_.enter_range(lock, v_, blocks, patience::wait, ticket_);
        return run;
    }

  private:
    capture_core &group_;
    captured_volume &v_;
    range_table::ticket ticket_ = 0;
};

} // namespace

// Twice: once to see how far the hole goes, so that no more than it is held; once while it is held.
result<index_range> capture_core::settle_hole(captured_volume &v, index_range regions,
                                              std::uint64_t &settled) {
    FS_TRY(seen, look_for_hole(v, regions));
    if (seen.hole.count() == 0) {
        return seen.data;
    }
    held_regions held(*this, v);
    const std::uint64_t began_in = held.take(seen.hole);
    FS_TRY(found, look_for_hole(v, seen.hole));
    const std::lock_guard lock(mutex);
    if (mode != capture_mode::recording || run != began_in) {
        return fail(errc::not_in_sync, "capture is not recording");
    }
    const index_range hole = found.hole;
    const std::uint64_t before = v.pending.count();
    v.epochs.touch_from(v.pending, hole.first, hole.last);
    clock.touched();
    v.pending.clear_range(hole.first, hole.last);
    settled += before - v.pending.count();
    return found.data.count() != 0 ? found.data : seen.data;
}

result<hole_outcome> capture_group::settle_holes(const pending_range &where) {
    // What is done under one lock hold: a page of the bitmaps each 2 GiB.
    constexpr std::uint64_t regions_each = (16ULL << 40) / region_bytes;
    if (where.volume.value >= impl_->volumes.size()) {
        return fail(errc::invalid, "no such volume in the group");
    }
    captured_volume &v = *impl_->volumes[where.volume.value];
    if (where.range.offset > v.size || where.range.length > v.size - where.range.offset) {
        return fail(errc::invalid, "a hole outside volume " + v.config.name);
    }
    index_range left = regions_within(where.range, v);
    hole_outcome outcome;
    while (left.count() > 0) {
        const index_range some{left.first, std::min(left.last, left.first + regions_each)};
        FS_TRY(data, impl_->settle_hole(v, some, outcome.settled_regions));
        if (data.count() > 0) {
            const std::uint64_t from = data.first * region_bytes;
            outcome.data = {from, std::min(data.last * region_bytes, v.size) - from};
            return outcome;
        }
        left.first = some.last;
    }
    return outcome;
}

result<byte_range> capture_group::next_data(volume_index v, std::uint64_t offset) const {
    return impl_->volumes.at(v.value)->data->next_data(offset);
}

result<bool> capture_group::add_verify_hole(const pending_range &where) {
    captured_volume &v = *impl_->volumes.at(where.volume.value);
    const byte_range r = where.range;
    if (r.length == 0 || r.length > limits::verify_hole_bytes_max || r.offset > v.size ||
        r.length > v.size - r.offset || r.offset % block_bytes != 0 ||
        (r.end() % block_bytes != 0 && r.end() != v.size)) {
        return fail(errc::invalid, "not a range of whole blocks of volume " + v.config.name);
    }
    held_regions held(*impl_, v);
    const std::uint64_t began_in = held.take(regions_of(r));
    FS_TRY(data, v.data->next_data(r.offset));
    if (data.length != 0 && data.offset < r.end()) {
        return false;
    }
    const std::lock_guard lock(impl_->mutex);
    if (impl_->mode != capture_mode::recording || impl_->run != began_in) {
        return fail(errc::not_in_sync, "capture is not recording");
    }
    FS_CHECK(impl_->put_verify_locked(v, {where.volume, r, {}}));
    return true;
}

} // namespace farshore
