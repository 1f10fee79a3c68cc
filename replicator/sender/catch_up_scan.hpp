#pragma once
// The scan of a catch-up: settles runs of holes (hole_scan.hpp), walks the regions that are still
// pending, asks the DR site for digests (up to 1 MiB a digest, then 64 KiB, then 4 KiB where they
// differ), and has capture record what differs into the open interval. Used for initial sync, after
// crashes, after `tracking`, for `resync` and for seeded copies alike.
//
// Pipelined: up to `ahead_bytes_max` of ranges wait for answers, so a long line costs one round
// trip at the start, not one a range. Paced: nothing is recorded while `may_record` says that the
// pipeline is full, so a slow line holds the scan, never a client.
//
// Thread: home; capture's reading and hashing run on the disk pool.

#include "dedupe/digest.hpp"
#include "replicator/base/async.hpp"
#include "replicator/capture/capture_group.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/sender/hole_scan.hpp"

#include <deque>
#include <functional>
#include <map>

namespace farshore {

struct scan_options {
    bool compare = true; ///< false: ship everything, whatever the DR site has (`resync --full`)
    dedupe::digest_key key{};
    /// Called on the disk pool with a range that is the same at the DR site; may be empty.
    std::function<void(const pending_range &)> same;
    std::uint64_t ahead_bytes_max = 64ULL << 20;
    /// Called with the bytes of holes that were settled: they are no part of the work. May be
    /// empty.
    std::function<void(std::uint64_t)> holes;
    /// Awaited once, when only what one side has data of is left. May be empty.
    std::function<task<void>()> before_data;
};

class catch_up_scan {
  public:
    using send_request = std::function<task<result<>>(wire::digest_request)>;
    using send_extent_request = std::function<task<result<>>(wire::extent_request)>;
    /// `overdue`: nothing was recorded for a while. Clients that keep the pipeline full all the
    /// time must not keep the catch-up from ending.
    using may_record = std::function<bool(bool overdue)>;

    catch_up_scan(capture_group &capture, runtime run, scan_options options, send_request send,
                  send_extent_request send_extents, may_record may);

    /// Until no region is pending (ok), stop() (errc::cancelled) or a failure of state or line.
    /// What the volume's disk can't read holds nothing up: the rest of the range is recorded, and
    /// capture remembers which blocks are missing. errc::not_in_sync: capture fell to tracking.
    task<result<>> run();
    /// An answer that fits its request (receiver_claims).
    void on_reply(wire::digest_reply reply);
    result<> on_extents(const wire::extent_reply &reply);
    /// Look again: the pipeline may have room.
    void kick() { changed_.notify_all(); }
    void stop();

  private:
    struct request {
        std::uint64_t unit = 0;
        std::vector<pending_range> ranges;
        std::uint64_t bytes = 0;
    };
    struct answer {
        request asked;
        std::vector<digest16> digests; ///< unit after unit, range after range
    };

    bool gather(request &out);
    task<result<>> ask(request r);
    task<result<>> work_off(answer a);
    task<result<>> record_readable(pending_range piece, error why);
    task<result<>> settle_holes();
    task<void> before_data();
    task<result<>> digest_pass();
    task<result<>> record_pass();
    task<void> wait_for_room();
    task<bool> room_for_piece();

    capture_group &capture_;
    runtime run_;
    scan_options options_;
    send_request send_;
    send_extent_request send_extents_;
    std::unique_ptr<hole_scan> holes_; ///< while it runs
    may_record may_record_;
    time_point recorded_{}; ///< when room was found last
    condition changed_;
    bool data_began_ = false; ///< options_.before_data was called
    bool stopped_ = false;
    std::uint64_t next_id_ = 1;
    std::map<std::uint64_t, request> asked_;
    std::deque<answer> answers_;
    std::uint64_t ahead_bytes_ = 0;
    std::uint16_t at_volume_ = 0; ///< where the walk is
    std::uint64_t at_offset_ = 0;
};

} // namespace farshore
