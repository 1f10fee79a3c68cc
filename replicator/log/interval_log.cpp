// The log is a list of complete intervals in memory over a segment store. One interval lies in one
// segment, so its place is one range of bytes. Opening scans all frames (they are checked anyway
// before use, and the journal of a healthy receiver is short).

#include "replicator/log/interval_log.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/format/endian.hpp"
#include "replicator/log/segment_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <mutex>

namespace farshore {
namespace {

constexpr std::size_t scan_bytes = 4 * limits::MiB; ///< of one read when the log is opened
static_assert(scan_bytes >= frame_header_bytes + limits::frame_payload_bytes_max);

struct stored_interval {
    interval_entry entry;
    segment_place place;
};

/// Checks that frames come in the order of an interval and that its barrier speaks of them.
class interval_checker {
  public:
    bool begun() const { return begun_; }
    stream_position position() const { return position_; }
    std::uint32_t next_index() const { return next_index_; }
    std::uint64_t raw_bytes() const { return raw_bytes_; }

    /// The commit when the frame was the barrier. An error leaves the checker as it was.
    result<std::optional<barrier>> add(const parsed_frame &frame) {
        FS_TRY(commit, judge(frame));
        const frame_header &h = frame.header;
        if (!commit) {
            const le64 sum(h.payload_checksum);
            checksums_.update(struct_bytes(sum));
        }
        begun_ = true;
        position_ = {h.stream, h.interval};
        next_index_ = h.index + 1;
        blocks_ += h.blocks;
        raw_bytes_ += h.raw_bytes;
        return commit;
    }
    /// The same without taking it.
    result<std::optional<barrier>> judge(const parsed_frame &frame) const {
        const frame_header &h = frame.header;
        if (!begun_ ? h.index != 0
                    : h.index != next_index_ || h.stream != position_.stream ||
                          h.interval != position_.interval) {
            return fail(errc::invalid, fmt::format("frame {} of interval {} is out of order",
                                                   h.index, h.interval.value));
        }
        std::optional<barrier> commit;
        if (h.type == frame_type::barrier) {
            FS_TRY(b, parse_barrier(frame.payload));
            if (b.data_frames != h.index || b.blocks != blocks_ ||
                b.frames_checksum != checksums_.digest64()) {
                return fail(errc::invalid,
                            fmt::format("barrier of interval {} does not fit its frames",
                                        h.interval.value));
            }
            commit = std::move(b);
        }
        return commit;
    }

  private:
    bool begun_ = false;
    stream_position position_;
    std::uint32_t next_index_ = 0;
    std::uint64_t blocks_ = 0;
    std::uint64_t raw_bytes_ = 0;
    checksum_stream checksums_;
};

} // namespace

struct interval_log::impl {
    interval_log_options options;
    std::unique_ptr<segment_store> store;

    // The writer's own.
    interval_checker open_interval;
    segment_place open_place;
    std::uint64_t open_bytes = 0;
    bool damaged = false;

    mutable std::mutex mutex; ///< guards what follows
    std::deque<stored_interval> intervals;
    interval_id newest;     ///< of all that were ever complete here: ids grow
    stream_position synced; ///< newest durable

    result<> scan();
    result<bool> scan_segment(const segment_info &segment, std::uint64_t &good);
    result<parsed_frame> check(bytes_view frame) const;
    result<> append(bytes_view frame);
    void complete(barrier commit, wall_time arrival);
    void drop_open();
    void reconcile();
    std::optional<stored_interval> find(interval_id id) const;
};

// Each segment's intervals up to the first byte that is not a whole good interval. The end of the
// last segment may be torn; the same in a closed segment is damage, and the log ends there.
result<> interval_log::impl::scan() {
    for (const segment_info &segment : store->segments()) {
        std::uint64_t good = segment_header_bytes;
        FS_TRY(whole, scan_segment(segment, good));
        if (whole) {
            continue;
        }
        if (segment.closed) {
            damaged = true;
            log::error("{}/{}: damaged at byte {}; the log ends there", options.directory,
                       segment_name(segment.number), good);
        }
        FS_CHECK(store->cut_after({segment.number, good}));
        break;
    }
    damaged |= store->lost_segments();
    FS_CHECK(store->sync()); // after a kill what was read may not be on the disk yet
    if (!intervals.empty()) {
        newest = intervals.back().entry.position.interval;
        synced = intervals.back().entry.position;
    }
    return {};
}

/// True when the segment's intervals fill it; `good` is where the last one ends.
result<bool> interval_log::impl::scan_segment(const segment_info &segment, std::uint64_t &good) {
    interval_checker checker;
    std::uint64_t at = good; // of the next frame
    buffer window(static_cast<std::size_t>(
        std::min<std::uint64_t>(scan_bytes, segment.bytes - segment_header_bytes)));
    while (at < segment.bytes) {
        const auto filled =
            static_cast<std::size_t>(std::min<std::uint64_t>(window.size(), segment.bytes - at));
        const auto read = store->read({segment.number, at}, window.span().first(filled));
        if (!read) {
            return is(read.error(), errc::corrupt) ? result<bool>(false)
                                                   : std::unexpected(read.error());
        }
        std::size_t used = 0;
        while (used < filled) {
            const bytes_view rest = window.view().subspan(used, filled - used);
            const bool at_end = at + filled == segment.bytes;
            if (rest.size() < frame_header_bytes && !at_end) {
                break; // the window ends inside the header
            }
            const auto header = parse_frame_header(rest);
            if (!header) {
                return is(header.error(), errc::unsupported)
                           ? result<bool>(std::unexpected(header.error()))
                           : false;
            }
            const std::size_t bytes = frame_header_bytes + header->payload_bytes;
            if (bytes > rest.size() && at_end) {
                return false;
            }
            if (bytes > rest.size()) {
                break; // the window ends inside the payload; it is longer than any frame
            }
            const auto frame = parse_frame(rest.first(bytes));
            auto commit = frame ? checker.add(*frame) : std::unexpected(frame.error());
            if (!commit || checker.position().interval <= newest) {
                return false;
            }
            used += bytes;
            if (*commit) {
                interval_entry entry{checker.position(), std::move(**commit), at + used - good,
                                     checker.raw_bytes(), frame->header.arrival};
                newest = entry.position.interval;
                intervals.push_back({std::move(entry), {segment.number, good}});
                good = at + used;
                checker = interval_checker();
            }
        }
        at += used;
    }
    return good == segment.bytes;
}

result<std::unique_ptr<interval_log>> interval_log::open(file_system &files,
                                                         interval_log_options options) {
    std::unique_ptr<interval_log> log(new interval_log());
    impl &i = *log->impl_;
    i.options = std::move(options);
    const std::uint64_t segment_bytes =
        std::min<std::uint64_t>(i.options.segment_bytes, limits::segment_bytes_max);
    FS_TRY(store, segment_store::open(
                      files, {i.options.directory, segment_kind::intervals, segment_bytes}));
    i.store = std::move(store);
    FS_CHECK(i.scan());
    return log;
}

interval_log::interval_log() : impl_(std::make_unique<impl>()) {}
interval_log::~interval_log() = default;

void interval_log::impl::drop_open() {
    if (open_interval.begun()) {
        store->drop();
    }
    open_interval = interval_checker();
    open_bytes = 0;
}

// After a failed sync the store has given up what was not durable; so does the list.
void interval_log::impl::reconcile() {
    const auto segments = store->segments();
    const std::scoped_lock lock(mutex);
    const auto kept = [&](const stored_interval &stored) {
        const auto at =
            std::ranges::lower_bound(segments, stored.place.segment, {}, &segment_info::number);
        return at != segments.end() && at->number == stored.place.segment &&
               stored.place.offset + stored.entry.bytes <= at->bytes;
    };
    while (!intervals.empty() && !kept(intervals.back())) {
        intervals.pop_back();
    }
    newest = intervals.empty() ? std::min(newest, synced.interval)
                               : intervals.back().entry.position.interval;
}

void interval_log::impl::complete(barrier commit, wall_time arrival) {
    store->keep(open_place.offset + open_bytes);
    {
        const std::scoped_lock lock(mutex);
        interval_entry entry{open_interval.position(), std::move(commit), open_bytes,
                             open_interval.raw_bytes(), arrival};
        newest = entry.position.interval;
        intervals.push_back({std::move(entry), open_place});
    }
    open_interval = interval_checker();
    open_bytes = 0;
}

result<parsed_frame> interval_log::impl::check(bytes_view frame) const {
    FS_TRY(parsed, parse_frame(frame));
    if (!open_interval.begun() && parsed.header.interval <= newest) {
        return fail(errc::invalid, fmt::format("interval {} after {}: ids must grow",
                                               parsed.header.interval.value, newest.value));
    }
    return parsed;
}

result<> interval_log::check(bytes_view frame) const {
    FS_TRY(parsed, impl_->check(frame));
    FS_CHECK(impl_->open_interval.judge(parsed));
    return {};
}

result<> interval_log::impl::append(bytes_view frame) {
    FS_TRY(parsed, check(frame));
    const bool first = !open_interval.begun();
    FS_TRY(commit, open_interval.add(parsed));
    const auto undone = [&](error e) {
        store->drop();
        open_interval = interval_checker();
        open_bytes = 0;
        reconcile();
        return std::unexpected(std::move(e));
    };
    if (options.bytes_max != 0 && store->used_bytes() + frame.size() > options.bytes_max) {
        return undone(fail(errc::full, fmt::format("{}: the log holds its limit of {} bytes",
                                                   options.directory, options.bytes_max))
                          .error());
    }
    if (first) {
        auto place = store->begin();
        if (!place) {
            return undone(std::move(place).error());
        }
        open_place = *place;
    }
    auto written = store->write(open_place.offset + open_bytes, frame);
    if (!written) {
        return undone(std::move(written).error());
    }
    open_bytes += frame.size();
    if (commit) {
        complete(std::move(*commit), parsed.header.arrival);
    }
    return {};
}

bool interval_log::damaged() const { return impl_->damaged; }

result<> interval_log::append(bytes_view frame) { return impl_->append(frame); }

result<> interval_log::abandon_partial() {
    impl_->drop_open();
    return {};
}

std::optional<interval_log::partial> interval_log::incomplete() const {
    const interval_checker &open = impl_->open_interval;
    return open.begun() ? std::optional(partial{open.position(), open.next_index()}) : std::nullopt;
}

result<> interval_log::sync() {
    impl &i = *impl_;
    std::optional<stream_position> reached;
    {
        const std::scoped_lock lock(i.mutex);
        if (!i.intervals.empty()) {
            reached = i.intervals.back().entry.position;
        }
    }
    if (auto synced = i.store->sync(); !synced) {
        i.open_interval = interval_checker();
        i.open_bytes = 0;
        i.reconcile();
        return synced;
    }
    const std::scoped_lock lock(i.mutex);
    if (reached) {
        i.synced = *reached;
    }
    return {};
}

std::optional<interval_entry> interval_log::first() const {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->intervals.empty() ? std::nullopt : std::optional(impl_->intervals.front().entry);
}

std::optional<interval_entry> interval_log::last() const {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->intervals.empty() ? std::nullopt : std::optional(impl_->intervals.back().entry);
}

std::optional<stream_position> interval_log::durable() const {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->synced.interval.value == 0 ? std::nullopt : std::optional(impl_->synced);
}

std::vector<interval_entry> interval_log::entries_after(interval_id after, std::size_t max) const {
    const std::scoped_lock lock(impl_->mutex);
    auto at = std::ranges::upper_bound(impl_->intervals, after, {}, [](const stored_interval &s) {
        return s.entry.position.interval;
    });
    std::vector<interval_entry> entries;
    for (; at != impl_->intervals.end() && entries.size() < max; ++at) {
        entries.push_back(at->entry);
    }
    return entries;
}

std::optional<wall_time> interval_log::time_of(interval_id id) const {
    const auto found = impl_->find(id);
    return found ? std::optional(found->entry.commit.time) : std::nullopt;
}

std::uint64_t interval_log::bytes_between(interval_id after, interval_id upto) const {
    const std::scoped_lock lock(impl_->mutex);
    std::uint64_t bytes = 0;
    for (const stored_interval &s : impl_->intervals) {
        if (s.entry.position.interval > after && s.entry.position.interval <= upto) {
            bytes += s.entry.bytes;
        }
    }
    return bytes;
}

std::optional<stored_interval> interval_log::impl::find(interval_id id) const {
    const std::scoped_lock lock(mutex);
    const auto at = std::ranges::lower_bound(
        intervals, id, {}, [](const stored_interval &s) { return s.entry.position.interval; });
    if (at == intervals.end() || at->entry.position.interval != id) {
        return std::nullopt;
    }
    return *at;
}

result<frame_run> interval_log::read_run(interval_id id, frame_cursor &cursor,
                                         std::size_t bytes_max) const {
    const auto stored = impl_->find(id);
    if (!stored) {
        return fail(errc::not_found, fmt::format("interval {} is not in the log", id.value));
    }
    frame_run run;
    REPL_ASSERT(cursor.offset <= stored->entry.bytes);
    const std::uint64_t left = stored->entry.bytes - cursor.offset;
    if (left == 0) {
        return run;
    }
    const std::size_t whole_frame = frame_header_bytes + limits::frame_payload_bytes_max;
    run.bytes = buffer(
        static_cast<std::size_t>(std::min<std::uint64_t>(left, std::max(bytes_max, whole_frame))));
    FS_CHECK(impl_->store->read({stored->place.segment, stored->place.offset + cursor.offset},
                                run.bytes.span()));
    bytes_view rest = run.bytes.view();
    while (rest.size() >= frame_header_bytes) {
        FS_TRY(header, parse_frame_header(rest));
        const std::size_t bytes = frame_header_bytes + header.payload_bytes;
        if (bytes > rest.size()) {
            break;
        }
        FS_TRY(frame, parse_frame(rest.first(bytes)));
        if (frame.header.interval != id || frame.header.index != cursor.index) {
            return fail(errc::corrupt,
                        fmt::format("frames of interval {} are out of order", id.value));
        }
        run.frames.push_back(frame);
        cursor.offset += bytes;
        cursor.index += 1;
        rest = rest.subspan(bytes);
    }
    if (run.frames.empty()) {
        return fail(errc::corrupt, fmt::format("interval {} ends inside a frame", id.value));
    }
    return run;
}

result<std::vector<buffer>> interval_log::read(interval_id id) const {
    std::vector<buffer> frames;
    frame_cursor cursor;
    for (;;) {
        FS_TRY(run, read_run(id, cursor, scan_bytes));
        if (run.frames.empty()) {
            return frames;
        }
        bytes_view rest = run.bytes.view();
        for (const parsed_frame &frame : run.frames) {
            const std::size_t bytes = frame_header_bytes + frame.payload.size();
            frames.push_back(buffer::copy_of(rest.first(bytes)));
            rest = rest.subspan(bytes);
        }
    }
}

result<> interval_log::drop_through(interval_id upto) {
    impl &i = *impl_;
    std::uint64_t needed = 0; // the first segment that is; whatever the writer does meanwhile
    {
        const std::scoped_lock lock(i.mutex);
        while (!i.intervals.empty() && i.intervals.front().entry.position.interval <= upto) {
            i.intervals.pop_front();
        }
        const auto segments = i.store->segments();
        if (!i.intervals.empty()) {
            needed = i.intervals.front().place.segment;
        } else if (!segments.empty()) {
            needed = segments.back().number;
        }
    }
    return i.store->remove_before(needed);
}

result<> interval_log::clear() {
    impl &i = *impl_;
    i.open_interval = interval_checker();
    i.open_bytes = 0;
    const std::scoped_lock lock(i.mutex);
    i.intervals.clear();
    i.newest = {};
    i.synced = {};
    i.store->drop();
    return i.store->cut_after({});
}

std::uint64_t interval_log::used_bytes() const { return impl_->store->used_bytes(); }

} // namespace farshore
