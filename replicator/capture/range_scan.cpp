#include "replicator/capture/range_scan.hpp"

#include "replicator/base/error.hpp"
#include "replicator/capture/volume_file.hpp"

#include <fmt/format.h>

#include <cstring>
#include <mutex>

namespace farshore {

std::unexpected<error> lost_recording() {
    return fail(errc::not_in_sync, "capture is not recording");
}

range_scan::range_scan(capture_core &group, captured_volume &v, byte_range range)
    : group_(group), v_(v), range_(range), blocks_(blocks_of(range)),
      content_(blocks_.count() * block_bytes) {}

range_scan::~range_scan() {
    if (ticket_ != 0) {
        const std::lock_guard lock(group_.mutex);
        group_.leave_range_locked(v_, ticket_);
    }
}

result<> range_scan::read() {
    FS_CHECK(read_content());
    FS_CHECK(enter());
    return read_content();
}

result<> range_scan::read_blocks() {
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

result<> range_scan::read_blocks_of(const std::set<std::uint64_t> &only) {
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

bool range_scan::valid_locked() const {
    return group_.mode == capture_mode::recording && group_.run == run_;
}

result<> range_scan::enter() {
    std::unique_lock lock(group_.mutex);
    if (group_.mode != capture_mode::recording) {
        return lost_recording();
    }
    run_ = group_.run;
    group_.enter_range(lock, v_, blocks_, patience::wait, ticket_);
    return {};
}

result<> range_scan::read_block(std::uint64_t block) {
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

result<> range_scan::read_content() {
    std::fill(content_.data() + range_.length, content_.data() + content_.size(), std::byte{0});
    const bytes_span content = content_.span().first(range_.length);
    // Else the kernel makes and zeroes pages for nothing, and keeps them.
    const auto hole = v_.data->is_hole(range_);
    if (hole && *hole) {
        std::ranges::fill(content, std::byte{0});
        return {};
    }
    auto read =
        hole ? v_.data->read_at(range_.offset, content) : result<>(std::unexpected(hole.error()));
    if (!read) {
        read.error().context =
            fmt::format("volume {} can't be read in the {} bytes at {}: {}", v_.config.name,
                        range_.length, range_.offset, read.error().context);
    }
    return !read && is_bad_place(read.error()) ? blame(fault::volume, std::move(read))
                                               : std::move(read);
}

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

} // namespace farshore
