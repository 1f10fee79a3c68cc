#pragma once
// A group's grant of the daemon's memory for intervals, and what its stages may hold by it: the
// open interval (which asks for more by itself), what is closed, the spool.
//
// Threads: home; more() from clients' threads, with the lock of the group's capture held.

#include "replicator/capture/capture_group.hpp"
#include "replicator/log/spool.hpp"
#include "replicator/session/fair_grants.hpp"
#include "replicator/session/group_memory.hpp"
#include "replicator/session/memory_pool.hpp"

#include <memory>

namespace farshore {

class group_share {
  public:
    /// `group`: its number in the pool.
    group_share(std::shared_ptr<memory_pool> pool, std::size_t group)
        : pool_(std::move(pool)), group_(group) {}
    ~group_share() { pool_->settle(group_, 0); }
    group_share(const group_share &) = delete;
    group_share &operator=(const group_share &) = delete;

    stage_memory stages() const { return stage_memory_of(pool_->grant(group_)); }
    std::uint64_t grant() const { return pool_->grant(group_); }
    open_memory open() const { return open_of(stages()); }
    /// Alone it has all of the pool for good.
    bool changes() const { return pool_->floor() < pool_->total(); }
    /// For an open interval of so many bytes.
    open_memory more(std::uint64_t open_bytes);

    /// An interval was cut and waits; `bytes` with all that wait.
    void note_closed(std::uint64_t bytes);
    /// For the next division.
    memory_claim claim(time_point now, const capture_group &capture, std::uint64_t closed_bytes,
                       const spool &held);
    /// The outcome of it. What the spool holds beyond its part then waits for spool::tidy().
    void settle(std::uint64_t grant, capture_group &capture, spool &held);

  private:
    static open_memory open_of(const stage_memory &m) {
        return {m.open_bytes_max, m.interval_bytes};
    }

    std::shared_ptr<memory_pool> pool_;
    std::size_t group_;
    std::uint64_t recent_ = 0; ///< the most it needed or asked for lately, as a grant
    time_point forgot_{};      ///< a part of that
};

} // namespace farshore
