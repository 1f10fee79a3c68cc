#include "replicator/sender/site_ledger.hpp"

#include <algorithm>
#include <ranges>

namespace farshore {
namespace {

auto beyond(const stream_ledger &stream, interval_id barrier) {
    return stream.held() | std::views::filter([barrier](const stream_ledger::held_barrier &b) {
               return b.barrier.id > barrier;
           });
}

} // namespace

void site_ledger::end() {
    has_through_ = {};
    durable_point_ = {};
    acknowledged_in_stream_ = false;
}

newly_durable site_ledger::take(const stream_ledger &stream, stream_position durable,
                                stream_position applied, interval_id point) {
    newly_durable told;
    if (stream.recorded() && durable.stream == stream.stream() &&
        durable.interval > durable_.interval) {
        told.advanced = true;
        acknowledged_in_stream_ = true;
        for (const stream_ledger::held_barrier &b : beyond(stream, has_through_)) {
            if (b.barrier.id > durable.interval) {
                break;
            }
            durable_barrier_ = b.barrier;
            if (!b.consistent) {
                continue;
            }
            if (!has_point()) {
                told.first_point = b.barrier;
            }
            told.point = b.barrier;
            durable_point_ = b.barrier.id;
            durable_point_time_ = b.barrier.time;
        }
        has_through_ = durable.interval;
    }
    durable_ = durable;
    applied_ = applied;
    applied_point_ = point;
    return told;
}

bool site_ledger::point_in_flight(const stream_ledger &stream) const {
    return std::ranges::any_of(beyond(stream, has_through_),
                               &stream_ledger::held_barrier::consistent);
}

std::size_t site_ledger::not_durable(const stream_ledger &stream) const {
    return static_cast<std::size_t>(std::ranges::distance(beyond(stream, has_through_)));
}

std::uint64_t site_ledger::bytes_not_durable(const stream_ledger &stream) const {
    std::uint64_t sum = 0;
    for (const stream_ledger::held_barrier &b : beyond(stream, has_through_)) {
        sum += b.written_bytes;
    }
    return sum;
}

stream_order order_of(const stream_ledger &stream, const site_ledger &site, bool capture_records) {
    return !stream.recorded() || !capture_records ? stream_order::lost
           : site.has_point()                     ? stream_order::kept
                                                  : stream_order::making;
}

} // namespace farshore
