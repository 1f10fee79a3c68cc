#pragma once
// The receiving end of a session: control link and data links of one sender instance, frames put in
// order and into the journal, acknowledgements, answers for the catch-up scan.
//
// It works on the copy that was open when it began; a copy is opened anew only when no session is
// left. Any rule broken by the peer or failure of a link ends the session and nothing else; a
// failure of the disks is the host's to deal with (session/reaction.hpp).
//
// Thread: home. Held by the group until serve() returns.

#include "replicator/base/async.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/receiver/receiver_loans.hpp"
#include "replicator/receiver/session_host.hpp"
#include "replicator/session/envelope.hpp"
#include "replicator/session/frame_assembly.hpp"
#include "transport/link.hpp"

#include <deque>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

namespace farshore {

class receiver_session {
  public:
    struct terms {
        std::shared_ptr<replica_group> copy;
        wire::key32 digest_key{};
        std::uint64_t window_bytes = 0;
    };

    /// `host` outlives serve().
    receiver_session(session_host &host, runtime run, terms over,
                     std::unique_ptr<transport::link> control, wire::hello hello);
    ~receiver_session();

    /// Greets and serves until the session ends; the copy is let go then.
    task<void> serve();
    void add_data_link(std::unique_ptr<transport::link> link);
    void close(const char *why);
    /// Ends the session after telling the sender why; after `refusal_patience` also if that can't
    /// be told.
    task<void> refuse(wire::refusal_code code, std::string text);
    /// The same, for callers that have other things to do than to wait for a line.
    void refuse_soon(wire::refusal_code code, std::string text);

    /// Blocks that are wrong, answers to a verify: an acknowledgement must not overtake them.
    task<void> tell(wire::nak n);
    task<void> tell(wire::verify_result v);
    /// Damage without a list of blocks, unless the sender was told of it by its count.
    void tell_damage_soon(std::uint64_t damage_count);
    /// Text for the sender's operator.
    void tell_soon(std::string text);
    /// Has the sender compare a range of the copy at barriers, and ship again what differs; one at
    /// a time. Returns when all answers of it are in barriers that were applied here.
    /// errc::unsupported: an older sender, which can't; errc::not_in_sync: not now, and why;
    /// errc::closed: the session ended. The caller shares the session meanwhile.
    task<result<>> compare(volume_index volume, byte_range range);
    /// An acknowledgement of the newest position; the caller doesn't wait until the line takes it.
    void ack_soon();

    bool live() const { return phase_ != phase::closed; }
    /// Heard within the timeout.
    bool responsive() const;
    time_point heard_at() const { return heard_; }
    const wire::hello &greeting() const { return hello_; }
    std::uint64_t wire_bytes() const;
    const std::string &address() const { return control_->peer_address(); }
    const std::string &fingerprint() const { return control_->peer_fingerprint(); }

  private:
    enum class phase : std::uint8_t {
        live,
        refusing, ///< the sender is being told why it ends
        closed,
    };

    wire::welcome make_welcome();
    template <class Message>
    task<result<>> send(Message m) {
        return send_message(envelope_of(m));
    }
    template <class Message>
    task<void> send_and_forget(Message m) {
        co_await send(std::move(m));
    }
    task<result<>> send_message(transport::message m);
    task<void> read_control();
    task<void> read_data(std::size_t index);
    task<void> beat();
    task<void> end_unheard();
    /// What a failure leads to, by whose fault it is (reaction.hpp). Doesn't wait for the line to
    /// take the words.
    void react(error e);
    void peer_broke(const error &rule);

    task<result<>> dispatch(transport::message m);
    task<result<>> take(wire::begin_stream m);
    result<> take(wire::digest_request r);
    result<> take(wire::extent_request r);
    result<> take(wire::changed_request r);
    result<> take(wire::loan_request r);
    result<> take(wire::compare_reply r);
    task<result<>> suspect_durably();

    task<void> journal_loop();
    task<result<>> journal_ready();
    task<void> send_ack();
    task<void> ack_while_wanted();

    // receiver_questions.cpp
    std::vector<std::uint64_t> volume_sizes() const;
    task<void> question_loop();
    /// Until everything is applied that is durable now, or the session ends.
    task<void> copy_as_durable();
    task<result<>> answer(wire::digest_request r);
    task<result<>> answer(wire::extent_request r);
    task<void> tell_changed(wire::changed_request r);

    session_host &host_;
    runtime run_;
    terms over_;
    std::unique_ptr<transport::link> control_;
    std::vector<std::unique_ptr<transport::link>> data_;
    wire::hello hello_;
    frame_assembly assembly_;
    task_group tasks_;
    phase phase_ = phase::live;
    bool ack_wanted_ = false;
    bool acking_ = false;     ///< ack_while_wanted() runs
    bool telling_ = false;    ///< tell_changed() runs
    bool offered_ = false;    ///< the sender's role, once in a session
    bool journaling_ = false; ///< an append or sync is under way
    time_point heard_{};
    std::uint64_t heard_bytes_ =
        0; ///< on all links; more of them are a sign of life even within a long frame
    std::uint64_t journaled_bytes_ = 0; ///< as frames count in the window
    /// By nak, verify answer or welcome; the rest is told with the next welcome.
    std::uint64_t damage_told_ = 0;
    std::deque<std::variant<wire::digest_request, wire::extent_request>>
        questions_; ///< about the copy
    /// compare_request without an answer.
    struct comparison {
        bool open = false;
        std::uint64_t id = 0; ///< of the last one
        std::optional<wire::compare_reply> reply;
        condition answered;
    };
    comparison comparison_;
    lending loans_;
    condition frames_; ///< frames arrived, or the end
    condition questions_wanted_;
    condition quiet_; ///< the journal is not being written
    condition ended_;
};

} // namespace farshore
