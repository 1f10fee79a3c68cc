#pragma once
// What two sides do when they meet: pure functions over what each knows, closed lists of outcomes.
// docs/protocol.md draws the same tables; tests walk all combinations.

#include "replicator/format/messages.hpp"
#include "replicator/format/position.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

// ---- at the sender
// -------------------------------------------------------------------------------

/// What the sender knows of itself when a welcome arrives.
struct sender_facts {
    bool recording = false;                ///< capture holds an unbroken stream
    stream_id stream;                      ///< that stream
    std::optional<interval_id> first_held; ///< oldest interval still held (open one included)
    bool acked_in_stream = false;          ///< the receiver has told something durable of it
    stream_position acknowledged;          ///< newest durable position ever told (persistent)
    wire::id16 receiver{};                 ///< copy that `acknowledged` belongs to; zero: none yet
    interval_id last_used;                 ///< highest interval id ever given out
    std::uint64_t damage_known = 0;        ///< damage count whose blocks are marked dirty here
    stream_id begun;                       ///< the newest stream that was begun here (persistent)
    interval_id sent;                      ///< no barrier of it above this one was ever sent
    /// The three above are the newest ever: remembered in this life, or proved at its start.
    bool exact = false;
};

enum class sender_decision : std::uint8_t {
    resume,   ///< go on with the stream after the receiver's position
    restart,  ///< the stream as a whole from its first interval: the receiver has nothing of it
    catch_up, ///< new stream: compare the dirty regions
    compare_changed, ///< new stream: dirty regions, and what the copy changed after `acknowledged`
    compare_all, ///< new stream: everything is dirty, since the copy isn't what the map counts from
};
const char *name_of(sender_decision d);

struct sender_plan {
    sender_decision decision = sender_decision::compare_all;
    interval_id from;        ///< resume, restart: first interval to send
    std::uint32_t index = 0; ///< resume: first frame of it
    interval_id first;       ///< catch_up, compare_all: id of the new stream's first interval
    bool copy_went_back =
        false;               ///< the DR site is told: images and state of it may be of two moments
    const char *reason = ""; ///< for the log
    bool put_back =
        false; ///< compare_changed: this side is older than it was, or a clone of it ran meanwhile
};

/// Cases, first match wins:
///   receiver's identity is another (or none was known and something was acknowledged) -> compare_all
///   receiver's durable position is older than what it acknowledged before             -> compare_all
///   receiver's durable position is of our stream, and beyond what was made of it       -> compare_all
///   receiver has damage whose blocks we do not know                                    -> compare_all
///   receiver's durable position is ahead of `acknowledged`, and that is not explained
///     by intervals of the newest stream begun here that were sent, as is surely known  -> compare_changed
///   receiver has damage not healed                                                     -> catch_up
///   not recording                                                                      -> catch_up
///   same stream, and everything after its position is held                             -> resume
///   another stream, nothing of ours was ever acknowledged, all of ours is held         -> restart
///   otherwise                                                                          -> catch_up
///
/// Why `acknowledged` may be trusted in the last but one. It is stored before the dirty bits that
/// it allows to clear, so whatever moment of volume and state a snapshot took (one that was put
/// back, or that a clone was started from): a region that is clean in it is as the copy had it at
/// that barrier, or the copy changed it after that. An older `acknowledged` only means to compare
/// more. So the regions to compare are the dirty ones and those that the copy's own history says it
/// changed since; where that does not reach back, all are.
sender_plan plan_session(const sender_facts &mine, const wire::welcome &theirs);

// ---- at the receiver
// -----------------------------------------------------------------------------

struct receiver_facts {
    bool group_configured = false;
    bool pinned = false; ///< the link's fingerprint is the one joined for the group
    bool failed = false;
    bool session_alive = false; ///< a session exists and was heard within the timeout
    wire::id16 session_sender{};
    std::uint64_t session_instance = 0;
    bool has_copy = false;
    std::vector<wire::volume_entry> volumes; ///< of the copy
};

struct hello_verdict {
    bool accept = false;
    bool replaces_session = false; ///< the same sender is back: its old session is closed
    bool creates_copy = false;     ///< first contact: images are made
    wire::refusal_code code = wire::refusal_code::protocol;
    std::string text;
};

/// Cases, first match wins: version or feature unknown -> refuse version; no such group; not
/// pinned; group failed; a live session of another instance -> busy; volumes differ -> refuse
/// volumes; else accept.
hello_verdict judge_hello(const receiver_facts &mine, const wire::hello &theirs);

} // namespace farshore
