#pragma once
// Bookkeeping of one `verify`: which ranges are still to be compared, which ride in which interval, what
// came back. A range's digest is taken under the range lock and put into the open interval; a client write
// before the barrier drops it and it is tried again, so an answer is always about one exact barrier and
// never a false alarm. Ranges that differ are looked at again more finely (1 MiB -> 64 KiB -> 4 KiB).
//
// Pure bookkeeping; thread: home.

#include "replicator/base/async.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/engine/status.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/group/capture_group.hpp"

#include <deque>
#include <map>
#include <optional>
#include <vector>

namespace farshore::engine {

/// Which ranges the DR site was asked to compare and has not answered: of a run under way, or of one that ended
/// meanwhile. An answer names some of them, or it is no answer.
class verify_questions {
  public:
    void asked(interval_id barrier, const std::vector<verify_entry> &ranges);
    /// fault::peer when it names anything else; nothing has changed then.
    result<> answered(const wire::verify_result &r);
    /// Answers to these went to a session that ended.
    void forget_through(interval_id barrier);
    void clear() { open_.clear(); }

  private:
    std::map<std::uint64_t, std::vector<pending_range>> open_;
};

class verify_run {
  public:
    /// `sizes`: bytes of each volume, in order.
    explicit verify_run(std::vector<std::uint64_t> sizes);

    /// Next ranges to digest into the open interval; at most `max`.
    std::vector<pending_range> take(std::size_t max);
    /// The interval was cut: `kept` are the entries that no client touched.
    void on_cut(interval_id id, const std::vector<verify_entry> &kept);
    /// Every range taken and in no cut since was touched by a client: put back, halved to converge under
    /// load. Call after a cut that follows the last add_verify.
    void put_back_touched();
    /// An answer that verify_questions let through.
    void on_result(const wire::verify_result &r);

    bool waiting() const { return !in_flight_.empty(); }
    bool done() const;
    std::uint64_t done_bytes() const { return done_bytes_; }
    std::uint64_t total_bytes() const { return total_bytes_; }
    interval_id last_barrier() const { return last_barrier_; }
    /// Differing extents, merged, in order of volume and offset.
    std::vector<pending_range> differences() const;
    void fail_with(error e) { failure_ = std::move(e); }
    const std::optional<error> &failure() const { return failure_; }

  private:
    std::vector<std::uint64_t> sizes_;
    std::uint16_t walk_volume_ = 0;
    std::uint64_t walk_offset_ = 0;
    std::deque<pending_range> again_;
    std::vector<pending_range> taken_; ///< added to the open interval, not seen in a cut yet
    std::map<std::uint64_t, std::size_t> in_flight_; ///< interval -> entries without an answer
    std::vector<pending_range> different_;
    std::uint64_t done_bytes_ = 0;
    std::uint64_t total_bytes_ = 0;
    interval_id last_barrier_;
    std::optional<error> failure_;
};

} // namespace farshore::engine
