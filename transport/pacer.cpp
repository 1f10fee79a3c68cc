#include "transport/pacer.hpp"

#include <algorithm>

namespace farshore::transport {

pacer::pacer(time_source &time) : time_(time), bucket_(std::nullopt, time.now()) {}

void pacer::set_rate(std::optional<std::uint64_t> bytes_per_second) {
    bucket_.set_rate(bytes_per_second, time_.now());
    changed_.notify_all();
}

/// A place in the queue, given up at the end of the coroutine however it ends.
class pacer::place {
  public:
    place(pacer &owner, const void *tenant)
        : owner_(owner), tenant_(tenant), at_(owner.queue_.insert(owner.queue_.end(), this)) {
        if (owner_.served_ == nullptr) {
            owner_.serve_next();
        }
    }
    ~place() {
        owner_.queue_.erase(at_);
        if (owner_.served_ == this) {
            owner_.serve_next();
        }
        owner_.changed_.notify_all();
    }
    place(const place &) = delete;
    place &operator=(const place &) = delete;
    bool is_served() const { return owner_.served_ == this; }
    const void *tenant() const { return tenant_; }

  private:
    pacer &owner_;
    const void *tenant_;
    std::list<place *>::iterator at_;
};

void pacer::serve_next() {
    served_ = nullptr;
    if (queue_.empty()) {
        turns_.clear();
        return;
    }
    const auto last_turn = [this](const place *p) {
        const auto at = turns_.find(p->tenant());
        return at == turns_.end() ? std::uint64_t{0} : at->second;
    };
    served_ = *std::ranges::min_element(queue_, {}, last_turn);
    turns_[served_->tenant()] = ++turn_;
}

task<bool> pacer::acquire(std::uint64_t bytes, std::function<bool()> abandoned,
                          const void *tenant) {
    // The place is kept over the wait: whoever comes next takes from a bucket without debt, so a
    // small message never waits for more than the slices that were before it.
    const place own(*this, tenant);
    while (!own.is_served()) {
        co_await changed_.wait();
        if (abandoned && abandoned()) {
            co_return false;
        }
    }
    duration wait = bucket_.take(bytes, time_.now());
    while (wait > duration::zero()) {
        const duration slice = std::min<duration>(wait, std::chrono::milliseconds(200));
        co_await changed_.wait_until(time_, time_.now() + slice);
        if (abandoned && abandoned()) {
            co_return false;
        }
        wait = bucket_.debt(time_.now());
    }
    co_return true;
}

void pacer::note(std::uint64_t bytes) {
    bucket_.charge(bytes, time_.now(), std::chrono::seconds(1));
}

} // namespace farshore::transport
