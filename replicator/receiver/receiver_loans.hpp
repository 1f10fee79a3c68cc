#pragma once
// Loans at the DR site: blocks of another group's replica are compared with the digests that the
// sender gives, and those that are equal are kept for the interval that will refer to them.
// docs/protocol.md "Loans".
//
// Two sides. The lender's desk looks: on the lender's own threads and owned by the lender, so that
// a disk of its that hangs holds nothing of the borrower. The borrower's `lending` has the queue
// and the replies; it waits for a look, or for room, for `loan_patience` and then replies without,
// since a sender encodes as usual what it has no answer to.
//
// Thread: home; reads on the lender's disk pool, what is kept on the borrower's.

#include "replicator/base/async.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/receiver/session_host.hpp"
#include "replicator/replica/replica_group.hpp"

#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <vector>

namespace farshore {

/// Of a request in all; a sender waits for 3 s.
constexpr duration loan_patience = std::chrono::seconds(2);

/// Neighbouring blocks of a request, and which of them the lender has. Shared by the read and by
/// who waits for it, for the read may be the one that lasts longer.
struct loan_look {
    std::shared_ptr<const wire::loan_request> request;
    std::size_t first = 0; ///< number in the request
    std::size_t count = 0;
    wire::key32 key{};

    std::vector<std::size_t> equal; ///< numbers in the request
    byte_vector content;            ///< theirs
    bool done = false;              ///< the two above are there; set on home
    condition answered;             ///< done, or nobody waits any more
};

/// Where other groups look into the copy of this one.
class loan_desk {
  public:
    explicit loan_desk(runtime run) : run_(std::move(run)), tasks_(run_.home) {}

    /// Returns at once. `copy`: the lender's.
    void look(std::shared_ptr<replica_group> copy, std::shared_ptr<loan_look> at);
    /// A look has had more time than anybody waits: nothing is asked here until it is over.
    bool hangs() const;
    /// Before the copy is closed; nobody asks any more.
    task<void> join() { co_await tasks_.join(); }

  private:
    task<void> read(std::shared_ptr<replica_group> copy, std::shared_ptr<loan_look> at);

    runtime run_;
    std::list<time_point> begun_; ///< of the looks under way, oldest first
    task_group tasks_;
};

/// What a session asks other groups for.
class lending {
  public:
    using send = std::function<task<result<>>(wire::loan_reply)>;

    /// `copy`: the borrower's.
    lending(session_host &host, runtime run, std::shared_ptr<replica_group> copy, wire::key32 key);

    /// A request that was checked. errc::limit, of the peer: too many wait for their reply.
    result<> ask(wire::loan_request r);
    /// Replies in the order of the requests, until end() or a reply can't be sent.
    task<void> run(send reply);
    void end();

  private:
    task<wire::loan_reply> answer(wire::loan_request r);
    task<bool> look(std::shared_ptr<loan_look> at, time_point until);
    task<result<bool>> keep(std::shared_ptr<loan_look> found, wire::loan_reply &reply,
                            std::uint64_t &granted, time_point until);
    void tell(const std::string &lender, const std::string &why);

    session_host &host_;
    runtime run_;
    std::shared_ptr<replica_group> copy_;
    wire::key32 key_;
    std::deque<wire::loan_request> requests_;
    std::shared_ptr<loan_look> waits_for_; ///< null: for none
    condition wanted_;                     ///< a request, or the end
    bool ended_ = false;
};

} // namespace farshore
