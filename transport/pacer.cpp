#include "transport/pacer.hpp"

#include <algorithm>

namespace farshore::transport {

pacer::pacer(time_source &time) : time_(time), bucket_(std::nullopt, time.now()) {}

void pacer::set_rate(std::optional<std::uint64_t> bytes_per_second) {
    bucket_.set_rate(bytes_per_second, time_.now());
    changed_.notify_all();
}

task<void> pacer::acquire(std::uint64_t bytes) {
    // The turn is kept over the wait: whoever comes next takes from a bucket without debt, so a
    // small message never waits for more than the one slice before it.
    const auto turn = co_await turn_.acquire();
    duration wait = bucket_.take(bytes, time_.now());
    while (wait > duration::zero()) {
        const duration slice = std::min<duration>(wait, std::chrono::milliseconds(200));
        co_await changed_.wait_until(time_, time_.now() + slice);
        wait = bucket_.debt(time_.now());
    }
}

void pacer::note(std::uint64_t bytes) {
    bucket_.charge(bytes, time_.now(), std::chrono::seconds(1));
}

} // namespace farshore::transport
