#pragma once
// The first part of a catch-up's scan: runs of holes. For each run of pending regions the DR site
// is asked where its copy has data, as far as the run goes. Where it has none and the volume has
// none either, the regions are settled at once; where only the volume has data, that is recorded
// without asking for digests; where the copy has data, the regions stay pending for the digests. A
// thin volume of any size with little in it so costs a round trip and a look at each extent.
//
// Why the answer can't be overtaken: as with digests (docs/protocol.md). It is about pending
// regions only, with everything applied that was durable when the question came, and no interval of
// the stream touches a pending region before its scan.
//
// Pipelined: several requests of many runs each are on the way. Thread: home; capture's work is
// done on the disk pool.

#include "replicator/base/async.hpp"
#include "replicator/capture/capture_group.hpp"
#include "replicator/session/extents.hpp"

#include <deque>
#include <functional>
#include <map>

namespace farshore {

class hole_scan {
  public:
    struct hooks {
        std::function<task<result<>>(wire::extent_request)> send;
        /// Waits until a piece may be recorded; false: stop.
        std::function<task<bool>()> room;
        digest_function digest;
        /// So many bytes were settled as holes.
        std::function<void(std::uint64_t)> settled;
        /// Before data is recorded: what may make it cheaper (loans) is gathered first.
        std::function<task<void>()> before_data;
    };
    /// `record`: what only the volume has is recorded; else it stays pending.
    hole_scan(capture_group &capture, runtime run, hooks with, bool record);

    /// Until every run of pending regions was asked about (ok), stop() (errc::cancelled) or a
    /// failure, as catch_up_scan::run().
    task<result<>> run();
    /// Errors: the answer is none to a question of this scan; nothing of it was used.
    result<> on_reply(const wire::extent_reply &reply);
    void stop();

  private:
    std::vector<pending_range> gather();
    task<result<>> ask(std::vector<pending_range> ranges);
    task<result<>> work_off(extent_answer answer);
    task<result<>> record(volume_index v, byte_range data);
    struct step {
        std::size_t hole = 0; ///< the one to go on with
        pending_range data;   ///< what of it the volume has; length 0: all holes are done
        std::uint64_t settled = 0;
    };
    static result<step> settle(capture_group &capture, const extent_answer &answer,
                               std::size_t first, std::uint64_t from);

    capture_group &capture_;
    runtime run_;
    hooks with_;
    bool record_;
    condition changed_;
    bool stopped_ = false;
    std::uint64_t next_id_ = 1;
    std::map<std::uint64_t, std::vector<pending_range>> asked_;
    std::deque<extent_answer> answers_;
    std::size_t holes_held_ = 0;      ///< in answers_
    std::deque<pending_range> again_; ///< what an answer had no room for
    std::uint16_t at_volume_ = 0;     ///< where the walk is
    std::uint64_t at_offset_ = 0;
};

} // namespace farshore
