#pragma once
// Loans, the sender's side: which blocks of an interval another group of the pair may have at the
// DR site, the requests for them, and what the replies grant. docs/protocol.md "Loans". Pure,
// except that find_candidates() teaches the index.

#include "dedupe/codec.hpp"
#include "dedupe/digest.hpp"
#include "replicator/base/clock.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/seldom.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/sender/pair_index.hpp"

#include <deque>
#include <map>
#include <span>
#include <vector>

namespace farshore {

/// Fewer are not worth the round trip.
constexpr std::size_t loan_candidates_min = 16;

/// A catch-up of so much is worth reading the other groups' volumes.
constexpr std::uint64_t offers_bytes_min = 64 * limits::MiB;
/// And a delay of so much.
constexpr duration offers_time_max = std::chrono::seconds(60);

struct loan_candidate {
    volume_index volume; ///< of the interval's block
    block_index block;
    pair_index::place lender;
    dedupe::range_digest digest;
};

/// The data blocks of an interval that the index knows elsewhere, in order of place; then puts all
/// of them into the index. Empty when there are fewer than loan_candidates_min.
std::vector<loan_candidate> find_candidates(pair_index &index, std::size_t group,
                                            std::span<const block_change> changes,
                                            const dedupe::digest_key &key);

/// One round of requests and replies for one interval.
class loan_round {
  public:
    /// `next_id`: of the first request.
    loan_round(std::vector<loan_candidate> candidates, interval_id interval,
               const pair_index &index, std::uint64_t next_id);

    const std::vector<wire::loan_request> &requests() const { return requests_; }
    /// A reply that fits its request (receiver_claims). Those of earlier rounds are ignored.
    void take(const wire::loan_reply &reply);
    bool complete() const { return asked_.empty(); }
    std::size_t asked_blocks() const { return candidates_.size(); }
    /// What was granted so far, in order of place.
    std::vector<dedupe::loan> granted() const;

  private:
    std::vector<loan_candidate> candidates_;
    std::vector<wire::loan_request> requests_;
    std::map<std::uint64_t, std::vector<std::size_t>> asked_; ///< by request: its candidates
    std::vector<dedupe::loan> granted_;
};

/// Whether to ask for the next interval: a round that brought less than half of what was asked did
/// not pay.
class loan_patience {
  public:
    bool worth_it() { return rounds_.turn(); }
    void outcome(std::size_t asked, std::size_t granted) {
        granted * 2 >= asked ? rounds_.paid() : rounds_.missed();
    }

  private:
    seldom rounds_{2, 64};
};

} // namespace farshore
