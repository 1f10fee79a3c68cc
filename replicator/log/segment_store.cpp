#include "replicator/log/segment_store.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace farshore {
namespace {

constexpr std::size_t handles_max = 16; ///< closed segments kept open for reading

} // namespace

std::string segment_store::path_of(std::uint64_t number) const {
    return join_path(options_.directory, segment_name(number));
}

result<std::unique_ptr<segment_store>> segment_store::open(file_system &files, options o) {
    FS_CHECK(files.make_directories(o.directory));
    std::unique_ptr<segment_store> store(new segment_store(files, std::move(o)));
    FS_CHECK(store->load());
    return store;
}

result<> segment_store::discard(file_system &files, const std::string &directory) {
    FS_TRY(present, files.exists(directory));
    if (!present) {
        return {};
    }
    FS_TRY(names, files.list(directory));
    for (const std::string &name : names) {
        if (parse_segment_name(name)) {
            FS_CHECK(files.remove(join_path(directory, name)));
        }
    }
    return {};
}

// Walks the files from the newest to the oldest and keeps the unbroken run at the end. A newest
// file without a valid header was being made when the power went; an older one without is damage,
// and what lies before it can't be used in order any more.
result<> segment_store::load() {
    FS_TRY(names, files_.list(options_.directory));
    std::vector<std::uint64_t> numbers;
    for (const std::string &name : names) {
        if (const auto number = parse_segment_name(name)) {
            numbers.push_back(*number);
        }
    }
    std::ranges::sort(numbers, std::greater<>());

    std::vector<std::uint64_t> leftovers;
    std::uint64_t limit = 0; // how much of the next older segment counts
    bool broken = false;
    for (const std::uint64_t number : numbers) {
        if (broken || (!segments_.empty() && segments_.back().number != number + 1)) {
            broken = true;
            leftovers.push_back(number);
            continue;
        }
        FS_TRY(opened, files_.open(path_of(number), open_mode::read));
        FS_TRY(size, opened->size());
        std::array<std::byte, segment_header_bytes> bytes{};
        if (size >= bytes.size()) {
            FS_CHECK(opened->read_at(0, bytes));
        }
        const auto header = parse_segment_header(bytes);
        if (!header && is(header.error(), errc::unsupported)) {
            return fail(header.error().code, path_of(number) + ": " + header.error().context);
        }
        if (!header || header->number != number || header->kind != options_.kind) {
            if (!segments_.empty() || size > segment_header_bytes) {
                log::error("{}: damaged segment header; the segment is lost", path_of(number));
                lost_ = true;
            }
            broken = !segments_.empty();
            leftovers.push_back(number);
            continue;
        }
        const bool last = segments_.empty();
        segments_.push_back({number, last ? size : limit, !last});
        limit = header->previous_bytes;
        broken = limit < segment_header_bytes; // nothing stood before this one
    }
    std::ranges::reverse(segments_);
    std::ranges::reverse(leftovers); // oldest first
    for (const std::uint64_t number : leftovers) {
        FS_CHECK(remove_file(number));
    }
    if (!leftovers.empty()) {
        FS_CHECK(files_.sync_directory(options_.directory));
    }
    return open_last_for_writing();
}

result<> segment_store::open_last_for_writing() {
    last_.reset();
    if (segments_.empty()) {
        return {};
    }
    const segment_info &info = segments_.back();
    FS_TRY(opened, files_.open(path_of(info.number), open_mode::read_write));
    last_ = std::move(opened);
    writable_ = true;
    tail_ = info.bytes;
    synced_ = 0;
    return {};
}

std::vector<segment_info> segment_store::segments() const {
    const std::scoped_lock lock(mutex_);
    return segments_;
}

std::uint64_t segment_store::used_bytes() const {
    const std::scoped_lock lock(mutex_);
    std::uint64_t sum = refused_bytes_;
    for (const segment_info &s : segments_) {
        sum += s.bytes;
    }
    return segments_.empty()
               ? sum
               : sum - segments_.back().bytes + std::max(tail_, segments_.back().bytes);
}

result<std::shared_ptr<file>> segment_store::handle(std::uint64_t number) const {
    const std::scoped_lock lock(mutex_);
    if (segments_.empty() || number < segments_.front().number ||
        number > segments_.back().number) {
        return fail(errc::not_found, path_of(number) + ": segment was dropped");
    }
    if (number == segments_.back().number && last_) {
        return last_;
    }
    const auto found = std::ranges::find(handles_, number, [](const auto &h) { return h.first; });
    if (found != handles_.end()) {
        std::rotate(handles_.begin(), found, found + 1);
        return handles_.front().second;
    }
    FS_TRY(opened, files_.open(path_of(number), open_mode::read));
    handles_.emplace(handles_.begin(), number, std::move(opened));
    if (handles_.size() > handles_max) {
        handles_.pop_back();
    }
    return handles_.front().second;
}

result<> segment_store::read(segment_place at, bytes_span out) const {
    FS_TRY(opened, handle(at.segment));
    return opened->read_at(at.offset, out);
}

segment_store::end_of_log segment_store::end() const {
    const std::scoped_lock lock(mutex_);
    return segments_.empty() ? end_of_log{}
                             : end_of_log{segments_.back().number, segments_.back().bytes};
}

// A failure may leave a file that is not in segments_ and says where the one before ended; the next
// try makes it anew, and cut_after(), which makes that a lie, removes it first.
result<> segment_store::add_segment(end_of_log before) {
    stray_ = true;
    segment_header header;
    header.kind = options_.kind;
    header.number = before.number + 1;
    header.previous_bytes = before.bytes;
    FS_TRY(opened, files_.open(path_of(header.number), open_mode::create));
    FS_CHECK(opened->truncate(0));
    FS_CHECK(opened->write_at(0, encode_segment_header(header)));
    FS_CHECK(opened->sync_data());
    FS_CHECK(files_.sync_directory(options_.directory));
    const std::scoped_lock lock(mutex_);
    if (!segments_.empty()) {
        segments_.back().closed = true;
    }
    segments_.push_back({header.number, segment_header_bytes, false});
    last_ = std::move(opened);
    writable_ = true;
    stray_ = false;
    tail_ = segment_header_bytes;
    synced_ = segment_header_bytes;
    return {};
}

result<segment_place> segment_store::begin() {
    const end_of_log last = end();
    REPL_ASSERT(!writable_ || tail_ == last.bytes);
    if (writable_ && last.bytes < options_.segment_bytes) {
        return segment_place{last.number, tail_};
    }
    FS_CHECK(end_segment());
    return segment_place{last.number + 1, tail_};
}

result<> segment_store::end_segment() {
    const end_of_log last = end();
    if (const auto synced = sync(); !synced) {
        return fail(errc::dead, synced.error().text()); // whatever the errno: kept records are gone
    }
    return add_segment(last);
}

result<> segment_store::write(std::uint64_t offset, bytes_view data) {
    REPL_ASSERT(writable_ && offset >= end().bytes);
    FS_CHECK(last_->write_at(offset, data));
    const std::scoped_lock lock(mutex_);
    tail_ = std::max(tail_, offset + data.size());
    return {};
}

void segment_store::keep(std::uint64_t offset) {
    const std::scoped_lock lock(mutex_);
    REPL_ASSERT(offset == tail_ && offset >= segments_.back().bytes);
    segments_.back().bytes = offset;
}

void segment_store::drop() {
    if (!writable_) {
        return;
    }
    // A write that failed may have left bytes without tail_ knowing: always cut.
    const auto cut = last_->truncate(end().bytes);
    const std::scoped_lock lock(mutex_);
    tail_ = segments_.back().bytes;
    if (!cut) {
        log::warning("{}; the segment is closed", cut.error().text());
        writable_ = false;
    }
}

result<> segment_store::sync() {
    const end_of_log last = end();
    if (!last_ || synced_ == last.bytes) {
        return {};
    }
    auto synced = last_->sync_data();
    {
        const std::scoped_lock lock(mutex_);
        if (synced) {
            synced_ = last.bytes;
            return {};
        }
        segments_.back().bytes = std::max<std::uint64_t>(synced_, segment_header_bytes);
        tail_ = synced_ = segments_.back().bytes;
        writable_ = false;
    }
    // What failed may still stand in the page cache and look good to whoever opens the log next:
    // the header of a new segment says at once that it does not count.
    if (const auto marked = add_segment(end()); !marked) {
        log::warning("{}", marked.error().text());
    }
    return synced;
}

segment_place segment_store::synced() const {
    const std::scoped_lock lock(mutex_);
    return segments_.empty() ? segment_place{} : segment_place{segments_.back().number, synced_};
}

result<> segment_store::remove_file(std::uint64_t number) { return files_.remove(path_of(number)); }

// Names go to the disk in any order: if a later segment outlived an earlier one, what stands before
// the gap would be taken for a leftover of a removal from the front.
result<> segment_store::remove_durably(std::uint64_t number) {
    FS_CHECK(remove_file(number));
    return files_.sync_directory(options_.directory);
}

result<> segment_store::cut_after(segment_place place) {
    const std::scoped_lock removing(removal_);
    const std::scoped_lock lock(mutex_);
    const auto kept = std::ranges::find(segments_, place.segment, &segment_info::number);
    if (kept != segments_.end() && place.offset > kept->bytes) {
        return fail(errc::dead, path_of(place.segment) + ": lost records by a failed sync");
    }
    handles_.clear();
    const bool removed = stray_ || (!segments_.empty() && segments_.back().number > place.segment);
    if (removed && !front_durable_) {
        FS_CHECK(files_.sync_directory(options_.directory));
        front_durable_ = true;
    }
    if (stray_) {
        FS_CHECK(remove_durably(segments_.empty() ? 1 : segments_.back().number + 1));
        stray_ = false;
    }
    while (!segments_.empty() && segments_.back().number > place.segment) {
        last_.reset();
        writable_ = false;
        FS_CHECK(remove_durably(segments_.back().number));
        segments_.pop_back();
    }
    while (segments_.empty() && !doomed_.empty()) {
        FS_CHECK(remove_durably(doomed_.back().number));
        doomed_.pop_back();
        refused_bytes_ = 0;
    }
    if (removed) {
        FS_CHECK(open_last_for_writing());
    }
    if (segments_.empty() || segments_.back().number != place.segment) {
        return {};
    }
    if (place.offset < segment_header_bytes) { // the place may be from a file
        return fail(errc::corrupt, fmt::format("{}: to be cut at byte {}, inside its header",
                                               path_of(place.segment), place.offset));
    }
    FS_TRY(size, last_->size());
    if (size > place.offset) {
        FS_CHECK(last_->truncate(place.offset));
    }
    FS_CHECK(last_->sync_data());
    segments_.back().bytes = place.offset;
    segments_.back().closed = false;
    tail_ = synced_ = place.offset;
    return {};
}

/// Out of the log at once; from the disk they go later, without the lock.
void segment_store::take_front(std::uint64_t number) {
    const std::scoped_lock lock(mutex_);
    if (segments_.empty()) {
        return;
    }
    auto end = segments_.begin();
    while (segments_.end() - end > 1 && end->number < number) {
        ++end;
    }
    std::erase_if(handles_, [&](const auto &h) { return h.first < end->number; });
    doomed_.insert(doomed_.end(), segments_.begin(), end);
    segments_.erase(segments_.begin(), end);
}

// A sync of the directory would be a commit of the file system's journal, for nothing: see (3).
result<> segment_store::remove_before(std::uint64_t number) {
    const std::scoped_lock removing(removal_);
    take_front(number);
    result<> outcome;
    while (!doomed_.empty()) {
        outcome = remove_file(doomed_.front().number);
        if (!outcome) {
            break;
        }
        front_durable_ = false;
        const std::scoped_lock lock(mutex_);
        doomed_.erase(doomed_.begin());
    }
    const std::scoped_lock lock(mutex_);
    refused_bytes_ = 0;
    for (const segment_info &s : doomed_) {
        refused_bytes_ += s.bytes;
    }
    return outcome;
}

} // namespace farshore
