#pragma once
// Shares of something finite (bytes of memory, places for connections, threads of a pool) among
// tenants who do not trust each other. Pure arithmetic.
//
// Rule of the house: every pool, table and queue that several groups use names its tenants and
// their share, so that one of them can fill its share and nothing else. Here half of the whole is
// divided into equal reserves, one a tenant, that nobody else ever gets; the other half is first
// come, first served, of which one tenant among several gets at most half.
//
// Thread: the owner's.

#include "replicator/base/assert.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>

namespace farshore {

class share_pool {
  public:
    using tenant = std::uint64_t; ///< never 0

    explicit share_pool(std::uint64_t total) : total_(total) {}

    /// Reserves become smaller with each tenant, larger when one leaves. What tenants hold stays
    /// theirs: a pool that is over its bounds after a join() gives nothing until it is not.
    tenant join() {
        used_.emplace(++last_, 0);
        count_common();
        return last_;
    }
    /// What it held is given back.
    void leave(tenant t) {
        total_used_ -= used_.at(t);
        used_.erase(t);
        count_common();
    }

    /// False: not now, and nothing was taken.
    bool take(tenant t, std::uint64_t n) {
        std::uint64_t &mine = used_.at(t);
        if (n > most_of_one() || mine > most_of_one() - n) {
            return false;
        }
        const std::uint64_t more = beyond(mine + n) - beyond(mine);
        if (more > 0 && common_used_ + more > common()) {
            return false;
        }
        mine += n;
        total_used_ += n;
        common_used_ += more;
        return true;
    }
    void give(tenant t, std::uint64_t n) {
        std::uint64_t &mine = used_.at(t);
        REPL_ASSERT(n <= mine);
        common_used_ -= beyond(mine) - beyond(mine - n);
        mine -= n;
        total_used_ -= n;
    }

    std::uint64_t total() const { return total_; }
    std::uint64_t used(tenant t) const { return used_.at(t); }
    std::uint64_t used() const { return total_used_; }
    /// The most that one tenant can ever hold at the present number of them.
    std::uint64_t most_of_one() const {
        return used_.size() <= 1 ? total_ : reserve() + common() / 2;
    }
    /// Whether it would get so much more from its reserve alone.
    bool within_reserve(tenant t, std::uint64_t n) const {
        const std::uint64_t mine = used_.at(t);
        return mine <= reserve() && n <= reserve() - mine;
    }

  private:
    std::uint64_t reserve() const { return used_.empty() ? 0 : total_ / 2 / used_.size(); }
    std::uint64_t common() const { return total_ - reserve() * used_.size(); }
    std::uint64_t beyond(std::uint64_t held) const {
        return held > reserve() ? held - reserve() : 0;
    }
    void count_common() {
        common_used_ = 0;
        for (const auto &[t, n] : used_) {
            common_used_ += beyond(n);
        }
    }

    std::uint64_t total_;
    std::uint64_t total_used_ = 0;
    std::uint64_t common_used_ = 0; ///< what tenants hold beyond their reserves
    tenant last_ = 0;
    std::map<tenant, std::uint64_t> used_;
};

} // namespace farshore
