#pragma once
// What peers and clients can make a daemon hold, in allocated bytes: one account a daemon, a part
// of its `memory` (session/group_memory.hpp). Whoever allocates for a client takes credit first;
// who gets none waits and does not allocate.
//
// Shares: each tenant (a group's server) has its own (base/shares.hpp). A request that is larger
// than any share is let through alone, one in the whole daemon at a time, so the bound is the total
// and one largest request.
//
// No deadlock: who waits holds nothing (wait() gives back first), and who holds is a job that ends
// or a reply whose client takes it or is let go. In order of arrival within a tenant; a waiter whom
// only the common half could serve is not overtaken in it.
//
// Cost: a connection keeps its credit while less than half is given out, so an ordinary request
// compares two numbers. A mutex, since connections live on several loops; taken when a connection
// asks for more or gives back.
//
// Threads: all may call; one credit by one thread at a time. Callbacks run with the mutex held and
// may only post.

#include "replicator/base/shares.hpp"

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>

namespace farshore {

class memory_account : public std::enable_shared_from_this<memory_account> {
  public:
    class share;
    class credit;

    explicit memory_account(std::uint64_t bytes_max) : pool_(bytes_max) {}
    memory_account(const memory_account &) = delete;
    memory_account &operator=(const memory_account &) = delete;

    /// A tenant's place, as long as it lives. Its credits must be gone before it.
    std::shared_ptr<share> open_share();

    /// More than half is given out, a large request has it alone, or somebody waits: idle credit is
    /// given back at once.
    bool tight() const { return tight_.load(std::memory_order_relaxed); }
    std::uint64_t used() const;
    std::size_t waiting() const;
    std::uint64_t bytes_max() const { return pool_.total(); }

  private:
    struct waiter {
        credit *who;
        std::uint64_t bytes;
        std::function<void()> wake;
    };
    bool take_locked(credit &c, std::uint64_t bytes);
    void give_locked(credit &c, std::uint64_t bytes);
    bool queued_of_locked(share_pool::tenant t) const;
    void serve_locked();
    void note_locked();

    mutable std::mutex mutex_;
    share_pool pool_;
    std::list<waiter> waiters_; ///< oldest first
    credit *alone_ = nullptr;   ///< has more than any share
    std::atomic<bool> tight_{false};
};

class memory_account::share {
  public:
    ~share();
    share(const share &) = delete;
    share &operator=(const share &) = delete;

  private:
    friend class memory_account;
    explicit share(std::shared_ptr<memory_account> account) : account_(std::move(account)) {}
    std::shared_ptr<memory_account> account_;
    share_pool::tenant tenant_ = 0;
};

/// One client's or peer's credit.
class memory_account::credit {
  public:
    /// `step`: asked for at a time when it can be had, so that asking is rare.
    credit(std::shared_ptr<share> of, std::uint64_t step) : share_(std::move(of)), step_(step) {}
    ~credit() { release(0); }
    credit(const credit &) = delete;
    credit &operator=(const credit &) = delete;

    std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
    /// True when it holds `bytes` in all, from before or now. Not while it waits.
    bool ensure(std::uint64_t bytes);
    /// Gives back what is beyond `keep`, and leaves the queue.
    void release(std::uint64_t keep);
    /// As release(), when others could use it.
    void release_if_tight(std::uint64_t keep) {
        if (bytes() > keep && share_->account_->tight()) {
            release(keep);
        }
    }
    /// Gives back all of it and queues for `bytes`; `wake` is called when it has them.
    void wait(std::uint64_t bytes, std::function<void()> wake);
    bool waits() const { return waits_.load(std::memory_order_acquire); }

  private:
    friend class memory_account;
    std::shared_ptr<share> share_;
    std::uint64_t step_;
    std::atomic<std::uint64_t> bytes_{0};
    std::atomic<bool> waits_{false};
};

} // namespace farshore
