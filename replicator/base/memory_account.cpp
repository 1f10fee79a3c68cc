#include "replicator/base/memory_account.hpp"

#include <set>

namespace farshore {

std::shared_ptr<memory_account::share> memory_account::open_share() {
    std::shared_ptr<share> made(new share(shared_from_this()));
    const std::lock_guard lock(mutex_);
    made->tenant_ = pool_.join();
    return made;
}

memory_account::share::~share() {
    const std::lock_guard lock(account_->mutex_);
    account_->pool_.leave(tenant_);
    account_->serve_locked();
}

std::uint64_t memory_account::used() const {
    const std::lock_guard lock(mutex_);
    return pool_.used() + (alone_ != nullptr ? alone_->bytes() : 0);
}

std::size_t memory_account::waiting() const {
    const std::lock_guard lock(mutex_);
    return waiters_.size();
}

bool memory_account::queued_of_locked(share_pool::tenant t) const {
    return std::ranges::any_of(waiters_,
                               [t](const waiter &w) { return w.who->share_->tenant_ == t; });
}

void memory_account::note_locked() {
    tight_.store(!waiters_.empty() || alone_ != nullptr || pool_.used() > pool_.total() / 2,
                 std::memory_order_relaxed);
}

bool memory_account::take_locked(credit &c, std::uint64_t bytes) {
    if (c.bytes() + bytes > pool_.most_of_one()) {
        if (alone_ != nullptr || c.bytes() > 0) {
            return false;
        }
        alone_ = &c;
    } else if (alone_ == &c || !pool_.take(c.share_->tenant_, bytes)) {
        return false;
    }
    c.bytes_.fetch_add(bytes, std::memory_order_relaxed);
    note_locked();
    return true;
}

void memory_account::give_locked(credit &c, std::uint64_t bytes) {
    if (bytes > 0 && alone_ == &c) {
        bytes = c.bytes(); // all or nothing: it belongs to no share
        alone_ = nullptr;
    } else if (bytes > 0) {
        pool_.give(c.share_->tenant_, bytes);
    }
    c.bytes_.fetch_sub(bytes, std::memory_order_relaxed);
}

void memory_account::serve_locked() {
    std::set<share_pool::tenant> passed_over;
    bool common_awaited = false;
    for (auto w = waiters_.begin(); w != waiters_.end();) {
        const share_pool::tenant t = w->who->share_->tenant_;
        const bool allowed =
            !passed_over.contains(t) && (!common_awaited || pool_.within_reserve(t, w->bytes));
        if (allowed && take_locked(*w->who, w->bytes)) {
            w->who->waits_.store(false, std::memory_order_release);
            w->wake();
            w = waiters_.erase(w);
            continue;
        }
        passed_over.insert(t);
        common_awaited = common_awaited || w->bytes <= pool_.most_of_one();
        ++w;
    }
    note_locked();
}

bool memory_account::credit::ensure(std::uint64_t bytes) {
    const std::uint64_t have = this->bytes();
    if (bytes <= have) {
        return true;
    }
    memory_account &account = *share_->account_;
    const std::lock_guard lock(account.mutex_);
    const std::uint64_t exact = bytes - have;
    const share_pool::tenant t = share_->tenant_;
    if (!account.waiters_.empty() &&
        (account.queued_of_locked(t) || !account.pool_.within_reserve(t, exact))) {
        return false; // those who came before have their turn
    }
    const std::uint64_t ample = std::max(exact, step_);
    const bool have_time = !account.tight() && have + ample <= account.pool_.most_of_one();
    return (have_time && account.take_locked(*this, ample)) || account.take_locked(*this, exact);
}

void memory_account::credit::release(std::uint64_t keep) {
    if (bytes() <= keep && !waits()) {
        return;
    }
    memory_account &account = *share_->account_;
    const std::lock_guard lock(account.mutex_);
    if (waits()) {
        std::erase_if(account.waiters_, [this](const waiter &w) { return w.who == this; });
        waits_.store(false, std::memory_order_release);
    }
    if (bytes() > keep && (account.alone_ != this || keep == 0)) {
        account.give_locked(*this, bytes() - keep);
    }
    account.serve_locked();
}

void memory_account::credit::wait(std::uint64_t bytes, std::function<void()> wake) {
    release(0);
    memory_account &account = *share_->account_;
    const std::lock_guard lock(account.mutex_);
    waits_.store(true, std::memory_order_release);
    account.waiters_.push_back({this, bytes, std::move(wake)});
    account.serve_locked();
}

} // namespace farshore
