#pragma once
// Calls a function once when a moment comes, unless the object has gone by then. For operations of
// the system that know no deadline themselves: the function cancels them.

#include "replicator/base/async.hpp"

#include <functional>
#include <memory>

namespace farshore::transport {

class deadline {
  public:
    /// `on_expiry` runs on `home`; what it refers to must live as long as this object.
    deadline(executor home, time_source &time, time_point at, std::function<void()> on_expiry)
        : time_(time), state_(std::make_shared<state>(std::move(home), std::move(on_expiry))) {
        time.arm(state_->timer, at);
        state_->timer.async_wait([s = state_](std::error_code) {
            // Simulated clocks complete with any code, so only `gone` tells.
            if (!s->gone) {
                s->expired = true;
                s->on_expiry();
            }
        });
    }
    ~deadline() {
        state_->gone = true;
        time_.disarm(state_->timer);
        state_->timer.cancel();
    }
    deadline(const deadline &) = delete;
    deadline &operator=(const deadline &) = delete;

    bool expired() const { return state_->expired; }

  private:
    struct state {
        state(executor home, std::function<void()> f)
            : timer(std::move(home)), on_expiry(std::move(f)) {}
        asio::steady_timer timer;
        std::function<void()> on_expiry;
        bool gone = false;
        bool expired = false;
    };
    time_source &time_;
    std::shared_ptr<state> state_;
};

} // namespace farshore::transport
