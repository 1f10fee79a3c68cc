#include "replicator/replica/applier.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/replica/space_error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>

namespace farshore {
namespace {

constexpr std::size_t read_bytes = 4 * limits::MiB;  ///< of the journal at a time
constexpr std::uint64_t step_undo_entries = 1 << 18; ///< a step's undo tables in memory
constexpr std::uint64_t change_bytes = 64;           ///< what an overlay node takes, about
constexpr std::uint64_t interval_bytes = 512;        ///< and what an interval does
constexpr std::uint64_t zero_piece_blocks = 16384;   ///< of a zeroed range with data, at a time
constexpr std::uint64_t sources_part = 2;            ///< of the memory for a batch: kept sources

} // namespace

applier::applier(replica_core &core, interval_log &journal, loan_store &loans,
                 std::uint64_t batch_bytes_max, applied_state start, interval_id newest_point,
                 std::function<result<>()> before_write)
    : core_(core), journal_(journal), loans_(loans), undo_(core, newest_point),
      before_write_(std::move(before_write)), batch_bytes_max_(batch_bytes_max), state_(start),
      images_(core.images(), static_cast<std::size_t>(batch_bytes_max / sources_part)) {
    const auto volumes = core.images().volume_blocks();
    source_blocks_.assign(volumes.begin(), volumes.end());
    source_blocks_.push_back(loans.slots());
}

result<applier::step_outcome> applier::apply(interval_id durable) {
    if (write_pending_) {
        FS_CHECK(write_step());
    }
    for (;;) {
        const auto taken = take_next(durable);
        if (!taken && (!wants_space(taken.error()) || finished_.empty())) {
            return std::unexpected(taken.error());
        }
        if (!taken || !*taken) {
            break; // what was taken before goes out; what failed is tried again next time
        }
    }
    if (!finished_.empty()) {
        FS_CHECK(write_step());
    }
    outcome_.finished = std::exchange(finished_, {});
    return std::exchange(outcome_, {});
}

/// False when nothing is left to take or the batch is full.
result<bool> applier::take_next(interval_id durable) {
    const auto next = journal_.entries_after(state_.position.interval, 1);
    if (next.empty() || next.front().position.interval > durable) {
        return false;
    }
    const interval_entry &entry = next.front();
    if (!finished_.empty() && (bytes_ + entry.raw_bytes > batch_bytes_max_ || undo_.step_ends())) {
        return false;
    }
    if (!decoder_ || decoder_stream_ != entry.position.stream) {
        decoder_.emplace();
        decoder_stream_ = entry.position.stream;
    }
    unpublished_ = undo_.position();
    const std::size_t damaged_before = outcome_.damaged.size();
    const bool decoded_before = outcome_.undecoded.empty();
    if (auto taken = take_interval(entry); !taken) {
        // What has not gone out in a step is forgotten and decoded again next time.
        current_.clear();
        if (!split_) {
            outcome_.damaged.resize(damaged_before);
            if (decoded_before) {
                outcome_.undecoded.clear();
            }
        }
        if (batch_.empty()) {
            contents_.clear();
            bytes_ = 0;
        }
        if (auto cut = undo_.back_to(unpublished_); !cut) {
            return fail(errc::dead, cut.error().text());
        }
        return std::unexpected(taken.error());
    }
    return true;
}

result<> applier::take_interval(const interval_entry &entry) {
    undo_.begin(entry.position);
    damaged_ = split_ && split_->damaged;
    FS_CHECK(take_frames(entry));
    return finish_interval(entry);
}

result<> applier::take_frames(const interval_entry &entry) {
    frame_cursor cursor = split_ ? split_->cursor : frame_cursor{};
    for (;;) {
        frame_start_ = cursor;
        FS_TRY(run, journal_.read_run(entry.position.interval, cursor, read_bytes));
        for (const parsed_frame &frame : run.frames) {
            if (frame.header.type == frame_type::barrier) {
                return {};
            }
            FS_CHECK(take_payload(frame.payload, entry));
            frame_start_.offset += frame_header_bytes + frame.payload.size();
            frame_start_.index += 1;
            if (step_is_full()) {
                FS_CHECK(step_inside(entry));
            }
        }
        if (run.frames.empty()) {
            return fail(errc::corrupt, "interval without a barrier");
        }
    }
}

// Damage when something of it was wrong: a wrong base (the replica was changed by somebody) or a
// payload that no encoder of ours makes. Neither is applied; the group counts it as damage and the
// sender repairs it by comparing. Known before any change is taken, for a step may end among them.
result<> applier::take_payload(bytes_view payload, const interval_entry &entry) {
    std::optional<error> disk;
    const auto noting = [&](result<> read) {
        if (!read) {
            disk = read.error();
        }
        return read;
    };
    const auto is_loan = [this](volume_index volume) {
        return volume.value + std::size_t{1} == source_blocks_.size();
    };
    const dedupe::base_reader base = [&](volume_index volume, block_index block, bytes_span out) {
        return noting(is_loan(volume) ? loans_.read(block.value, out)
                                      : read_base(volume, block.value, out));
    };
    const dedupe::base_reader now = [&](volume_index volume, block_index block, bytes_span out) {
        return noting(is_loan(volume) ? loans_.read(block.value, out)
                                      : read_over(&current_, volume, block.value, out));
    };
    auto decoded = decoder_->decode(payload, source_blocks_, base, now, 1);
    if (!decoded && disk) {
        return std::unexpected(*disk);
    }
    if (!decoded) {
        if (outcome_.undecoded.empty()) {
            outcome_.undecoded = fmt::format("interval {}: {}", entry.position.interval.value,
                                             decoded.error().text());
        }
        damaged_ = true;
        return {};
    }
    damaged_ = damaged_ || !decoded->bad.empty();
    for (const dedupe::bad_block &bad : decoded->bad) {
        outcome_.damaged.push_back({bad.volume, bad.block.value});
    }
    // The views in `changes` stay good while the buffers move.
    frame_contents_ = std::move(decoded->content);
    for (const buffer &content : frame_contents_) {
        bytes_ += content.size();
    }
    bytes_ += decoded->changes.size() * change_bytes;
    auto taken = take_changes(decoded->changes, entry);
    std::ranges::move(frame_contents_, std::back_inserter(contents_));
    frame_contents_.clear();
    return taken;
}

// Neighbours share one look at what was there before.
result<> applier::take_changes(const std::vector<block_change> &changes,
                               const interval_entry &entry) {
    std::size_t i = 0;
    while (i < changes.size()) {
        const block_change &first = changes[i];
        if (first.kind == change_kind::zero) {
            FS_CHECK(take_zero(first, entry));
            ++i;
            continue;
        }
        std::size_t end = i + 1;
        while (end < changes.size() && changes[end].kind == change_kind::data &&
               changes[end].volume == first.volume &&
               changes[end].block.value == first.block.value + (end - i)) {
            ++end;
        }
        FS_CHECK(record_old(first.volume, first.block.value, end - i));
        for (; i < end; ++i) {
            REPL_ASSERT(changes[i].content.size() == block_bytes);
            current_.put({changes[i].volume, changes[i].block.value, 1, changes[i].content.data()});
        }
    }
    return {};
}

// A zeroed range may be all of a volume: holes are passed in one go, data piece by piece.
result<> applier::take_zero(const block_change &change, const interval_entry &entry) {
    std::uint64_t block = change.block.value;
    const std::uint64_t end = block + change.count;
    while (block < end) {
        FS_TRY(data, images_.next_data(change.volume, block * block_bytes));
        std::uint64_t some = std::min(end - block, zero_piece_blocks);
        if (data.length == 0) {
            some = end - block;
        } else if (data.offset / block_bytes > block) {
            some = std::min(end, data.offset / block_bytes) - block;
        }
        FS_CHECK(record_old(change.volume, block, some));
        current_.put({change.volume, block, some, nullptr});
        block += some;
        if (block < end && step_is_full()) {
            FS_CHECK(step_inside(entry));
        }
    }
    return {};
}

result<> applier::record_old(volume_index volume, std::uint64_t block, std::uint64_t count) {
    std::uint64_t at = block;
    for (const overlay_run &run : batch_.find(volume, block, count)) {
        FS_CHECK(record_old_images(volume, at, run.block - at));
        if (run.content == nullptr) {
            FS_CHECK(undo_.add_zero(volume, run.block, run.count));
        } else {
            FS_CHECK(
                undo_.add_raw(volume, run.block,
                              {run.content, static_cast<std::size_t>(run.count * block_bytes)}));
        }
        at = run.block + run.count;
    }
    return record_old_images(volume, at, block + count - at);
}

/// As the images have it; holes are not read.
result<> applier::record_old_images(volume_index volume, std::uint64_t block, std::uint64_t count) {
    const std::uint64_t end = block + count;
    while (block < end) {
        FS_TRY(data, images_.next_data(volume, block * block_bytes));
        const std::uint64_t data_block =
            data.length == 0 ? end : std::min(end, data.offset / block_bytes);
        if (data_block > block) {
            FS_CHECK(undo_.add_zero(volume, block, data_block - block));
            block = data_block;
            continue;
        }
        const std::uint64_t stop =
            std::min({end, std::max(ceil_div(data.end(), block_bytes), block + 1),
                      block + limits::MiB / block_bytes});
        FS_CHECK(record_old_data(volume, block, stop - block));
        block = stop;
    }
    return {};
}

/// At most 1 MiB: zero blocks told apart.
result<> applier::record_old_data(volume_index volume, std::uint64_t block, std::uint64_t count) {
    if (scratch_.empty()) {
        scratch_ = buffer(limits::MiB);
    }
    const bytes_span bytes = scratch_.span().first(static_cast<std::size_t>(count * block_bytes));
    FS_CHECK(images_.read(volume, block, bytes));
    const auto zero_at = [&](std::uint64_t i) {
        return is_zero(bytes.subspan(static_cast<std::size_t>(i * block_bytes), block_bytes));
    };
    for (std::uint64_t i = 0; i < count;) {
        const bool zero = zero_at(i);
        std::uint64_t end = i + 1;
        while (end < count && zero_at(end) == zero) {
            ++end;
        }
        const std::uint64_t first = block + i;
        if (zero) {
            FS_CHECK(undo_.add_zero(volume, first, end - i));
        } else {
            FS_CHECK(
                undo_.add_raw(volume, first,
                              bytes.subspan(static_cast<std::size_t>(i * block_bytes),
                                            static_cast<std::size_t>((end - i) * block_bytes))));
        }
        i = end;
    }
    return {};
}

result<> applier::read_over(const overlay *top, volume_index volume, std::uint64_t block,
                            bytes_span out) {
    const std::uint64_t count = out.size() / block_bytes;
    const auto first = batch_.find(volume, block, count);
    const bool covered = first.size() == 1 && first.front().count == count;
    if (!covered && count == 1) {
        FS_CHECK(images_.read_and_keep(volume, block, out));
    } else if (!covered) {
        FS_CHECK(core_.images().read_blocks(volume, block, out));
    }
    const auto lay = [&](const std::vector<overlay_run> &runs) {
        for (const overlay_run &run : runs) {
            const bytes_span part =
                out.subspan(static_cast<std::size_t>((run.block - block) * block_bytes),
                            static_cast<std::size_t>(run.count * block_bytes));
            if (run.content == nullptr) {
                std::ranges::fill(part, std::byte{0});
            } else {
                std::memcpy(part.data(), run.content, part.size());
            }
        }
    };
    lay(first);
    if (top != nullptr) {
        lay(top->find(volume, block, count));
    }
    return {};
}

/// At the previous barrier.
result<> applier::read_base(volume_index volume, std::uint64_t block, bytes_span out) {
    return split_ ? core_.read_blocks(*split_->base, volume, block, out)
                  : read_over(nullptr, volume, block, out);
}

bool applier::step_is_full() const {
    return bytes_ >= batch_bytes_max_ || undo_.fresh_entries() >= step_undo_entries;
}

// The interval is too large: what was taken so far goes out now, together with the whole intervals
// before it. From here on its base is read as of the barrier before it.
result<> applier::step_inside(const interval_entry &entry) {
    FS_CHECK(undo_.end_part());
    if (!split_) {
        FS_TRY(view, core_.open_view(state_.position.interval, view_kind::any_state));
        split_.emplace();
        split_->base = std::move(view);
    }
    split_->cursor =
        frame_start_; // frames before it are not decoded again, whatever becomes of the step
    split_->damaged = damaged_;
    batch_.put_all(current_);
    current_.clear();
    undo_.end_step_inside();
    FS_CHECK(write_step());
    undo_.begin(entry.position);
    return {};
}

// Undo's last record says whether the barrier is a point: damage that is not healed makes it none.
result<> applier::finish_interval(const interval_entry &entry) {
    applied_state next = state_;
    next.position = entry.position;
    next.consistent = entry.commit.consistent;
    next.time = entry.commit.time;
    next.arrival = entry.arrival;
    next.label.reset();
    const std::size_t verified_before = outcome_.verified.size();
    auto done = verify(entry);
    const bool differs = std::ranges::any_of(outcome_.verified.begin() +
                                                 static_cast<std::ptrdiff_t>(verified_before),
                                             outcome_.verified.end(), &verify_answer::differs);
    next.damage_count += damaged_ || differs ? 1 : 0;
    if (next.consistent && entry.commit.heals >= next.damage_count) {
        next.healed_count = next.damage_count;
    }
    next.point = next.consistent && next.healed_count == next.damage_count;
    if (next.point && entry.commit.label) {
        next.label = std::make_shared<const point_label>(*entry.commit.label);
    }
    if (done) {
        done = undo_.end({next.consistent, next.point, next.time, next.arrival, next.damage_count,
                          next.healed_count});
    }
    if (!done) {
        outcome_.verified.resize(verified_before);
        return done;
    }
    batch_.put_all(current_);
    current_.clear();
    split_.reset();
    bytes_ += interval_bytes;
    state_ = next;
    finished_.push_back(next);
    return {};
}

// Steps (2) to (4) of the header.
result<> applier::write_step() {
    if (!write_pending_) {
        if (auto synced = undo_.sync(); !synced) {
            return fail(errc::dead, synced.error().text());
        }
        core_.publish();
        unpublished_ = undo_.position();
        write_pending_ = true;
    }
    FS_CHECK(write_images());
    write_pending_ = false;
    batch_.clear();
    contents_.clear();
    bytes_ = 0;
    images_.changed();
    return {};
}

// In order of place; neighbours are gathered to writes of up to 1 MiB, long runs go as they are,
// and long zero runs become holes.
result<> applier::write_images() {
    constexpr std::uint64_t gather_bytes = limits::MiB;
    constexpr std::uint64_t direct_bytes = 128 * limits::KiB;
    constexpr std::uint64_t hole_bytes = 64 * limits::KiB;
    if (scratch_.empty()) {
        scratch_ = buffer(gather_bytes);
    }
    volume_index volume;
    std::uint64_t start = 0; // of what is gathered, in blocks
    std::uint64_t gathered = 0;
    const auto flush = [&]() -> result<> {
        if (gathered > 0) {
            FS_CHECK(before_write_());
            FS_CHECK(core_.images().write_blocks(
                volume, start, scratch_.view().first(static_cast<std::size_t>(gathered))));
            outcome_.bytes_written += gathered;
            gathered = 0;
        }
        return {};
    };
    for (const overlay_run &run : batch_.runs()) {
        const std::uint64_t bytes = run.count * block_bytes;
        if (run.content == nullptr && bytes >= hole_bytes) {
            FS_CHECK(flush());
            FS_CHECK(before_write_());
            FS_CHECK(core_.images().zero_blocks(run.volume, run.block, run.count));
            continue;
        }
        if (bytes >= direct_bytes) {
            FS_CHECK(flush());
            FS_CHECK(before_write_());
            FS_CHECK(core_.images().write_blocks(run.volume, run.block,
                                                 {run.content, static_cast<std::size_t>(bytes)}));
            outcome_.bytes_written += bytes;
            continue;
        }
        const bool follows = gathered > 0 && volume == run.volume &&
                             start + gathered / block_bytes == run.block &&
                             gathered + bytes <= gather_bytes;
        if (!follows) {
            FS_CHECK(flush());
            volume = run.volume;
            start = run.block;
        }
        const bytes_span part = scratch_.span().subspan(static_cast<std::size_t>(gathered),
                                                        static_cast<std::size_t>(bytes));
        if (run.content == nullptr) {
            std::ranges::fill(part, std::byte{0});
        } else {
            std::memcpy(part.data(), run.content, part.size());
        }
        gathered += bytes;
    }
    return flush();
}

} // namespace farshore
