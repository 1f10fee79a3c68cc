#pragma once
// What a peer may say in a session, given what was asked and what is known: the right column of the
// table in format/messages.hpp. Pure bookkeeping; every error is fault::peer, names field, value
// and bound, and leaves everything as it was: whoever calls looks here first and changes something
// of its own afterwards.

#include "replicator/base/error.hpp"
#include "replicator/format/frame.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/session/config.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace farshore {

// ---- at the sender: a receiver's words
// -------------------------------------------------------------

/// `known`: the highest interval id ever given out or acknowledged here.
result<> check_welcome(const wire::welcome &theirs, interval_id known);

class receiver_claims {
  public:
    /// `volume_sizes`: of the group, in bytes.
    explicit receiver_claims(std::vector<std::uint64_t> volume_sizes = {})
        : sizes_(std::move(volume_sizes)) {}

    // What this side did.
    void greeted(const wire::welcome &theirs);
    void asked(const wire::begin_stream &question) { beginning_ = question.stream; }
    void asked(const wire::digest_request &question);
    void asked(const wire::loan_request &question) {
        loans_.emplace(question.id, question.blocks());
    }
    void sends_stream(stream_id stream) { stream_ = stream; }
    void sent_bytes(std::uint64_t bytes) { sent_bytes_ += bytes; }
    void sent_through(interval_id complete) {
        sent_through_ = complete;
    } ///< its barrier is on its way

    // What the receiver said.
    result<> answered(const wire::stream_ready &answer);
    result<> answered(const wire::digest_reply &answer);
    result<> answered(const wire::loan_reply &answer);
    result<> take(const wire::ack &said);
    result<> take(const wire::nak &said);
    /// It may ask this, now: `offered` to answer, nothing of it unanswered, inside a volume.
    result<> may_ask(const wire::compare_request &question, bool offered);
    void answers(const wire::compare_reply &) { comparing_ = false; }

    std::uint64_t bytes_on_the_way() const { return sent_bytes_ - journaled_bytes_; }
    bool something_sent() const { return sent_bytes_ > 0; }
    bool something_journaled() const { return journaled_bytes_ > 0; }
    std::size_t loans_unanswered() const { return loans_.size(); }

  private:
    result<> check_durable(stream_position said) const;

    std::vector<std::uint64_t> sizes_;
    stream_position durable_;
    stream_position applied_;
    std::uint64_t damage_count_ = 0;
    stream_id stream_;
    interval_id sent_through_;
    std::uint64_t sent_bytes_ = 0;
    std::uint64_t journaled_bytes_ = 0;
    bool comparing_ = false;                         ///< compare_request without an answer
    std::optional<std::uint64_t> beginning_;         ///< begin_stream without an answer
    std::map<std::uint64_t, std::uint64_t> digests_; ///< requests without an answer: their units
    std::map<std::uint64_t, std::uint64_t> loans_;   ///< the same: their blocks
};

// ---- at the receiver: a sender's words
// -------------------------------------------------------------

/// Before the first image of a copy is made: number, names and sizes are the operator's to allow.
/// errc::mismatch, with the key to change.
result<> check_new_volumes(const std::vector<wire::volume_entry> &wanted,
                           const receiver_group_config &allowed);

result<> check_begin_stream(const wire::begin_stream &said, stream_position durable);
/// `volume_sizes`: of the copy.
result<> check_digest_request(const wire::digest_request &said,
                              const std::vector<std::uint64_t> &volume_sizes);
/// `next`: the interval that is awaited.
result<> check_loan_request(const wire::loan_request &said, interval_id next);
/// `damage_count`: of the copy.
result<> check_barrier(const barrier &said, std::uint64_t damage_count);

/// How many units of `unit` bytes the ranges have.
std::uint64_t units_of(const wire::digest_request &request);

} // namespace farshore
