#include "replicator/sender/site_ledger.hpp"
#include "tests/support/aborts.hpp"

#include <doctest/doctest.h>

#include <algorithm>

namespace farshore {
namespace {

constexpr stream_id ours{7};

barrier_info barrier_at(std::uint64_t id) {
    return {interval_id{id}, wall_time(std::chrono::seconds(id))};
}

/// A stream and one DR site that receives it.
struct rig {
    stream_ledger stream;
    site_ledger site;
    rig() {
        site.found({stream_id{3}, interval_id{9}});
        stream.prepare(ours);
        site.begin({stream_id{3}, interval_id{9}});
        stream.record(interval_id{11});
    }
    newly_durable ack(std::uint64_t durable, std::uint64_t point = 0, stream_id of = ours) {
        const newly_durable got = told(site, durable, point, of);
        if (got.advanced) { // it is the only one
            stream.settled_through(site.durable().interval);
        }
        return got;
    }
    newly_durable told(site_ledger &by, std::uint64_t durable, std::uint64_t point = 0,
                       stream_id of = ours) {
        return by.take(stream, {of, interval_id{durable}}, {of, interval_id{durable}},
                       interval_id{point});
    }
    void lose() {
        stream.end();
        site.end();
    }
    stream_order order(bool capture_records) const {
        return order_of(stream, site, capture_records);
    }
};

TEST_SUITE_BEGIN("sites");

TEST_CASE("stream ledger: a stream that begins holds nothing, and its next barrier is its first") {
    rig r;
    CHECK(r.stream.recorded());
    CHECK(r.stream.first_held() == interval_id{11});
    CHECK(r.stream.last_cut().id == interval_id{10});
    CHECK_FALSE(r.site.has_point());
    CHECK(r.order(true) == stream_order::making);
    CHECK(r.order(false) == stream_order::lost); // capture fell to tracking by itself
}

TEST_CASE("stream ledger: the order is kept from the first consistent barrier on that is durable") {
    rig r;
    r.stream.cut(barrier_at(11), false, 100);
    r.stream.cut(barrier_at(12), true, 200);
    CHECK(r.site.point_in_flight(r.stream));
    auto told = r.ack(11);
    CHECK(told.advanced);
    CHECK_FALSE(told.point);
    CHECK(r.order(true) == stream_order::making);
    told = r.ack(12);
    REQUIRE(told.first_point);
    CHECK(told.first_point->id == interval_id{12});
    CHECK(r.order(true) == stream_order::kept);
    CHECK(r.site.durable_point() == interval_id{12});
    CHECK(r.site.durable_point_time() == barrier_at(12).time);
    CHECK_FALSE(r.site.point_in_flight(r.stream));
    r.stream.cut(barrier_at(13), true, 300);
    r.stream.cut(barrier_at(14), true, 300);
    told = r.ack(14);
    CHECK_FALSE(told.first_point);
    CHECK(told.point->id == interval_id{14});
}

TEST_CASE("stream ledger: several points at once, the first is told as the first and the last as "
          "the newest") {
    rig r;
    for (std::uint64_t id = 11; id <= 14; ++id) {
        r.stream.cut(barrier_at(id), id >= 12, 1);
    }
    const auto told = r.ack(13);
    CHECK(told.first_point->id == interval_id{12});
    CHECK(told.point->id == interval_id{13});
    CHECK(r.site.point_in_flight(r.stream)); // 14
}

TEST_CASE("stream ledger: what is not durable is counted until it is") {
    rig r;
    r.stream.cut(barrier_at(11), true, 100);
    r.stream.cut(barrier_at(12), true, 20);
    CHECK(r.site.bytes_not_durable(r.stream) == 120);
    CHECK(r.site.not_durable(r.stream) == 2);
    CHECK(r.stream.first_held() == interval_id{11});
    r.ack(11);
    CHECK(r.site.bytes_not_durable(r.stream) == 20);
    CHECK(r.stream.first_held() == interval_id{12});
    r.ack(12);
    CHECK(r.stream.first_held() == interval_id{13});
    CHECK(r.site.durable_barrier().id == interval_id{12});
}

TEST_CASE("stream ledger: an ack of another stream, or of nothing new, makes nothing durable") {
    rig r;
    r.stream.cut(barrier_at(11), true, 1);
    CHECK_FALSE(r.ack(500, 0, stream_id{3}).advanced);
    CHECK(r.site.not_durable(r.stream) == 1);
    rig s;
    s.stream.cut(barrier_at(11), true, 1);
    CHECK_FALSE(s.ack(9).advanced);
    CHECK_FALSE(s.site.acknowledged_in_stream());
    CHECK(s.ack(11, 8).advanced);
    CHECK(s.site.acknowledged_in_stream());
    CHECK(s.site.applied_point() == interval_id{8});
}

TEST_CASE("stream ledger: lost order drops what was cut and keeps what was told") {
    rig r;
    r.stream.cut(barrier_at(11), true, 1);
    r.ack(11, 11);
    r.stream.cut(barrier_at(12), true, 1);
    const std::uint64_t epoch = r.stream.epoch();
    r.lose();
    CHECK(r.stream.epoch() != epoch);
    CHECK(r.order(true) == stream_order::lost);
    CHECK(r.site.not_durable(r.stream) == 0);
    CHECK_FALSE(r.site.has_point());
    CHECK_FALSE(r.site.acknowledged_in_stream());
    CHECK(r.site.durable().interval == interval_id{11});
    CHECK(r.site.durable_point_time() == barrier_at(11).time);
    CHECK(r.stream.last_cut().id == interval_id{12}); // the next stream's ids are above it
    CHECK_FALSE(r.ack(12).advanced);                  // late, of the stream that is gone
}

TEST_CASE("stream ledger: two DR sites of one stream are told apart, and it holds what either "
          "lacks") {
    rig r;
    site_ledger far;
    far.begin({stream_id{3}, interval_id{9}});
    r.stream.cut(barrier_at(11), true, 10);
    r.stream.cut(barrier_at(12), true, 5);
    r.told(r.site, 12);
    CHECK(r.site.not_durable(r.stream) == 0);
    CHECK(far.not_durable(r.stream) == 2);
    CHECK(far.bytes_not_durable(r.stream) == 15);
    CHECK(order_of(r.stream, far, true) == stream_order::making);
    CHECK(r.told(far, 11).first_point->id == interval_id{11});
    r.stream.settled_through(std::min(far.durable().interval, r.site.durable().interval));
    CHECK(r.stream.held().size() == 1);
    CHECK(r.stream.first_held() == interval_id{12});
    CHECK(r.told(far, 12).point->id == interval_id{12});
    CHECK(far.durable_point_time() == barrier_at(12).time);
}

TEST_CASE("stream ledger: what every DR site has is held no longer") {
    rig r;
    r.stream.cut(barrier_at(11), true, 10);
    r.stream.cut(barrier_at(12), true, 5);
    r.stream.settled_through(interval_id{11});
    CHECK(r.stream.first_held() == interval_id{12});
    CHECK(r.site.not_durable(r.stream) == 1);
    r.stream.settled_through(interval_id{12});
    CHECK(r.stream.first_held() == interval_id{13});
}

TEST_CASE("stream ledger: ids that don't go up by one, or begin too low, are a bug") {
    CHECK(test::aborts([] { rig().stream.cut(barrier_at(12), true, 1); }));
    CHECK(test::aborts([] {
        rig r;
        r.stream.cut(barrier_at(11), true, 1);
        r.lose();
        r.stream.prepare(stream_id{8});
        r.stream.record(interval_id{11});
    }));
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
