#pragma once
// What a scrub reads, piece by piece: one source for each part of a copy. A source only reads and
// says what can't be trusted; what that means for points is replica_group::note_damage's.
//
// Threads: one at a time, one that may block. The group outlives its sources.

#include "replicator/base/error.hpp"
#include "replicator/log/segment_store.hpp"
#include "replicator/replica/damage_reach.hpp"
#include "replicator/replica/replica_group.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace farshore {

class interval_log;
class packed_store;
class replica_images;
class undo_log;

/// Something that can't be read, or fails its checksum.
struct scrub_damage {
    scrub_part part = scrub_part::journal;
    /// History: the record's, and its place in the log; {}: it is packed. Journal: the interval
    /// that is damaged.
    interval_id interval;
    segment_place place;
    /// History: not even which blocks the record has can be read.
    bool all = false;
    std::vector<damaged_run> runs;
    std::string why;
};

struct scrub_piece {
    std::uint64_t read_bytes = 0;
    std::vector<scrub_damage> damaged;
    bool end = false; ///< nothing is left
};

class scrub_source {
  public:
    virtual ~scrub_source() = default;
    /// About what next() reads in all, from the beginning.
    virtual std::uint64_t total_bytes() const = 0;
    /// Reads on, some `bytes_max` bytes: a whole record at least. What retention drops meanwhile is
    /// left out. Errors: the disk's, but for what is damage.
    virtual result<scrub_piece> next(std::uint64_t bytes_max) = 0;
    /// Where another source of the same kind may go on: not beyond what was read.
    virtual std::uint64_t place() const = 0;
};

/// Whether a read that failed so says that the bytes are lost.
bool is_damage(const error &e);

/// Complete intervals after the applied one. `place`: an interval.
std::unique_ptr<scrub_source> make_journal_source(const interval_log &journal,
                                                  std::function<interval_id()> applied,
                                                  std::uint64_t place);
/// Packed stretches, then records of intervals up to the committed one, which nothing takes back.
/// `place`: a segment of undo, packed or not.
std::unique_ptr<scrub_source> make_history_source(const undo_log &history,
                                                  const packed_store &packed,
                                                  std::function<interval_id()> committed,
                                                  std::uint64_t place);
/// What the images have data of, for errors of their disk only. `place`: volume and byte.
std::unique_ptr<scrub_source> make_image_source(const replica_images &images, std::uint64_t place);

} // namespace farshore
