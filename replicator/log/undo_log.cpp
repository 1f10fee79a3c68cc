#include "replicator/log/undo_log.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"

#include <algorithm>
#include <array>

namespace farshore {
namespace {

constexpr std::uint64_t record_content_max = 16 * limits::MiB; ///< more begins another record
constexpr std::size_t visit_bytes = limits::MiB;

undo_record first_of(interval_id id) {
    undo_record r;
    r.header.position.interval = id;
    return r;
}

bool older(const undo_record &a, const undo_record &b) {
    return a.header.position.interval < b.header.position.interval;
}

} // namespace

result<std::unique_ptr<undo_log>> undo_log::open(file_system &files, undo_log_options options,
                                                 interval_id committed,
                                                 segment_place committed_end) {
    std::unique_ptr<undo_log> log(new undo_log(files, std::move(options)));
    FS_TRY(store, segment_store::open(files, {log->options_.directory, segment_kind::undo,
                                              log->options_.segment_bytes}));
    log->store_ = std::move(store);
    FS_CHECK(log->store_->remove_before(log->options_.covered_segment + 1));
    FS_CHECK(log->scan(committed, committed_end));
    return log;
}

// Follows the headers through the segments. A record that can't be read is:
//   before the commit: damage; all older records are useless for points (a block's old content may
//   be
//     in the gap), so the list begins anew behind it;
//   after the commit and before a place that was durable: damage of what the roll-back needs;
//   else the end of the log: a record that was being written.
result<> undo_log::scan(interval_id committed, segment_place committed_end) {
    segment_place bad; // first unreadable place after the commit
    for (const segment_info &segment : store_->segments()) {
        if (segment.number <= options_.covered_segment) {
            continue; // the disk refused to remove it
        }
        std::uint64_t at = segment_header_bytes;
        while (at < segment.bytes) {
            const auto next = scan_record(segment, at, committed);
            if (next) {
                at = *next;
                continue;
            }
            if (!is(next.error(), errc::corrupt)) {
                return std::unexpected(next.error());
            }
            const segment_place here{segment.number, at};
            if (here < committed_end) {
                log::error("{}/{}: undo damaged at byte {}; what it held before is lost",
                           options_.directory, segment_name(segment.number), at);
                evidence_.history_broken = true;
                records_.clear();
                if (segment.number == committed_end.segment) {
                    at = committed_end.offset;
                    continue;
                }
            } else if (bad.segment == 0) {
                bad = here;
                evidence_.tail_broken = segment.closed || was_durable(segment, at);
                evidence_.tail_torn = !evidence_.tail_broken;
            }
            break;
        }
    }
    // The place where the log ended at the commit is never dropped: without it neither what stood
    // before nor what came after is whole.
    const auto segments = store_->segments();
    const std::uint64_t needed = std::max<std::uint64_t>(committed_end.segment, 1);
    const auto at_commit = std::ranges::find(segments, needed, &segment_info::number);
    const bool reaches = at_commit == segments.end()
                             ? committed_end.segment == 0 && segments.empty()
                             : at_commit->bytes >= committed_end.offset;
    if (!reaches || store_->lost_segments()) {
        std::erase_if(records_, [&](const undo_record &r) {
            return r.header.position.interval <= committed;
        });
        evidence_.history_broken = true;
        evidence_.tail_broken = true;
        evidence_.tail_torn = false;
        return {};
    }
    if (bad.segment == 0) {
        return {};
    }
    if (!evidence_.tail_broken) {
        return store_->cut_after(bad);
    }
    log::error("{}/{}: undo damaged at byte {}, which the roll-back needs", options_.directory,
               segment_name(bad.segment), bad.offset);
    return {};
}

/// Whether a later record says that the log was durable beyond this place, as far as headers lead.
bool undo_log::was_durable(const segment_info &segment, std::uint64_t at) const {
    const segment_place here{segment.number, at};
    std::array<std::byte, undo_header_bytes> bytes{};
    while (segment.bytes - at >= bytes.size() && store_->read({segment.number, at}, bytes)) {
        const auto header = parse_undo_header(bytes);
        if (!header || header->record_bytes() > segment.bytes - at) {
            break;
        }
        if (segment_place{header->synced_segment, header->synced_offset} > here) {
            return true;
        }
        at += header->record_bytes();
    }
    return false;
}

/// Adds the record at this place to the list; where the next one begins, or errc::corrupt.
result<std::uint64_t> undo_log::scan_record(const segment_info &segment, std::uint64_t at,
                                            interval_id committed) {
    std::array<std::byte, undo_header_bytes> bytes{};
    if (segment.bytes - at < bytes.size()) {
        return fail(errc::corrupt, "undo record cut short");
    }
    FS_CHECK(store_->read({segment.number, at}, bytes));
    FS_TRY(header, parse_undo_header(bytes));
    if (header.record_bytes() > segment.bytes - at) {
        return fail(errc::corrupt, "undo record cut short");
    }
    const undo_record record{header, {segment.number, at}};
    if (!records_.empty() && older(record, records_.back())) {
        return fail(errc::corrupt, "undo record out of order");
    }
    if (header.position.interval > committed) {
        FS_CHECK(visit(record, [](const undo_entry &, bytes_view) { return result<>(); }));
    }
    records_.push_back(record);
    return at + header.record_bytes();
}

void undo_log::begin(stream_position position) {
    REPL_ASSERT(!open_.begun);
    if (interval_ != position) {
        interval_ = position;
        part_ = 0;
    }
}

result<> undo_log::make_room(std::uint64_t bytes) {
    return options_.room ? options_.room(bytes) : result<>();
}

result<> undo_log::begin_record() {
    FS_CHECK(make_room(undo_header_bytes));
    FS_TRY(place, store_->begin());
    open_.place = place;
    open_.begun = true;
    return {};
}

result<> undo_log::add_zero(volume_index volume, block_index first, std::uint64_t count) {
    while (count > 0) {
        if (!open_.begun) {
            FS_CHECK(begin_record());
        }
        const auto some = static_cast<std::uint32_t>(std::min<std::uint64_t>(count, UINT32_MAX));
        undo_entry *last = open_.entries.empty() ? nullptr : &open_.entries.back();
        if (last != nullptr && last->kind == undo_kind::zero && last->volume == volume &&
            last->block.value + last->count == first.value && last->count <= UINT32_MAX - some) {
            last->count += some;
        } else {
            open_.entries.push_back({volume, first, undo_kind::zero, some, 0});
        }
        first.value += some;
        count -= some;
        if (open_.entries.size() >= undo_entries_max) {
            FS_CHECK(end_part());
        }
    }
    return {};
}

result<> undo_log::add_raw(volume_index volume, block_index first, bytes_view content) {
    REPL_ASSERT(content.size() % block_bytes == 0);
    const std::uint64_t record_max = std::min(record_content_max, options_.segment_bytes);
    while (!content.empty()) {
        if (!open_.begun) {
            FS_CHECK(begin_record());
        }
        const std::uint64_t left = record_max - std::min(record_max, open_.content_bytes);
        const std::uint64_t blocks =
            std::min({content.size() / block_bytes, std::max<std::uint64_t>(left / block_bytes, 1),
                      std::uint64_t{undo_entries_max - open_.entries.size()}});
        const bytes_view some = content.first(static_cast<std::size_t>(blocks * block_bytes));
        FS_CHECK(make_room(some.size()));
        FS_CHECK(store_->write(open_.place.offset + undo_header_bytes + open_.content_bytes, some));
        for (std::uint64_t i = 0; i < blocks; ++i) {
            const bytes_view block = some.subspan(static_cast<std::size_t>(i * block_bytes),
                                                  static_cast<std::size_t>(block_bytes));
            open_.entries.push_back(
                {volume, block_index{first.value + i}, undo_kind::raw, 1, checksum64(block)});
        }
        open_.content_bytes += some.size();
        first.value += blocks;
        content = content.subspan(some.size());
        if (open_.content_bytes >= record_max || open_.entries.size() >= undo_entries_max) {
            FS_CHECK(end_part());
        }
    }
    return {};
}

result<> undo_log::end_part() { return open_.begun ? finish(nullptr) : result<>(); }

result<> undo_log::end(const undo_outcome &outcome) {
    if (!open_.begun) {
        FS_CHECK(begin_record());
    }
    return finish(&outcome);
}

// Contents are there; then the table, and the header last, so that a header stands for all.
result<> undo_log::finish(const undo_outcome *outcome) {
    const byte_vector table = encode_undo_entries(open_.entries);
    undo_header header;
    header.position = interval_;
    header.part = part_;
    header.entries = static_cast<std::uint32_t>(open_.entries.size());
    header.content_bytes = open_.content_bytes;
    header.entries_checksum = checksum64(table);
    header.written = files_.now();
    const segment_place synced = store_->synced();
    header.synced_segment = synced.segment;
    header.synced_offset = synced.offset;
    if (outcome != nullptr) {
        header.last = true;
        header.consistent = outcome->consistent;
        header.point = outcome->point;
        header.time = outcome->time;
        header.arrival = outcome->arrival;
        header.damage_count = outcome->damage_count;
        header.healed_count = outcome->healed_count;
    }
    const std::uint64_t at = open_.place.offset;
    if (!table.empty()) {
        FS_CHECK(make_room(table.size()));
        FS_CHECK(store_->write(at + undo_header_bytes + open_.content_bytes, table));
    }
    FS_CHECK(store_->write(at, encode_undo_header(header)));
    store_->keep(at + header.record_bytes());
    fresh_entries_ += open_.entries.size();
    fresh_.push_back({{header, open_.place}, std::move(open_.entries)});
    open_ = {};
    ++part_;
    return {};
}

segment_place undo_log::position() const { return end_place(); }

segment_place undo_log::end_place() const {
    const auto segments = store_->segments();
    return segments.empty() ? segment_place{}
                            : segment_place{segments.back().number, segments.back().bytes};
}

result<> undo_log::back_to(segment_place place) {
    store_->drop();
    open_ = {};
    const auto forgotten =
        std::erase_if(fresh_, [&](const undo_table &t) { return t.record.place >= place; });
    part_ -= std::min(part_, static_cast<std::uint32_t>(forgotten)); // what is before `place` stays
    fresh_entries_ = 0;
    for (const undo_table &t : fresh_) {
        fresh_entries_ += t.entries.size();
    }
    return end_place() == place ? result<>() : store_->cut_after(place);
}

result<> undo_log::sync() {
    REPL_ASSERT(!open_.begun);
    return store_->sync();
}

result<> undo_log::end_segment() {
    REPL_ASSERT(!open_.begun && fresh_.empty());
    return store_->end_segment();
}

void undo_log::publish() {
    const std::scoped_lock lock(mutex_);
    for (const undo_table &t : fresh_) {
        records_.push_back(t.record);
    }
    fresh_.clear();
    fresh_entries_ = 0;
}

std::int64_t undo_log::last_written() const {
    const std::scoped_lock lock(mutex_);
    return records_.empty() ? 0 : records_.back().header.written;
}

void undo_log::each(const std::function<void(const undo_record &)> &fn) const {
    const std::scoped_lock lock(mutex_);
    std::ranges::for_each(records_, fn);
}

std::vector<undo_record> undo_log::records_from(segment_place place, std::size_t max) const {
    const std::scoped_lock lock(mutex_);
    const auto first = std::ranges::lower_bound(records_, place, {}, &undo_record::place);
    const auto some = std::min<std::size_t>(max, static_cast<std::size_t>(records_.end() - first));
    return {first, first + static_cast<std::ptrdiff_t>(some)};
}

std::vector<undo_record> undo_log::records_after(interval_id id) const {
    const std::scoped_lock lock(mutex_);
    return {std::ranges::upper_bound(records_, first_of(id), older), records_.end()};
}

result<undo_table> undo_log::read_table(const undo_record &record) const {
    byte_vector table(std::size_t{record.header.entries} * undo_entry_bytes);
    FS_CHECK(store_->read({record.place.segment,
                           record.place.offset + undo_header_bytes + record.header.content_bytes},
                          table));
    FS_TRY(entries, parse_undo_entries(record.header, table));
    return undo_table{record, std::move(entries)};
}

result<> undo_log::visit(const undo_record &record, const entry_visitor &fn) const {
    FS_TRY(table, read_table(record));
    buffer window(static_cast<std::size_t>(
        std::min<std::uint64_t>(visit_bytes, record.header.content_bytes)));
    std::uint64_t at = record.place.offset + undo_header_bytes;
    std::uint64_t left = record.header.content_bytes;
    bytes_view contents; // read and not yet used
    for (const undo_entry &entry : table.entries) {
        if (entry.kind == undo_kind::zero) {
            FS_CHECK(fn(entry, {}));
            continue;
        }
        if (contents.empty()) {
            const auto some =
                static_cast<std::size_t>(std::min<std::uint64_t>(left, window.size()));
            FS_CHECK(store_->read({record.place.segment, at}, window.span().first(some)));
            contents = window.view().first(some);
            at += some;
            left -= some;
        }
        const bytes_view block = contents.first(static_cast<std::size_t>(block_bytes));
        if (checksum64(block) != entry.checksum) {
            return fail(errc::corrupt, "undo content fails its checksum");
        }
        FS_CHECK(fn(entry, block));
        contents = contents.subspan(block.size());
    }
    return {};
}

result<> undo_log::read_raw(segment_place entries, segment_place contents, std::uint64_t count,
                            bytes_span out) const {
    REPL_ASSERT(out.size() == count * block_bytes);
    byte_vector table(static_cast<std::size_t>(count * undo_entry_bytes));
    FS_CHECK(store_->read(entries, table));
    FS_CHECK(store_->read(contents, out));
    for (std::size_t i = 0; i < count; ++i) {
        FS_TRY(entry, parse_undo_entry(bytes_view(table).subspan(i * undo_entry_bytes)));
        if (entry.checksum != checksum64(out.subspan(i * block_bytes, block_bytes))) {
            return fail(errc::corrupt, options_.directory + ": undo content fails its checksum");
        }
    }
    return {};
}

result<> undo_log::read_content(segment_place contents, std::uint64_t checksum,
                                bytes_span out) const {
    FS_CHECK(store_->read(contents, out));
    return checksum64(out) == checksum
               ? result<>()
               : fail(errc::corrupt, options_.directory + ": undo content fails its checksum");
}

result<> undo_log::drop_before(interval_id id, std::uint64_t segment) {
    {
        const std::scoped_lock lock(mutex_);
        const auto first = std::ranges::lower_bound(records_, first_of(id), older);
        if (first != records_.end()) {
            segment = std::min(segment, first->place.segment);
        } else if (!records_.empty()) {
            segment = std::min(segment, records_.back().place.segment);
        }
        while (!records_.empty() && records_.front().place.segment < segment) {
            records_.pop_front();
        }
    }
    return store_->remove_before(segment);
}

result<> undo_log::drop_packed(std::uint64_t segment) {
    {
        const std::scoped_lock lock(mutex_);
        while (!records_.empty() && records_.front().place.segment <= segment) {
            records_.pop_front();
        }
    }
    return store_->remove_before(segment + 1);
}

result<> undo_log::cut_after(interval_id id, segment_place end) {
    {
        const std::scoped_lock lock(mutex_);
        const auto first = std::ranges::upper_bound(records_, first_of(id), older);
        if (first != records_.end()) {
            end = std::min(end, first->place);
        }
        records_.erase(first, records_.end());
    }
    if (end >= end_place()) {
        return {};
    }
    return store_->cut_after(end);
}

} // namespace farshore
