#pragma once
// Append-only files of one directory, numbered without gaps: what the interval log and the undo log
// have in common. Knows nothing of what is in them.
//
// Each segment has a good length: up to there its content counts. A record is begun, written, and
// then kept (the good length moves behind it) or dropped (the file is cut back; if the disk refuses
// even that, the segment is closed and the rest of it is ignored for ever, since the next segment's
// header says where it ended).
//
// Crash order: (1) a segment is synced before the next one is made, so only the last one can be
// torn; (2) a new segment's header is synced, and then its directory entry, before anything in it
// counts as synced; (3) segments are removed from the front without a sync, and after a crash any
// of them may be there again, whole, since a closed segment is not written any more: what is left
// before a gap in the numbers is a leftover, and open() removes it; what joins on to the rest is a
// part of the log again, older than anything its user still needs, and is dropped again; (4) from
// the end they are removed newest first, each one durably before the next, so that no gap comes up
// there, and only after the removals of (3) are durable, for a segment that came back must not be
// the last one. A new segment's sync of the directory makes them durable in any case.
//
// Threads: one writer at a time (begin, write, keep, drop, sync); reads and removal of old segments
// from any thread beside it. Nobody waits for a removal but another one: it may take a disk's time,
// and the writer is what acknowledgements wait for.

#include "replicator/base/error.hpp"
#include "replicator/format/segment_header.hpp"
#include "replicator/storage/file_system.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace farshore {

struct segment_info {
    std::uint64_t number = 0;
    std::uint64_t bytes = 0; ///< good length, header included
    bool closed = true;      ///< another segment follows it
    bool operator==(const segment_info &) const = default;
};

/// A place in a segment store.
struct segment_place {
    std::uint64_t segment = 0;
    std::uint64_t offset = 0;
    auto operator<=>(const segment_place &) const = default;
};

class segment_store {
  public:
    struct options {
        std::string directory; ///< made if absent
        segment_kind kind = segment_kind::intervals;
        std::uint64_t segment_bytes = 0; ///< a new segment is begun when this is passed
    };
    /// Finds the segments; their content is not looked at. The good length of the last one is its
    /// file's size: the caller scans it and calls cut_after(). Errors: the disk's.
    static result<std::unique_ptr<segment_store>> open(file_system &files, options o);

    /// Removes what such a store left in the directory, unread, whatever state it is in; no store
    /// may be open on it. Not durable: a power cut may bring some of it back.
    static result<> discard(file_system &files, const std::string &directory);

    std::vector<segment_info> segments() const; ///< oldest first, no gaps in the numbers
    /// open() found a segment that had been in use and whose header is damaged: it is gone.
    bool lost_segments() const { return lost_; }
    std::uint64_t used_bytes() const;
    const std::string &directory() const { return options_.directory; }

    /// Reads inside good lengths and what is being written. Errors: the disk's, errc::corrupt
    /// beyond the file's end, errc::not_found for a segment that is gone.
    result<> read(segment_place at, bytes_span out) const;

    /// Where the next record goes; begins a new segment if the last one has passed its size or
    /// can't be written. An error changes nothing that counts.
    result<segment_place> begin();
    /// The next record begins a new segment, which is there, durably, on return. Not inside a
    /// record. An error as begin()'s.
    result<> end_segment();
    /// Writes into the record being written, at `offset` of the last segment. After an error:
    /// drop().
    result<> write(std::uint64_t offset, bytes_view data);
    /// The record being written ends at `offset` and counts.
    void keep(std::uint64_t offset);
    /// Forgets what was written after the last keep().
    void drop();
    /// All kept records are durable on return. A failure is final for the last segment: its good
    /// length goes back to what was synced before, and the next begin() makes a new one.
    result<> sync();
    /// Good length of the last segment that is known to be durable (segment 0: none).
    segment_place synced() const;

    /// Ends the store at this place (inside a segment's good length): later segments are removed,
    /// newest first, and the rest of this one is cut off. {0, 0} removes all. Durable on return.
    /// errc::dead when a failed sync took the place away.
    result<> cut_after(segment_place place);
    /// Removes the segments before `number`, oldest first; never the last one. They may come back
    /// by a power cut. Those that the disk refuses to remove are tried again by the next call.
    result<> remove_before(std::uint64_t number);

  private:
    segment_store(file_system &files, options o) : files_(files), options_(std::move(o)) {}
    struct end_of_log {
        std::uint64_t number = 0;
        std::uint64_t bytes = 0;
    };

    result<> load();
    end_of_log end() const;
    result<> add_segment(end_of_log before);
    result<> remove_file(std::uint64_t number);
    result<> remove_durably(std::uint64_t number);
    void take_front(std::uint64_t number);
    std::string path_of(std::uint64_t number) const;
    result<std::shared_ptr<file>> handle(std::uint64_t number) const;
    result<> open_last_for_writing();

    file_system &files_;
    options options_;
    std::mutex removal_;        ///< taken before mutex_; held over the disk work of a removal
    bool front_durable_ = true; ///< under removal_: no removal from the front can be taken back
    std::vector<segment_info> doomed_; ///< out of segments_, still files, oldest first; under both
    mutable std::mutex mutex_; ///< guards all below; not held over disk work beside the writer
    std::vector<segment_info> segments_;
    std::uint64_t refused_bytes_ = 0; ///< in doomed_, because the disk refused to remove them
    std::shared_ptr<file> last_;      ///< the last segment; null: there is none
    bool writable_ = false;           ///< false: begin() makes a new segment
    bool lost_ = false;
    bool stray_ = false;       ///< a file of the next number may be there
    std::uint64_t tail_ = 0;   ///< end of what was written to the last segment
    std::uint64_t synced_ = 0; ///< good length of the last segment that is durable
    mutable std::vector<std::pair<std::uint64_t, std::shared_ptr<file>>> handles_; ///< recent first
};

} // namespace farshore
