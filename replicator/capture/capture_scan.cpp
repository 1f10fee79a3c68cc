// The scan of catch-up and verify, range by range (range_scan.hpp): what is to be compared next,
// what becomes of it, and the blocks that the disk can't read.

#include "replicator/base/assert.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/capture/capture_core.hpp"
#include "replicator/capture/range_scan.hpp"

#include <fmt/format.h>

#include <set>
#include <utility>

namespace farshore {
namespace {

constexpr std::uint64_t scan_bytes_max = limits::MiB;
/// A bad sector may take 30 s, and upkeep waits for it: no further one is begun after that.
constexpr duration retry_time_max = std::chrono::seconds(1);

/// `unit`: what the range must be whole multiples of, but for the volume's end.
result<captured_volume *> checked_volume(capture_core &group, const pending_range &where,
                                         std::uint64_t unit = region_bytes) {
    if (where.volume.value >= group.volumes.size()) {
        return fail(errc::invalid, "no such volume in the group");
    }
    captured_volume &v = *group.volumes[where.volume.value];
    const byte_range r = where.range;
    if (r.length == 0 || r.length > scan_bytes_max || r.offset > v.size ||
        r.length > v.size - r.offset || r.offset % unit != 0 ||
        (r.end() % unit != 0 && r.end() != v.size)) {
        return fail(errc::invalid,
                    "not a range of whole regions or blocks of volume " + v.config.name);
    }
    return &v;
}

} // namespace

std::optional<pending_range> capture_group::next_pending(volume_index v, std::uint64_t offset,
                                                         std::uint64_t max_bytes) const {
    REPL_ASSERT(max_bytes >= region_bytes && max_bytes % region_bytes == 0);
    const std::lock_guard lock(impl_->mutex);
    for (std::size_t i = v.value; i < impl_->volumes.size(); ++i) {
        const captured_volume &volume = *impl_->volumes[i];
        const std::uint64_t from = i == v.value ? ceil_div(offset, region_bytes) : 0;
        const auto first = volume.pending.next_set(from, volume.regions);
        if (!first) {
            continue;
        }
        const std::uint64_t per_run = max_bytes / region_bytes;
        const std::uint64_t limit = std::min(volume.regions, (*first / per_run + 1) * per_run);
        const std::uint64_t last = volume.pending.next_clear(*first, limit);
        const std::uint64_t end = std::min(last * region_bytes, volume.size);
        return pending_range{volume.index, {*first * region_bytes, end - *first * region_bytes}};
    }
    return std::nullopt;
}

result<resolve_outcome> capture_group::resolve(const pending_range &where, std::uint64_t unit_bytes,
                                               const std::vector<digest16> &peer,
                                               const digest_function &digest) {
    FS_TRY(volume, checked_volume(*impl_, where));
    const bool finest = unit_bytes == block_bytes;
    if (!finest && (unit_bytes == 0 || unit_bytes % region_bytes != 0)) {
        return fail(errc::invalid, "unit of comparison is neither a block nor whole regions");
    }
    if (peer.size() != ceil_div(where.range.length, unit_bytes)) {
        return fail(errc::invalid, "wrong number of digests for the range");
    }
    range_scan scan(*impl_, *volume, where.range);
    FS_CHECK(scan.read());
    std::vector<unit_verdict> verdicts;
    verdicts.reserve(peer.size());
    for (std::size_t i = 0; i < peer.size(); ++i) {
        // Only zeroes have the zero digest: what the peer has as such is not hashed here.
        const bool same = peer[i] == digest16{} ? is_zero(scan.unit(i, unit_bytes))
                                                : digest(scan.unit(i, unit_bytes)) == peer[i];
        verdicts.push_back(same                    ? unit_verdict::same
                           : peer[i] == digest16{} ? unit_verdict::take_nonzero
                           : finest                ? unit_verdict::take
                                                   : unit_verdict::look_finer);
    }
    return scan.apply(unit_bytes, verdicts);
}

result<resolve_outcome> capture_group::record_all(const pending_range &where) {
    FS_TRY(volume, checked_volume(*impl_, where));
    range_scan scan(*impl_, *volume, where.range);
    FS_CHECK(scan.read());
    scan.compare_nothing();
    const std::vector<unit_verdict> all(regions_of(where.range).count(), unit_verdict::take);
    return scan.apply(region_bytes, all);
}

// Region by region, for bad sectors may take 30 s each and writers to what is held wait.
result<resolve_outcome> capture_group::record_readable(const pending_range &where) {
    FS_TRY(volume, checked_volume(*impl_, where));
    resolve_outcome all;
    for (std::uint64_t at = where.range.offset; at < where.range.end(); at += region_bytes) {
        const byte_range part{at, std::min(region_bytes, where.range.end() - at)};
        {
            const std::lock_guard lock(impl_->mutex);
            if (volume->unreadable.size() + blocks_of(part).count() >
                limits::unreadable_blocks_max) {
                return fail(
                    errc::limit,
                    fmt::format(
                        "volume {} has more than {} blocks that can't be read; replace its disk",
                        volume->config.name, limits::unreadable_blocks_max - blocks_per_region));
            }
        }
        range_scan scan(*impl_, *volume, part);
        FS_CHECK(scan.read_blocks());
        FS_TRY(outcome, scan.apply(region_bytes, {unit_verdict::take}));
        all.recorded_blocks += outcome.recorded_blocks;
    }
    return all;
}

// Each call begins with another volume: one whose bad sectors take all the time must not keep the
// others waiting.
result<std::uint64_t> capture_group::retry_unreadable() {
    const time_point until = impl_->options.time->now() + retry_time_max;
    const std::size_t count = impl_->volumes.size();
    const std::size_t first = std::exchange(impl_->retry_next, (impl_->retry_next + 1) % count);
    std::uint64_t left = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const auto &v = impl_->volumes[(first + i) % count];
        std::set<std::uint64_t> blocks;
        {
            const std::lock_guard lock(impl_->mutex);
            blocks = v->unreadable;
        }
        if (blocks.lower_bound(v->retry_from) == blocks.end()) {
            v->retry_from = 0;
        }
        for (auto b = blocks.lower_bound(v->retry_from);
             b != blocks.end() && impl_->options.time->now() < until;
             b = blocks.lower_bound(v->retry_from)) {
            const std::uint64_t region = *b / blocks_per_region;
            range_scan scan(*impl_, *v, range_of(region_index{region}, v->size));
            FS_CHECK(scan.read_blocks_of(blocks));
            FS_CHECK(scan.apply_known_again());
            v->retry_from = (region + 1) * blocks_per_region;
        }
        const std::lock_guard lock(impl_->mutex);
        left += v->unreadable.size();
    }
    return left;
}

std::vector<byte_range> capture_group::unreadable(volume_index v, std::size_t max) const {
    const captured_volume &volume = *impl_->volumes.at(v.value);
    const std::lock_guard lock(impl_->mutex);
    std::vector<byte_range> out;
    for (const std::uint64_t b : volume.unreadable) {
        const byte_range at = volume.bytes_of({b, b + 1});
        if (!out.empty() && out.back().end() == at.offset) {
            out.back().length += at.length;
        } else if (out.size() == max) {
            break;
        } else {
            out.push_back(at);
        }
    }
    return out;
}

std::uint64_t capture_group::unreadable_bytes(volume_index v) const {
    const captured_volume &volume = *impl_->volumes.at(v.value);
    const std::lock_guard lock(impl_->mutex);
    std::uint64_t sum = 0;
    for (const std::uint64_t b : volume.unreadable) {
        sum += volume.bytes_of({b, b + 1}).length;
    }
    return sum;
}

result<> capture_group::add_verify(const pending_range &where, const digest_function &digest) {
    FS_TRY(volume, checked_volume(*impl_, where, block_bytes));
    range_scan scan(*impl_, *volume, where.range);
    FS_CHECK(scan.read());
    const digest16 found = digest(scan.content());
    const std::lock_guard lock(impl_->mutex);
    if (!scan.valid_locked()) {
        return lost_recording();
    }
    return impl_->put_verify_locked(*volume, {where.volume, where.range, found});
}

result<> capture_core::put_verify_locked(captured_volume &v, const verify_entry &entry) {
    const index_range regions = regions_of(entry.range);
    if (v.pending.any_in(regions.first, regions.last)) {
        return fail(errc::not_in_sync, "the range is still to be compared by the catch-up");
    }
    if (v.held.any_in(regions.first, regions.last)) {
        return fail(
            errc::not_in_sync,
            fmt::format("volume {} has blocks that could not be read (`status` names them): the DR "
                        "site does not have them, so nothing is compared until it has",
                        v.config.name));
    }
    if (open->commit.verify.size() >= verify_entries_max) {
        return fail(errc::full, "the open interval has no room for another range to verify");
    }
    open->commit.verify.push_back(entry);
    v.verified.set_range(regions.first, regions.last);
    return {};
}

} // namespace farshore
