#pragma once
// One client from greeting to goodbye.
//
// Life of a request: its header is parsed and judged (nbd_validate.hpp); a read or write that needs
// no waiting is done at once on the loop's thread, straight between the device and the socket's
// buffers; everything else becomes a job on the disk executor, whose reply returns through a list
// that the loop empties. Replies go out in the order in which they get ready.
//
// A request that is refused is answered when all of it has come: a client that gets the answer to a
// WRITE while it still sends the payload takes the server for broken (libnbd does, with all that is
// in flight). The payload is dropped as it comes, without memory for it; one that is too long even
// for that (nbd_refused_payload_bytes_max) ends the connection, which the protocol allows.
//
// Bounds: requests that are not yet answered (in jobs or as unsent replies) are counted; at
// nbd_inflight_max, or nbd_inflight_bytes_max of payload, the socket is not read until some left.
// One request is always allowed, so this can't lock up. What is allocated for payloads and replies
// is covered by credit from the daemon's account first (base/memory_account.hpp,
// nbd_admission.hpp). A client that owes us something and moves no byte for stuck_max is let go.
//
// Thread: all of it on the loop, but for the job bodies.

#include "replicator/base/limits.hpp"
#include "replicator/base/memory_account.hpp"
#include "replicator/base/seldom.hpp"
#include "replicator/nbd/admission.hpp"
#include "replicator/nbd/negotiation.hpp"
#include "replicator/nbd/reply.hpp"
#include "replicator/nbd/stream.hpp"

#include <algorithm>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace farshore::nbd {

/// What a device copies on the loop's thread; more would keep other clients waiting.
constexpr std::size_t inline_bytes_max = 256 * limits::KiB;
static_assert(inline_bytes_max + sizeof(data_chunk_prefix) <= chunk_bytes);

struct connection_options {
    duration option_timeout = std::chrono::seconds(30); ///< for each step of the negotiation
    duration linger = std::chrono::seconds(10); ///< for a client that left to take its last replies
};

constexpr duration held_look_every = std::chrono::milliseconds(5);

class connection : public std::enable_shared_from_this<connection> {
  public:
    using export_list = std::shared_ptr<const std::vector<export_entry>>;

    connection(unique_fd fd, export_list exports, const executor &loop, executor disk,
               connection_options options,
               std::shared_ptr<memory_account::share> memory = default_client_bounds().memory,
               std::string peer = "a client");

    /// Serves the client; returns when it is gone and nothing of it is left in flight.
    task<void> run();
    /// Reads no more requests; those in flight are answered, then the client is cut off.
    void stop();
    /// Cuts the client off now. Jobs still run to their end.
    void abort();

  private:
    enum class progress : std::uint8_t { done, needs_input, needs_room, needs_turn, held, leave };

    /// A WRITE whose payload is being received into its own buffer, a chunk if it fits one.
    struct incoming_write {
        request header;
        buffer payload;
        std::size_t filled;
    };
    /// A WRITE that will be refused once its payload is through.
    struct refused_write {
        request header;
        wire_error verdict;
        std::size_t left; ///< of the payload
    };
    struct finished_job {
        reply_bytes reply;
        buffer payload; ///< back to the loop's pool
        std::size_t cost = 0;
        std::size_t memory = 0;
        byte_range changed; ///< empty: it changed nothing
    };

    struct lane_write {
        request header;
        buffer payload;
    };

    task<bool> negotiate();
    task<bool> receive_exactly(std::size_t n);
    task<bool> skip(std::uint64_t n);
    task<std::optional<negotiation::outcome>> read_option(negotiation *state);
    void send_bytes(bytes_view bytes);
    void arm_deadline();

    task<void> transmit();
    task<void> drain();
    progress handle_requests();
    progress handle_one();
    progress refuse(const request &r, wire_error verdict);
    progress drop_payload(refused_write &write);
    progress handle_write(const request &r, bytes_view available);
    progress continue_payload(incoming_write &write);
    void handle_read(const request &r);
    bool write_at_once(const request &r, bytes_view data);
    bool zero_at_once(const request &r);
    void start_job(const request &r, buffer payload);
    void start_in_lane(const request &r, buffer payload);
    void post_job(const request &r, buffer payload);
    static byte_range range_changed(const request &r);
    bool must_follow(byte_range changed, std::size_t behind_first) const;
    void start_followers();
    void run_job(const request &r, buffer payload);
    void run_lane();
    void take_finished();
    void reply_success(const request &r);
    void reply_error(const request &r, wire_error e);
    bool may_begin();
    void leave_at_rest();
    bool has_room();
    bool admitted();
    void queue_for_credit(std::size_t bytes);
    std::size_t held_memory() const;
    std::size_t memory_of(const request &r, bool moves_data) const;
    void rest_credit();
    bool at_rest() const { return !incoming_ && jobs_ == 0 && stream_.held_bytes() == 0; }
    void watch();
    void look_after(time_point now);
    static std::size_t memory_of_job(const request &r, std::size_t payload_bytes);
    void count_job(const request &r, const buffer &payload);
    bool receive_now();
    bool receive_spinning();
    bytes_span payload_rest();

    executor loop_;
    executor disk_;
    const export_list exports_;
    const std::string peer_; ///< for messages
    const connection_options options_;
    system_clock clock_;
    condition changed_; ///< replies left, a job ended, or the client was lost
    stream stream_;
    asio::steady_timer deadline_;
    bool leaving_ = false;
    bool negotiating_ = true;

    block_device *device_ = nullptr; ///< kept alive by exports_
    bool entered_ = false;           ///< device_: a request is under way
    export_facts facts_;
    std::optional<incoming_write> incoming_;
    std::optional<refused_write> refused_;
    std::size_t wanted_ = 0;      ///< bytes of input that the next step needs
    std::size_t room_wanted_ = 0; ///< payload of the request that waits for room
    seldom rest_spin_{2, 256};    ///< for the rest of a request
    bool crowd_ = false;          ///< several requests came at once
    std::size_t jobs_ = 0;
    std::size_t job_bytes_ = 0;

    memory_account::credit credit_;
    std::size_t memory_wanted_ = 0; ///< allocated for the request that waits for room
    std::size_t lean_wanted_ = 0;   ///< its data, for admit()
    std::size_t job_memory_ = 0;    ///< allocated for jobs
    std::uint64_t received_ = 0;    ///< bytes of payloads
    std::uint64_t handled_ = 0;     ///< requests
    std::uint64_t handled_then_ = 0;
    bool waits_for_room_ = false;
    bool watched_ = false; ///< look_after() comes
    stuck_watch stuck_;

    // Changes that overlap one under way wait here for its end, in order, and not on a thread of
    // the pool: all of its threads may otherwise wait for the first.
    std::vector<byte_range> changing_;
    std::deque<lane_write> followers_;

    // Jobs hand their replies over here: one wake-up of the loop serves all that are ready by then.
    // A mutex, since several disk threads finish jobs at once; held for a push, a pop or a swap.
    std::mutex jobs_mutex_;
    std::vector<finished_job> finished_;
    // Large writes of a stream, done one at a time while the loop receives the next: two at once
    // would only wait for the file's lock. The first one is being done.
    std::deque<lane_write> lane_;
};

} // namespace farshore::nbd
