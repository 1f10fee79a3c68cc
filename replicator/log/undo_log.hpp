#pragma once
// An undo log of a replica: per applied interval, what blocks that it changed held before. A group
// has two of them: the history behind its recovery points, and the rollback log, which a roll-back
// after a crash needs besides (replica/undo_writer.hpp).
//
// What a record says is true for ever: "before interval k, block b held c". So a record too many
// (written, then the interval was not applied and tried again) does no harm.
//
// It is small in memory: one descriptor a record. Old points need all records after them, so
// records are dropped oldest first, by whole segments: when no point needs them any more, or when
// they were packed (history/packed_store.hpp).
//
// Threads: one writer at a time (begin ... sync, publish, drop_before); reads from any thread.

#include "replicator/format/undo_record.hpp"
#include "replicator/log/segment_store.hpp"
#include "replicator/storage/file_system.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace farshore {

struct undo_log_options {
    std::string directory;
    std::uint64_t segment_bytes = 64ULL << 20;
    /// Segments up to this one are packed (history/packed_store.hpp): open() removes them, unread.
    std::uint64_t covered_segment = 0;
    /// Asked before that many more bytes are written; an error (errc::full) stops the record.
    std::function<result<>(std::uint64_t bytes)> room;
};

struct undo_record {
    undo_header header;
    segment_place place; ///< of the header
};

/// A record with its entry table.
struct undo_table {
    undo_record record;
    std::vector<undo_entry> entries;
};

/// What became of an interval: in the header of its last record.
struct undo_outcome {
    bool consistent = false;
    bool point = false;
    wall_time time{};
    wall_time arrival{};
    std::uint64_t damage_count = 0;
    std::uint64_t healed_count = 0;
};

/// What open() found; input of the recovery cases.
struct undo_evidence {
    bool history_broken =
        false; ///< a record before the commit can't be read: in the history, points older are lost
    bool tail_torn = false;   ///< the log ended in an incomplete record, which was never needed
    bool tail_broken = false; ///< a record after the commit that was durable can't be read
};

/// What of a record can't be read or fails its checksum.
struct undo_faults {
    bool all = false;                ///< header or table: not even which blocks it has is known
    std::vector<undo_entry> entries; ///< raw ones, in their order
    std::string why;
};

class undo_log {
  public:
    /// `committed` and `committed_end`: the last interval that needs no roll-back and where the log
    /// ended then. Records after it are checked in full, those before by their headers only.
    static result<std::unique_ptr<undo_log>> open(file_system &files, undo_log_options options,
                                                  interval_id committed,
                                                  segment_place committed_end);
    const undo_evidence &evidence() const { return evidence_; }

    // Writing one interval: begin, entries in any order, end. Large ones become several records.
    void begin(stream_position position);
    /// Something of the interval is recorded.
    bool begun() const { return open_.begun || part_ > 0; }
    result<> add_zero(volume_index volume, block_index first, std::uint64_t count);
    /// Whole blocks that follow each other.
    result<> add_raw(volume_index volume, block_index first, bytes_view content);
    result<> end(const undo_outcome &outcome);
    /// Ends the record being written; the interval goes on in another one.
    result<> end_part();
    /// Where what failed began, and back to it: forgets the unpublished records after `place`, all
    /// of the interval that is being written.
    segment_place position() const;
    result<> back_to(segment_place place);
    /// Unpublished and published records are durable on return. A failure is final.
    result<> sync();
    /// Records that are complete and not yet published, with their tables.
    const std::vector<undo_table> &fresh() const { return fresh_; }
    std::uint64_t fresh_entries() const { return fresh_entries_; }
    /// What is there is closed, so that it can be packed; a new segment is begun, durably. Not with
    /// fresh records. An error changes nothing but errc::dead, which is a failed sync.
    result<> end_segment();
    /// Makes the fresh ones part of the published ones.
    void publish();

    /// Each published record, oldest first, under a lock: `fn` is short.
    void each(const std::function<void(const undo_record &)> &fn) const;
    std::vector<undo_record> records_after(interval_id id) const;
    /// When the newest published record was written (ns, by the clock that stamps files); 0: there
    /// is none.
    std::int64_t last_written() const;
    /// Published records from this place on, oldest first, at most `max`.
    std::vector<undo_record> records_from(segment_place place, std::size_t max) const;
    result<undo_table> read_table(const undo_record &record) const;
    /// Reads all of a record, past what is damaged: its header as it is on disk, table, contents.
    /// errc::not_found: it was dropped meanwhile. Other errors: the disk's, which say nothing of
    /// the record.
    result<undo_faults> check(const undo_record &record) const;
    /// Calls back for each entry, raw content in hand, checked. Any error of `fn` ends it.
    using entry_visitor = std::function<result<>(const undo_entry &, bytes_view content)>;
    result<> visit(const undo_record &record, const entry_visitor &fn) const;
    /// `count` raw blocks whose entries and contents follow each other from these places; checked:
    /// errc::corrupt.
    result<> read_raw(segment_place entries, segment_place contents, std::uint64_t count,
                      bytes_span out) const;

    /// One block's content, checked against its entry's checksum: errc::corrupt.
    result<> read_content(segment_place contents, std::uint64_t checksum, bytes_span out) const;
    /// Oldest first.
    std::vector<segment_info> segments() const { return store_->segments(); }

    /// Drops whole segments before `segment` that hold only records of intervals before `id`.
    result<> drop_before(interval_id id, std::uint64_t segment);
    /// Drops the segments up to this one and their records, but for the open one: they are packed.
    result<> drop_packed(std::uint64_t segment);
    /// Drops the records after `id`, durably. For recovery, after the roll-back.
    result<> cut_after(interval_id id, segment_place end);
    std::uint64_t used_bytes() const { return store_->used_bytes(); }
    segment_place end_place() const;

  private:
    struct open_record {
        bool begun = false;
        segment_place place;
        std::uint64_t content_bytes = 0;
        std::vector<undo_entry> entries;
    };

    undo_log(file_system &files, undo_log_options options)
        : files_(files), options_(std::move(options)) {}
    result<> scan(interval_id committed, segment_place committed_end);
    result<std::uint64_t> scan_record(const segment_info &segment, std::uint64_t at,
                                      interval_id committed);
    result<> check_contents(const undo_table &table, undo_faults &faults) const;
    bool was_durable(const segment_info &segment, std::uint64_t at) const;
    result<> make_room(std::uint64_t bytes);
    result<> begin_record();
    result<> finish(const undo_outcome *outcome);

    file_system &files_; ///< its clock
    undo_log_options options_;
    std::unique_ptr<segment_store> store_;
    undo_evidence evidence_;

    // The writer's own.
    stream_position interval_;
    std::uint32_t part_ = 0;
    open_record open_;
    std::vector<undo_table> fresh_;
    std::uint64_t fresh_entries_ = 0;

    mutable std::mutex mutex_;
    std::deque<undo_record> records_;
};

} // namespace farshore
