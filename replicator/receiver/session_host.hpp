#pragma once
// What a session at the DR site needs of its group, and all that it may do to it. Home thread.

#include "replicator/base/async.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/log.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/replica/replica_group.hpp"

#include <memory>
#include <string>

namespace farshore {

class loan_desk;

/// A group as lender: its copy, and where others look into it (receiver_loans.hpp).
struct loan_offer {
    std::shared_ptr<replica_group> copy; ///< null: it lends nothing
    loan_desk *desk = nullptr;           ///< outlives the sessions that ask
};

class session_host {
  public:
    /// The sender's clock; fails for a time that no clock shows.
    virtual result<> clock_heard(std::uint64_t clock_ms) = 0;
    /// All that the primary's clients were answered is in the barrier of this id, as of now.
    virtual void covered_heard(interval_id barrier) = 0;
    /// The arrival of the barrier that is journaled now.
    virtual wall_time stamp() = 0;
    /// Apply looks now whether there is something to do: durable intervals, a suspicion to write
    /// down.
    virtual void apply_soon() = 0;
    /// Apply commits as soon as it can, which gives loans' slots back.
    virtual void commit_soon() = 0;
    /// The site that serves offers that to this one; the session is about to end, whatever comes of
    /// it.
    virtual void offered(const wire::role_offer &offer) = 0;
    /// What is durable as it is acknowledged.
    virtual void note_durable(interval_id newest) = 0;
    /// Returns when the applied position or the suspicion's mark has moved, or at `deadline`.
    virtual task<void> wait_applied(time_point deadline) = 0;
    /// What keeps apply from going on, for the sender's operator; empty: nothing.
    virtual std::string words_for_sender() const = 0;
    /// The disks under the copy failed the session. The host ends it (refuse_soon).
    virtual void storage_failed(error e) = 0;
    /// The sender broke a rule: kept for `status`. The session ends itself.
    virtual void note_peer_fault(const error &rule) = 0;
    /// For the log, unless it was just said; `kind`: the text without what varies.
    virtual void tell(log::level level, const std::string &text, const std::string &kind) = 0;
    virtual const std::string &name() const = 0;
    /// Another group that may lend to this one now.
    virtual loan_offer lender(const std::string &group) = 0;

  protected:
    ~session_host() = default;
};

} // namespace farshore
