#include "replicator/replica/scrub_source.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/history/packed_store.hpp"
#include "replicator/log/interval_log.hpp"
#include "replicator/log/undo_log.hpp"
#include "replicator/replica/images.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <utility>

namespace farshore {
namespace {

/// Records or intervals looked up at a time.
constexpr std::size_t looked_up_max = 64;
constexpr unsigned offset_bits = 50; ///< of a place in the images: limits::volume_bytes_max
static_assert(limits::volume_bytes_max == std::uint64_t{1} << offset_bits);
static_assert(limits::volumes_per_group_max <= 1024); // a place is below 2^63

class journal_source final : public scrub_source {
  public:
    journal_source(const interval_log &journal, std::function<interval_id()> applied,
                   std::uint64_t place)
        : journal_(journal), applied_(std::move(applied)), done_{place} {}

    std::uint64_t total_bytes() const override {
        const auto last = journal_.last();
        return last ? journal_.bytes_between(applied_(), last->position.interval) : 0;
    }
    std::uint64_t place() const override { return done_.value; }

    result<scrub_piece> next(std::uint64_t bytes_max) override {
        scrub_piece piece;
        const auto entries = journal_.entries_after(std::max(done_, applied_()), looked_up_max);
        piece.end = entries.empty();
        for (const interval_entry &entry : entries) {
            if (piece.read_bytes >= bytes_max) {
                break;
            }
            FS_CHECK(read(entry, piece));
            done_ = entry.position.interval;
        }
        return piece;
    }

  private:
    result<> read(const interval_entry &entry, scrub_piece &piece) const {
        frame_cursor cursor;
        for (;;) {
            const auto run = journal_.read_run(entry.position.interval, cursor, limits::MiB);
            if (!run && is(run.error(), errc::not_found)) {
                return {}; // applied meanwhile
            }
            if (!run && !is_damage(run.error())) {
                return std::unexpected(run.error());
            }
            if (!run && !needed(entry)) {
                return {};
            }
            if (!run) {
                piece.damaged.push_back({.part = scrub_part::journal,
                                         .interval = entry.position.interval,
                                         .place = {},
                                         .runs = {},
                                         .why = run.error().text()});
                return {};
            }
            if (run->frames.empty()) {
                return {};
            }
            piece.read_bytes += run->bytes.size();
        }
    }

    /// Not applied meanwhile, nor taken away by a sync that failed.
    bool needed(const interval_entry &entry) const {
        const auto durable = journal_.durable();
        return durable && durable->interval >= entry.position.interval &&
               applied_() < entry.position.interval;
    }

    const interval_log &journal_;
    std::function<interval_id()> applied_;
    interval_id done_;
};

/// One stretch after the other: pages, then units.
class packed_pieces {
  public:
    packed_pieces(const packed_store &packed, std::uint64_t place)
        : packed_(packed), segment_(place) {}

    std::uint64_t place() const { return segment_; } ///< of the stretch that is being read

    /// Reads on; nothing: no stretch is left.
    result<bool> next(std::uint64_t bytes_max, scrub_piece &piece) {
        if (!stretch_ && !find()) {
            return false;
        }
        const packed_foot &foot = stretch_->foot();
        for (; page_ < foot.pages && piece.read_bytes < bytes_max; ++page_) {
            const auto rows = stretch_->read_page(page_);
            piece.read_bytes += packed_page_bytes;
            if (!rows && !is_damage(rows.error())) {
                return std::unexpected(rows.error());
            }
            if (!rows) {
                piece.damaged.push_back({.part = scrub_part::history,
                                         .interval = foot.last_interval,
                                         .place = {},
                                         .all = true,
                                         .runs = {},
                                         .why = rows.error().text()});
            }
        }
        for (; page_ == foot.pages && unit_ < foot.units && piece.read_bytes < bytes_max; ++unit_) {
            FS_CHECK(read_unit(piece));
        }
        if (page_ == foot.pages && unit_ == foot.units) {
            segment_ = foot.last_segment + 1;
            stretch_.reset();
        }
        return true;
    }

  private:
    bool find() {
        for (const auto &s : *packed_.list()) {
            if (s->foot().last_segment >= segment_) {
                stretch_ = s;
                page_ = 0;
                unit_ = 0;
                return true;
            }
        }
        return false;
    }

    result<> read_unit(scrub_piece &piece) {
        piece.read_bytes += packed_unit_bytes;
        const auto read = stretch_->check_unit(unit_);
        if (read || !is_damage(read.error())) {
            return read;
        }
        std::map<interval_id, scrub_damage> found;
        const auto rows = stretch_->visit([&](const packed_row &row) -> result<> {
            const bool inside = row.kind == packed_kind::full || row.kind == packed_kind::delta;
            if (inside && row.unit == unit_) {
                scrub_damage &d = found[row.interval];
                d.part = scrub_part::history;
                d.interval = row.interval;
                d.runs.push_back({row.volume, row.block, row.count});
                d.why = read.error().text();
            }
            return {};
        });
        if (!rows && !is_damage(rows.error())) {
            return rows;
        }
        for (auto &[interval, d] : found) {
            piece.damaged.push_back(std::move(d));
        }
        return {};
    }

    const packed_store &packed_;
    std::uint64_t segment_;
    std::shared_ptr<const stretch> stretch_;
    std::uint64_t page_ = 0;
    std::uint64_t unit_ = 0;
};

class history_source final : public scrub_source {
  public:
    history_source(const undo_log &history, const packed_store &packed,
                   std::function<interval_id()> committed, std::uint64_t place)
        : history_(history), packed_store_(packed), packed_(packed, place),
          committed_(std::move(committed)), next_{place, 0} {}

    std::uint64_t total_bytes() const override {
        return history_.used_bytes() + packed_store_.used_bytes();
    }
    std::uint64_t place() const override { return next_.segment; }

    result<scrub_piece> next(std::uint64_t bytes_max) override {
        scrub_piece piece;
        FS_TRY(packed, packed_.next(bytes_max, piece));
        if (packed) {
            next_ = {packed_.place(), 0};
            return piece;
        }
        const auto records = history_.records_from(next_, looked_up_max);
        const interval_id committed = committed_();
        piece.end = records.empty();
        for (const undo_record &record : records) {
            if (record.header.position.interval > committed) {
                piece.end = true;
                break;
            }
            if (piece.read_bytes >= bytes_max) {
                break;
            }
            FS_CHECK(read(record, piece));
            next_ = {record.place.segment, record.place.offset + 1};
        }
        return piece;
    }

  private:
    result<> read(const undo_record &record, scrub_piece &piece) const {
        const auto faults = history_.check(record);
        if (!faults) {
            return is(faults.error(), errc::not_found) ? result<>() // dropped meanwhile
                                                       : std::unexpected(faults.error());
        }
        piece.read_bytes += record.header.record_bytes();
        const bool sound = !faults->all && faults->entries.empty();
        if (sound || !listed(record)) {
            return {};
        }
        scrub_damage d{.part = scrub_part::history,
                       .interval = record.header.position.interval,
                       .place = record.place,
                       .all = faults->all,
                       .runs = {},
                       .why = faults->why};
        for (const undo_entry &e : faults->entries) {
            if (!d.runs.empty() && d.runs.back().volume == e.volume &&
                d.runs.back().block + d.runs.back().count == e.block.value) {
                d.runs.back().count += e.count;
            } else {
                d.runs.push_back({e.volume, e.block.value, e.count});
            }
        }
        piece.damaged.push_back(std::move(d));
        return {};
    }

    /// Not dropped meanwhile.
    bool listed(const undo_record &record) const {
        const auto now = history_.records_from(record.place, 1);
        return !now.empty() && now.front().place == record.place;
    }

    const undo_log &history_;
    const packed_store &packed_store_;
    packed_pieces packed_;
    std::function<interval_id()> committed_;
    segment_place next_;
};

class image_source final : public scrub_source {
  public:
    image_source(const replica_images &images, std::uint64_t place)
        : images_(images), volume_(place >> offset_bits),
          offset_(place & (limits::volume_bytes_max - 1)) {}

    std::uint64_t total_bytes() const override {
        std::uint64_t sum = 0;
        for (std::size_t v = 0; v < images_.volume_blocks().size(); ++v) {
            sum += images_.size(volume_index{static_cast<std::uint16_t>(v)});
        }
        return sum;
    }
    std::uint64_t place() const override { return volume_ << offset_bits | offset_; }

    result<scrub_piece> next(std::uint64_t bytes_max) override {
        scrub_piece piece;
        while (piece.read_bytes < bytes_max) {
            if (volume_ >= images_.volume_blocks().size()) {
                piece.end = true;
                break;
            }
            const volume_index v{static_cast<std::uint16_t>(volume_)};
            FS_TRY(data, images_.next_data(v, offset_));
            if (data.length == 0) {
                ++volume_;
                offset_ = 0;
                continue;
            }
            const std::uint64_t first = data.offset / block_bytes;
            const std::uint64_t last =
                std::min(ceil_div(data.end(), block_bytes), first + limits::MiB / block_bytes);
            FS_CHECK(read(v, first, last - first, piece));
            offset_ = last * block_bytes;
            if (offset_ >= images_.size(v)) {
                ++volume_;
                offset_ = 0;
            }
        }
        return piece;
    }

  private:
    // A run that can't be read is read again block by block: a bad sector is not a bad MiB.
    result<> read(volume_index v, std::uint64_t first, std::uint64_t count, scrub_piece &piece) {
        bytes_.resize(static_cast<std::size_t>(count * block_bytes));
        const auto whole = images_.read_blocks(v, first, bytes_);
        piece.read_bytes += bytes_.size();
        if (whole || !is_damage(whole.error())) {
            return whole;
        }
        scrub_damage d{.part = scrub_part::images,
                       .interval = {},
                       .place = {},
                       .runs = {},
                       .why = whole.error().text()};
        const bytes_span one = bytes_span(bytes_).first(block_bytes);
        for (std::uint64_t b = first; b < first + count; ++b) {
            if (images_.read_blocks(v, b, one)) {
                continue;
            }
            if (!d.runs.empty() && d.runs.back().block + d.runs.back().count == b) {
                ++d.runs.back().count;
            } else {
                d.runs.push_back({v, b, 1});
            }
        }
        if (!d.runs.empty()) { // else it could be read the second time
            piece.damaged.push_back(std::move(d));
        }
        return {};
    }

    const replica_images &images_;
    std::uint64_t volume_;
    std::uint64_t offset_;
    byte_vector bytes_;
};

} // namespace

bool is_damage(const error &e) { return is(e, errc::corrupt) || is_errno(e, EIO); }

std::unique_ptr<scrub_source> make_journal_source(const interval_log &journal,
                                                  std::function<interval_id()> applied,
                                                  std::uint64_t place) {
    return std::make_unique<journal_source>(journal, std::move(applied), place);
}

std::unique_ptr<scrub_source> make_history_source(const undo_log &history,
                                                  const packed_store &packed,
                                                  std::function<interval_id()> committed,
                                                  std::uint64_t place) {
    return std::make_unique<history_source>(history, packed, std::move(committed), place);
}

std::unique_ptr<scrub_source> make_image_source(const replica_images &images, std::uint64_t place) {
    return std::make_unique<image_source>(images, place);
}

} // namespace farshore
