#pragma once
// The receiving end of a session: control link and data links of one sender instance, frames put in
// order and into the journal, acknowledgements, digests for the catch-up scan.
//
// Any rule broken by the peer or failure of a link ends the session. Thread: home. Kept alive by
// the group until join().

#include "replicator/base/async.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/receiver/receiver_group.hpp"

#include <deque>
#include <memory>
#include <variant>
#include <vector>

namespace farshore {

class receiver_session {
  public:
    receiver_session(receiver_group &group, runtime run, std::unique_ptr<transport::link> control,
                     wire::hello hello, std::uint64_t window_bytes);
    ~receiver_session();

    /// Greets and serves until the session ends.
    task<void> serve(wire::welcome welcome);
    void add_data_link(std::unique_ptr<transport::link> link);
    template <class Message>
    task<result<>> send(Message m) {
        transport::message out;
        out.type = static_cast<std::uint16_t>(Message::type);
        out.payload = wire::encode(m);
        return send_message(std::move(out));
    }
    void close(const char *why);
    /// Ends the session after telling the sender why; after `refusal_patience` also if that can't
    /// be told.
    task<void> refuse(wire::refusal_code code, std::string text);
    /// The same, for callers that have other things to do than to wait for a line.
    void refuse_soon(wire::refusal_code code, std::string text);
    /// The sender broke a rule: logged, told to it, and the session ends. Nothing else is touched.
    void peer_broke(const error &rule);
    /// Text for the sender's operator, or blocks that are wrong; likewise.
    void tell_soon(std::string text);
    void tell_soon(wire::nak n);
    /// An acknowledgement of the newest position; the caller doesn't wait until the line takes it.
    void ack_soon();

    bool live() const { return !closed_; }
    /// Heard within the timeout.
    bool responsive() const;
    const wire::hello &greeting() const { return hello_; }
    std::uint64_t journaled_bytes() const { return journaled_bytes_; }
    std::uint64_t wire_bytes() const;
    const std::string &address() const { return control_->peer_address(); }
    const std::string &fingerprint() const { return control_->peer_fingerprint(); }

  private:
    task<result<>> send_message(transport::message m);
    task<void> read_control();
    task<void> read_data(std::size_t index);
    task<void> beat();
    task<void> end_unheard();
    task<void> ack_while_wanted();
    task<void> journal_loop();
    task<void> digest_loop();
    task<void> loan_loop();
    task<result<wire::loan_reply>> lend(wire::loan_request r);
    std::vector<std::uint64_t> volume_sizes() const;
    task<result<>> dispatch(transport::message m);
    task<result<>> begin_stream(wire::begin_stream m);
    task<result<>> suspect_durably(std::shared_ptr<replica_group> copy);
    task<result<wire::digest_reply>> digest(wire::digest_request r);
    task<void> tell_changed(wire::changed_request r);
    task<result<>> answer(wire::digest_request r);
    task<result<>> answer(wire::extent_request r);
    task<result<wire::extent_reply>> look_for_data(wire::extent_request r);
    /// Until everything is applied that is durable now, or the session ends; the copy, or null.
    task<std::shared_ptr<replica_group>> copy_as_durable();
    task<result<>> journal_ready();

    receiver_group &group_;
    runtime run_;
    std::unique_ptr<transport::link> control_;
    std::vector<std::unique_ptr<transport::link>> data_;
    wire::hello hello_;
    const std::uint64_t window_bytes_;
    frame_assembly assembly_;
    task_group tasks_;
    bool closed_ = false;
    bool refusing_ = false;
    bool ack_wanted_ = false;
    bool acking_ = false;     ///< ack_while_wanted() runs
    bool telling_ = false;    ///< tell_changed() runs
    bool journaling_ = false; ///< an append or sync is under way
    time_point heard_{};
    std::uint64_t heard_bytes_ =
        0; ///< on all links; more of them are a sign of life even within a long frame
    std::uint64_t journaled_bytes_ = 0; ///< as frames count in the window
    std::deque<std::variant<wire::digest_request, wire::extent_request>>
        questions_; ///< about the copy
    std::deque<wire::loan_request> loans_;
    condition loans_wanted_;
    condition frames_; ///< frames arrived, or the end
    condition digests_wanted_;
    condition quiet_; ///< the journal is not being written
    condition ended_;
};

} // namespace farshore
