#pragma once
// The interval log: frames of intervals in order, in append-only segment files of one directory.
// Used as the receiver's journal (durable: sync after each barrier) and by the sender's spool (not
// durable).
//
// On disk: files NNNNNNNNNN.seg (a running number), each a segment header (magic, version, number,
// checksum) and then frames back to back. A segment is closed at limits::segment_bytes_max or a
// smaller configured size, only between intervals. docs/formats-log.md "Frame".
//
// At open a frame that fails its checksums ends the log, wherever it stands: order would be broken
// behind it. Whoever relies on more being there (the receiver's commit record) compares durable().
//
// Durability: what was appended before a successful sync() survives a power cut. Opening truncates
// what follows the last complete interval (its barrier frame present, all checksums right). A
// failed write leaves the log as it was before the interval (the partial interval is cut off or its
// segment abandoned); a failed sync is final for that segment: the log goes on only in a new one,
// and intervals since the last good sync are gone from it (durable() says what is left).
//
// Threads: one writer at a time; readers of complete intervals may run beside it (internally
// locked).

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/format/frame.hpp"
#include "replicator/format/position.hpp"
#include "replicator/storage/file_system.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

struct interval_log_options {
    std::string directory; ///< made if absent
    std::uint64_t segment_bytes = 64ULL << 20;
    std::uint64_t bytes_max = 0; ///< append fails with errc::full beyond; 0: none
};

/// One complete interval as the log knows it.
struct interval_entry {
    stream_position position;
    barrier commit;
    std::uint64_t bytes = 0;     ///< frames, headers included
    std::uint64_t raw_bytes = 0; ///< block content that the frames say they stand for
    wall_time arrival{};         ///< of the barrier, where it was stamped
};

/// A run of an interval's frames in one buffer.
struct frame_run {
    buffer bytes;
    std::vector<parsed_frame> frames; ///< payloads are views into `bytes`
};
/// Where read_run() goes on; as made: at the interval's first frame.
struct frame_cursor {
    std::uint64_t offset = 0;
    std::uint32_t index = 0;
};

class interval_log {
  public:
    static result<std::unique_ptr<interval_log>> open(file_system &files,
                                                      interval_log_options options);
    ~interval_log();

    /// open() found damage that is no torn end: intervals that were durable may be gone.
    bool damaged() const;

    /// Appends the next frame of the interval being written; the barrier frame completes it. Rules,
    /// else errc::invalid: the first frame of a new interval has index 0 (or is its barrier),
    /// indices count up, interval ids grow. errc::full / ENOSPC leave the log without the partial
    /// interval.
    result<> append(bytes_view frame);
    /// Whether append() would take the frame as far as these rules go; changes nothing.
    result<> check(bytes_view frame) const;
    /// Drops the frames of an interval that was begun and not completed.
    result<> abandon_partial();
    /// Next frame index of the incomplete interval; nullopt when none is begun.
    struct partial {
        stream_position position;
        std::uint32_t next_index = 0;
    };
    std::optional<partial> incomplete() const;

    /// Makes all complete intervals durable.
    result<> sync();

    std::optional<interval_entry> first() const;    ///< oldest complete interval kept
    std::optional<interval_entry> last() const;     ///< newest complete
    std::optional<stream_position> durable() const; ///< newest complete and synced
    /// Complete intervals after `after`, oldest first, at most `max`.
    std::vector<interval_entry> entries_after(interval_id after, std::size_t max) const;
    /// Of a complete interval's barrier; nothing when the log doesn't hold it.
    std::optional<wall_time> time_of(interval_id id) const;
    /// Of the frames of the complete intervals in (after, upto].
    std::uint64_t bytes_between(interval_id after, interval_id upto) const;
    /// All frames of a complete interval, in order, checksums checked. errc::not_found.
    result<std::vector<buffer>> read(interval_id id) const;

    /// The interval's next frames after the cursor, as many as fit `bytes_max` but at least one;
    /// none at its end (the barrier frame is the last). Checksums are checked. For intervals of any
    /// size.
    result<frame_run> read_run(interval_id id, frame_cursor &cursor, std::size_t bytes_max) const;

    /// Forgets intervals up to and including `upto`; segments with nothing else are deleted.
    result<> drop_through(interval_id upto);
    /// Forgets everything.
    result<> clear();
    std::uint64_t used_bytes() const; ///< on disk

  private:
    interval_log();
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace farshore
