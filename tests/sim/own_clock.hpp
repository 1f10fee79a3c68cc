#pragma once
// The clock of one site: time passes as everywhere, but what the wall clock shows is its own: set
// wrong, fast or slow, and now and then set anew.

#include "replicator/base/async.hpp"

namespace farshore::sim {

class own_clock final : public time_source {
  public:
    explicit own_clock(time_source &true_time) : true_(true_time), begin_(true_time.now()) {}

    time_point now() const override { return true_.now(); }
    wall_time wall() const override {
        return true_.wall() + offset_ + (true_.now() - begin_) / 1'000'000 * parts_per_million_;
    }
    void arm(asio::steady_timer &timer, time_point deadline) override {
        true_.arm(timer, deadline);
    }
    void disarm(asio::steady_timer &timer) override { true_.disarm(timer); }

    void step(duration d) { offset_ += d; }
    void set_right() { offset_ = {}; }
    void drift(int parts_per_million) { parts_per_million_ = parts_per_million; }

  private:
    time_source &true_;
    time_point begin_;
    duration offset_{};
    int parts_per_million_ = 0;
};

} // namespace farshore::sim
