#pragma once
// One session of a sender group with its receiver: a control link and several data links. Sends the
// spool's frames from a position, within the receiver's window, on whichever data link is free;
// hands what the receiver says to callbacks. Any failure of any link ends the whole session; the
// group then connects again and the handshake settles where to go on. What the receiver says is
// looked up in what was asked and sent (peer_claims.hpp) before a callback hears of it; a callback
// may find more that is wrong, and must have changed nothing then.
//
// Thread: home. Lifetime: close() and join() before destruction.

#include "replicator/base/async.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/log/spool.hpp"
#include "replicator/session/envelope.hpp"
#include "replicator/session/heartbeat.hpp"
#include "replicator/session/network.hpp"
#include "replicator/session/peer_claims.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace farshore {

/// To a changed_request, as it comes in.
struct changed_answer {
    bool known = true;
    bool complete = false;
    std::vector<wire::changed_run> runs;
};

class sender_session {
  public:
    struct callbacks {
        std::function<void(const wire::ack &)> on_ack;
        std::function<void(wire::digest_reply)> on_digests;
        std::function<result<>(const wire::extent_reply &)> on_extents;
        std::function<void(const wire::loan_reply &)> on_loans;
        std::function<task<void>(wire::nak)> on_nak;
        std::function<result<>(const wire::verify_result &)> on_verify;
        std::function<void(const wire::notice &)> on_notice;
        std::function<void(const wire::compare_request &)> on_compare; ///< answer() follows
        std::function<result<>(std::uint64_t clock_ms)> on_clock;
        /// The DR site's role, before its welcome; the answer is what this site says of its own.
        std::function<task<result<wire::site_claim>>(wire::site_claim theirs)> on_claim;
        /// For heartbeats: the newest barrier, when it holds all that was written.
        std::function<interval_id()> covered;
        /// The spool holds an interval and can't give it back: the stream ends with it.
        std::function<void(const error &)> on_unreadable;
    };
    using make_connector =
        std::function<result<std::unique_ptr<transport::connector>>(bool control)>;

    sender_session(runtime run, spool &held, callbacks calls);
    ~sender_session();

    /// Connects the control link and greets. A refusal comes back as an error whose text is the
    /// receiver's (errc by code: busy, not_trusted, mismatch, full, ...). `known`: see
    /// check_welcome().
    task<result<wire::welcome>> open(make_connector connect, wire::hello hello, interval_id known);
    /// The same on a control link that the other site made, when both know each other's role. It
    /// makes the data links, too: add_data_link().
    task<result<wire::welcome>> open_on(std::unique_ptr<transport::link> control, wire::hello hello,
                                        interval_id known);
    /// Connects the data links, all at once; of open_on() waits for the first.
    task<result<>> open_data_links(std::uint32_t count);
    /// Takes frames from when it comes.
    void add_data_link(std::unique_ptr<transport::link> link);
    std::uint64_t id() const { return hello_.session; }
    /// Tells the receiver that a new stream begins and waits until it is ready for it.
    task<result<>> begin_stream(stream_id stream, interval_id first, bool copy_went_back = false);
    /// What the copy changed after a barrier, as the receiver knows it; nothing: its history does
    /// not reach back so far.
    task<result<std::optional<std::vector<wire::changed_run>>>> ask_changed(stream_position after);
    /// Begins sending frames of the stream from the position on, as the spool has them.
    void start_sending(stream_id stream, interval_id from, std::uint32_t index);
    task<result<>> ask(wire::digest_request question);
    task<result<>> ask(wire::loan_request question);
    std::size_t loans_unanswered() const { return claims_.loans_unanswered(); }

    task<result<>> send(transport::message m); ///< on the control link
    template <class Message>
    task<result<>> send_control(Message m) {
        return send(envelope_of(m));
    }

    /// Of what on_compare was told; does not wait for the line.
    void answer(wire::compare_reply reply);
    /// Likewise; once in a session. False: it has ended, and nothing went out.
    bool offer(wire::role_offer offer);

    void set_paused(bool paused);
    /// New intervals are in the spool.
    void kick() { sendable_.notify_all(); }
    /// Waits until the session has ended and says why.
    task<error> ended();
    /// Ends it; the first reason counts.
    void close(error reason);
    task<void> join();

    bool live() const { return !end_reason_; }
    /// For path_judge.hpp: something large was answered; something large was sent.
    bool moved() const { return moved_ || claims_.something_journaled(); }
    bool tried() const { return claims_.something_sent() || large_sent_; }
    std::optional<time_point> welcomed_at() const { return welcomed_at_; }
    std::uint64_t wire_bytes() const;
    std::uint64_t unacknowledged_bytes() const { return claims_.bytes_on_the_way(); }
    interval_id sending() const { return next_.interval; }

  private:
    void begin(wire::hello hello);
    task<result<wire::welcome>> greet(interval_id known);
    task<result<>> await_data_link();
    task<result<transport::message>> answer_to_hello();
    task<void> read_control();
    task<void> beat();
    task<void> watch_data_link(std::size_t index);
    task<void> send_frames(std::size_t index);
    task<void> connect_data_link(std::uint32_t index, int &missing);
    task<std::optional<buffer>> next_frame();
    result<> dispatch(const transport::message &m);
    task<result<>> take_nak(const transport::message &m);
    template <class Message>
    task<void> send_and_forget(Message m) {
        co_await send_control(std::move(m));
    }
    result<> take_changed(wire::changed_reply r);

    runtime run_;
    spool &held_;
    callbacks calls_;
    make_connector connect_;
    wire::hello hello_;
    std::unique_ptr<transport::link> control_;
    std::vector<std::unique_ptr<transport::link>> data_;
    task_group tasks_;
    condition ended_;
    condition sendable_;
    condition ready_;
    std::optional<error> end_reason_;
    std::uint64_t ready_stream_ = 0;
    receiver_claims claims_;
    std::optional<changed_answer> changed_; ///< while one is awaited
    std::uint64_t window_bytes_ = 0;
    time_point heard_{};
    std::uint64_t heard_bytes_ =
        0; ///< on the control link; more of them count as a sign of life too
    bool paused_ = false;
    bool moved_ = false;
    bool large_sent_ = false;
    std::optional<time_point> welcomed_at_;

    /// What is sent next.
    struct cursor {
        interval_id interval;
        std::uint32_t index = 0; ///< of its frames
        frame_list frames;       ///< of the interval; none: not loaded
        bool loading = false;    ///< one sender loads them, the others wait
    };
    cursor next_;
    bool sending_ = false; ///< start_sending() was called
};

/// The error a refusal stands for.
error error_of(const wire::refusal &r);
/// Says who it was, where the rule itself doesn't.
error in_words(error e);

} // namespace farshore
