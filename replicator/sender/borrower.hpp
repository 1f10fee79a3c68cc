#pragma once
// The one door to loans at the primary: before an interval is encoded, the DR site is asked to copy
// what other groups of the pair have there already; and what this group has is offered to them.
// The arithmetic is in loans.hpp, the index of all groups in pair_index.hpp, the messages in
// docs/protocol.md "Loans".
//
// Thread: home, but for note(). Without an index (a group alone, or `loans = false`) it borrows and
// offers nothing.

#include "dedupe/codec.hpp"
#include "replicator/base/async.hpp"
#include "replicator/capture/capture_group.hpp"
#include "replicator/sender/loans.hpp"
#include "replicator/session/peer_trust.hpp"

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace farshore {

class sender_session;

class borrower {
  public:
    /// `index`: of all groups; null: no loans. `borrows`: false offers only.
    borrower(std::shared_ptr<pair_index> index, bool borrows, runtime run, capture_group &capture);
    borrower(const borrower &) = delete;
    borrower &operator=(const borrower &) = delete;

    /// The group is served: it has a place in the index.
    void join(const std::string &group);
    void set_peer(const std::optional<pinned_peer> &peer);
    /// Offers and rounds under way end soon.
    void end();
    task<void> wait_ended() { return tasks_.join(); }

    // From a session: it ships from here on; until it has ended it may be asked.
    void session_began(sender_session &session, const wire::key32 &key);
    task<void> session_ended();
    void take(const wire::loan_reply &reply);
    /// The DR site has everything up to here, or a stream begins after it.
    void reached(interval_id barrier) { reached_ = barrier; }

    /// What the DR site took from other groups for this interval; waits for its answer, for a
    /// bounded time. Teaches the index what the interval has, on the pool.
    task<std::vector<dedupe::loan>> borrow(std::shared_ptr<interval> taken, executor pool);
    /// Hints of whole blocks, which begin at a block's first byte, serve other groups too. Any
    /// thread.
    void note(std::span<const dedupe::known_place> places);

    /// Puts the volumes' blocks into the index, once in a life, until the time or as many as it
    /// holds.
    void offer_soon(time_point until);
    /// It is at that, and its disk answers.
    bool offers() const;

  private:
    bool may_ask(interval_id interval) const;
    task<std::vector<dedupe::loan>> ask(std::vector<loan_candidate> candidates,
                                        interval_id interval);
    task<void> offer_content(time_point until);
    std::uint64_t offer_piece(volume_index v, byte_range piece);

    std::shared_ptr<pair_index> index_;
    bool borrows_;
    runtime run_;
    capture_group &capture_;
    std::size_t number_ = 0; ///< in the index
    task_group tasks_;
    bool ending_ = false;

    sender_session *session_ = nullptr; ///< ships
    wire::key32 key_{};                 ///< of the newest session
    interval_id reached_;
    bool sending_ = false;            ///< the session must stay
    std::optional<loan_round> round_; ///< while replies are awaited
    std::uint64_t next_id_ = 1;
    loan_patience patience_;
    condition answered_;

    bool offered_ = false;
    std::optional<time_point> offer_read_; ///< since when a read for an offer is under way
};

} // namespace farshore
