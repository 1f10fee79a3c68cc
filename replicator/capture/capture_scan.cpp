// The scan of catch-up: pending regions are read, compared with the peer's digests and recorded
// where they differ. A range is excluded from writes from before its last read until what was read
// is in the open interval, so what is recorded is the newest version, and later writes are recorded
// above it.

#include "replicator/base/assert.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/capture/capture_core.hpp"
#include "replicator/capture/volume_file.hpp"

#include <fmt/format.h>

#include <set>
#include <utility>

namespace farshore {
namespace {

constexpr std::uint64_t scan_bytes_max = limits::MiB;
/// A bad sector may take 30 s, and upkeep waits for it: no further one is begun after that.
constexpr duration retry_time_max = std::chrono::seconds(1);

/// What to do with a unit, by its digests.
enum class unit_verdict : std::uint8_t {
    same,         ///< resolved
    take,         ///< record its blocks
    take_nonzero, ///< the peer has zeroes: record the blocks that are not
    look_finer,   ///< stays pending
};

std::unexpected<error> lost_recording() {
    return fail(errc::not_in_sync, "capture is not recording");
}

/// One range under the range lock, with its content.
class range_scan {
  public:
    range_scan(capture_core &group, captured_volume &v, byte_range range)
        : group_(group), v_(v), range_(range), blocks_(blocks_of(range)),
          content_(blocks_.count() * block_bytes) {}
    ~range_scan() {
        if (ticket_ != 0) {
            const std::lock_guard lock(group_.mutex);
            group_.leave_range_locked(v_, ticket_);
        }
    }
    range_scan(const range_scan &) = delete;
    range_scan &operator=(const range_scan &) = delete;

    /// Reads once without the range, so that the disk is not waited for while writers are kept out.
    result<> read() {
        FS_CHECK(read_content());
        FS_CHECK(enter());
        return read_content();
    }
    /// The same block by block, without those that the disk can't read. A disk or file system that
    /// is gone as a whole is another failure: a sync and a read elsewhere must work if blocks are
    /// lost. What was lost is tried again with the range held, since a client may have written it
    /// meanwhile.
    result<> read_blocks() {
        for (std::uint64_t b = blocks_.first; b < blocks_.last; ++b) {
            FS_CHECK(read_block(b));
        }
        FS_CHECK(enter());
        lost_.clear();
        for (std::uint64_t b = blocks_.first; b < blocks_.last; ++b) {
            FS_CHECK(read_block(b));
        }
        if (lost_.empty()) {
            return {};
        }
        FS_CHECK(group_.sync_volume(v_, false));
        return group_.prove_reads(v_, lost_);
    }
    /// Of these blocks alone, which are known to be unreadable: who writes one makes it known by
    /// himself.
    result<> read_blocks_of(const std::set<std::uint64_t> &only) {
        for (std::uint64_t b = blocks_.first; b < blocks_.last; ++b) {
            if (only.contains(b)) {
                FS_CHECK(read_block(b));
            } else {
                skipped_.insert(b);
            }
        }
        FS_CHECK(enter());
        for (std::uint64_t b = blocks_.first; b < blocks_.last; ++b) {
            if (!skipped_.contains(b) && !lost_.contains(b)) {
                FS_CHECK(read_block(b));
            }
        }
        return {};
    }
    /// Under the group's lock: whether recording went on all the time.
    bool valid_locked() const {
        return group_.mode == capture_mode::recording && group_.run == run_;
    }
    bytes_view content() const { return content_.view().first(range_.length); }
    bytes_view unit(std::size_t i, std::uint64_t unit_bytes) const {
        const std::uint64_t at = i * unit_bytes;
        return content().subspan(at, std::min(unit_bytes, range_.length - at));
    }

    /// Everything is taken, whatever the peer has.
    void compare_nothing() { compares_ = false; }
    /// Applies the verdicts (one a unit, in order) to the regions that are still pending.
    result<resolve_outcome> apply(std::uint64_t unit_bytes,
                                  const std::vector<unit_verdict> &verdicts);
    /// Records what read_blocks() could read now of what was unreadable.
    result<> apply_known_again();

  private:
    result<> enter() {
        std::unique_lock lock(group_.mutex);
        if (group_.mode != capture_mode::recording) {
            return lost_recording();
        }
        run_ = group_.run;
        group_.enter_range(lock, v_, blocks_, patience::wait, ticket_);
        return {};
    }
    result<> read_block(std::uint64_t block) {
        const byte_range at = v_.bytes_of({block, block + 1});
        const bytes_span page =
            content_.span().subspan((block - blocks_.first) * block_bytes, block_bytes);
        std::ranges::fill(page.subspan(at.length), std::byte{0});
        auto read = v_.data->read_at(at.offset, page.first(at.length));
        if (!read && is_bad_place(read.error())) {
            lost_.insert(block);
            return {};
        }
        return read;
    }
    result<> read_content() {
        std::fill(content_.data() + range_.length, content_.data() + content_.size(), std::byte{0});
        const bytes_span content = content_.span().first(range_.length);
        // Else the kernel makes and zeroes pages for nothing, and keeps them.
        const auto hole = v_.data->is_hole(range_);
        if (hole && *hole) {
            std::ranges::fill(content, std::byte{0});
            return {};
        }
        auto read = hole ? v_.data->read_at(range_.offset, content)
                         : result<>(std::unexpected(hole.error()));
        if (!read) {
            read.error().context =
                fmt::format("volume {} can't be read in the {} bytes at {}: {}", v_.config.name,
                            range_.length, range_.offset, read.error().context);
        }
        return !read && is_bad_place(read.error()) ? blame(fault::volume, std::move(read))
                                                   : std::move(read);
    }
    const std::byte *block_at(std::uint64_t block) const {
        return content_.data() + (block - blocks_.first) * block_bytes;
    }
    bool zero(std::uint64_t block) const { return is_zero({block_at(block), block_bytes}); }
    void judge_locked(std::uint64_t unit_bytes, const std::vector<unit_verdict> &verdicts,
                      resolve_outcome &outcome);
    void record_locked();
    void copy_and_part();

    capture_core &group_;
    captured_volume &v_;
    const byte_range range_;
    const index_range blocks_;
    buffer content_;
    range_table::ticket ticket_ = 0;
    std::uint64_t run_ = 0;
    std::vector<std::uint64_t> resolved_;   ///< regions
    std::vector<std::uint64_t> taken_;      ///< blocks, ascending
    std::set<std::uint64_t> lost_;          ///< blocks that can't be read
    std::set<std::uint64_t> skipped_;       ///< and that were not to be
    std::vector<std::uint64_t> newly_lost_; ///< of the regions that are resolved
    bool sample_differs_ = false;
    bool compares_ = true;
    interval_core *core_ = nullptr;
    run_list runs_;
};

void range_scan::judge_locked(std::uint64_t unit_bytes, const std::vector<unit_verdict> &verdicts,
                              resolve_outcome &outcome) {
    const index_range regions = regions_of(range_);
    for (std::uint64_t r = regions.first; r < regions.last; ++r) {
        if (!v_.pending.test(r)) {
            continue; // resolved before, or zeroed: recorded writes are newer than any verdict
        }
        bool finer = false;
        const byte_range where = range_of(region_index{r}, v_.size);
        const index_range blocks = blocks_of(where);
        for (std::uint64_t b = blocks.first; b < blocks.last; ++b) {
            const std::size_t unit = (b * block_bytes - range_.offset) / unit_bytes;
            const unit_verdict verdict = verdicts[unit];
            if (lost_.contains(b)) {
                newly_lost_.push_back(b);
            } else if (verdict == unit_verdict::look_finer) {
                finer = true;
                const auto index = static_cast<std::uint32_t>(unit);
                if (outcome.differing_units.empty() || outcome.differing_units.back() != index) {
                    outcome.differing_units.push_back(index);
                }
            } else if (verdict == unit_verdict::take ||
                       (verdict == unit_verdict::take_nonzero && !zero(b))) {
                sample_differs_ = sample_differs_ || (compares_ && v_.sampled.test(r));
                taken_.push_back(b);
            }
        }
        if (!finer) {
            resolved_.push_back(r);
        }
    }
}

void range_scan::record_locked() {
    interval_core &open = *group_.open;
    for (std::size_t i = 0; i < taken_.size();) {
        const std::uint64_t first = taken_[i];
        const bool zeroes = zero(first);
        const std::uint64_t region_end = (first / blocks_per_region + 1) * blocks_per_region;
        std::uint64_t last = first + 1;
        for (++i;
             i < taken_.size() && taken_[i] == last && last < region_end && zero(last) == zeroes;
             ++i) {
            ++last;
        }
        if (zeroes) {
            group_.record_zero_locked(v_, {first, last});
        } else {
            group_.record_data_locked(v_, {first, last}, false, runs_);
        }
    }
    if (runs_.size() > 0) {
        core_ = &open;
        core_->join();
    }
}

void range_scan::copy_and_part() {
    if (core_ == nullptr) {
        return;
    }
    for (std::size_t i = 0; i < runs_.size(); ++i) {
        std::memcpy(runs_[i].content, block_at(runs_[i].first.value),
                    std::size_t{runs_[i].count} * block_bytes);
    }
    core_->part();
}

result<resolve_outcome> range_scan::apply(std::uint64_t unit_bytes,
                                          const std::vector<unit_verdict> &verdicts) {
    resolve_outcome outcome;
    bool look = false;
    bool recording = false;
    {
        const std::lock_guard lock(group_.mutex);
        recording = valid_locked();
        if (recording) {
            judge_locked(unit_bytes, verdicts, outcome);
            if (sample_differs_) {
                group_.sample_differed_locked(v_);
                recording = false;
            } else if (!group_.fits_locked(taken_.size())) {
                group_.overflow_locked();
                recording = false;
            }
        }
        if (recording) {
            record_locked();
            for (const std::uint64_t r : resolved_) {
                const std::uint64_t bit = 1ULL << (r % 64);
                v_.pending.clear_word(r / 64, bit);
                group_.touch_epoch_locked(v_, r / 64, bit);
            }
            for (const std::uint64_t b : newly_lost_) {
                v_.unreadable.insert(b);
                v_.held.set_range(b / blocks_per_region, b / blocks_per_region + 1);
            }
            group_.check_large_locked();
        }
        look = group_.take_attention_locked();
    }
    if (!recording) {
        group_.ask_attention(look);
        return lost_recording();
    }
    copy_and_part();
    group_.ask_attention(look);
    outcome.recorded_blocks = taken_.size();
    return outcome;
}

result<> range_scan::apply_known_again() {
    bool look = false;
    {
        const std::lock_guard lock(group_.mutex);
        if (!valid_locked()) {
            return lost_recording();
        }
        for (std::uint64_t b = blocks_.first; b < blocks_.last; ++b) {
            if (!lost_.contains(b) && !skipped_.contains(b) && v_.unreadable.contains(b)) {
                taken_.push_back(b);
            }
        }
        if (taken_.empty() || !group_.fits_locked(taken_.size())) {
            return {}; // another time
        }
        record_locked();
        const index_range regions = regions_of(range_);
        for (std::uint64_t r = regions.first; r < regions.last; ++r) {
            group_.touch_epoch_locked(v_, r / 64, 1ULL << (r % 64));
        }
        look = group_.take_attention_locked();
    }
    copy_and_part();
    group_.ask_attention(look);
    return {};
}

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
