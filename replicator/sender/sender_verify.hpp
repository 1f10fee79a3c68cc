#pragma once
// Bookkeeping of one `verify`: which ranges are still to be compared, which ride in which interval,
// what came back. A range's digest is taken under the range lock and put into the open interval; a
// client write before the barrier drops it and it is tried again, so an answer is always about one
// exact barrier and never a false alarm. Ranges that differ are looked at again more finely (1 MiB
// -> 64 KiB -> 4 KiB).
//
// Holes of the primary are ranges of up to 2 GiB: they are compared by the extents of both sides
// (capture_group::add_verify_hole). A range longer than 1 MiB is always one; a hole that differs,
// or that is none any more, is looked at in sixteen parts.
//
// Pure bookkeeping; thread: home.

#include "replicator/base/async.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/capture/capture_group.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/session/status.hpp"

#include <deque>
#include <map>
#include <optional>
#include <vector>

namespace farshore {

/// Which ranges the DR site was asked to compare and has not answered: of a run under way, or of
/// one that ended meanwhile. An answer names some of them, or it is no answer.
class verify_questions {
  public:
    void asked(interval_id barrier, const std::vector<verify_entry> &ranges);
    /// fault::peer when it names anything else; nothing has changed then. False: of a barrier that
    /// nobody waits for.
    result<bool> answered(const wire::verify_result &r);
    /// The answers went, or go, to a session that ended.
    void forget_through(interval_id barrier);
    void clear() { open_.clear(); }

  private:
    std::map<std::uint64_t, std::vector<pending_range>> open_;
    std::uint64_t forgotten_ = 0; ///< up to here
};

class verify_run {
  public:
    /// `sizes`: bytes of each volume, in order.
    explicit verify_run(std::vector<std::uint64_t> sizes);
    /// Of this range alone; its volume exists.
    verify_run(std::vector<std::uint64_t> sizes, const pending_range &part);

    /// Next ranges to look at for the open interval: at most `max`, and about `bytes_max` of those
    /// that are read. Fewer when wants_data() is true then.
    std::vector<pending_range> take(std::size_t max, std::uint64_t bytes_max);
    /// The walk goes on when data_is() tells where the volume has data next.
    std::optional<pending_range> wants_data() const;
    /// As file::next_data; it need not be true any more.
    void data_is(byte_range data);
    /// A range that was taken is no hole.
    void no_hole(const pending_range &r);
    static bool is_hole(const pending_range &r);
    /// The interval was cut: `kept` are the entries that no client touched.
    void on_cut(interval_id id, const std::vector<verify_entry> &kept);
    /// Every range taken and in no cut since was touched by a client: put back, halved to converge
    /// under load. Call after a cut that follows the last add_verify.
    void put_back_touched();
    /// Whether it asked something at this barrier and waits for an answer.
    bool knows(interval_id barrier) const { return in_flight_.contains(barrier.value); }
    /// An answer that verify_questions let through.
    void on_result(const wire::verify_result &r);

    bool waiting() const { return !in_flight_.empty(); }
    bool done() const;
    std::uint64_t done_bytes() const { return done_bytes_; }
    std::uint64_t total_bytes() const { return total_bytes_; }
    interval_id last_barrier() const { return last_barrier_; }
    /// Differing extents, merged, in order of volume and offset.
    std::vector<pending_range> differences() const;
    /// What is known to differ, as finely as it is known: for a catch-up to heal.
    std::vector<pending_range> to_heal() const;
    /// An answer's damage count, and what was known before: whether all of it is of this run.
    void note_damage(std::uint64_t count, std::uint64_t known);
    /// Up to this count all damage is of this run, or was known before; 0: it found none.
    std::uint64_t damage_through() const { return damage_through_; }
    void fail_with(error e) { failure_ = std::move(e); }
    const std::optional<error> &failure() const { return failure_; }

  private:
    pending_range next_piece();
    void look_at_parts(const pending_range &r);

    std::vector<std::uint64_t> sizes_;
    std::uint16_t walk_volume_ = 0;
    std::uint64_t walk_offset_ = 0;
    std::optional<byte_range>
        walk_data_; ///< next data of the volume at or after walk_offset_; length 0: none
    std::deque<pending_range> again_;
    std::vector<pending_range> taken_; ///< added to the open interval, not seen in a cut yet
    std::map<std::uint64_t, std::size_t> in_flight_; ///< interval -> entries without an answer
    std::vector<pending_range> different_;
    std::vector<pending_range> coarse_; ///< different, and asked about in parts
    std::uint64_t damage_through_ = 0;
    std::uint64_t done_bytes_ = 0;
    std::uint64_t total_bytes_ = 0;
    interval_id last_barrier_;
    std::optional<error> failure_;
};

} // namespace farshore
