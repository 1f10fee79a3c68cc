#include "replicator/sender/stream_ledger.hpp"
#include "tests/support/aborts.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

constexpr stream_id ours{7};

barrier_info at(std::uint64_t id) { return {interval_id{id}, wall_time(std::chrono::seconds(id))}; }

struct rig {
    stream_ledger ledger;
    rig() {
        ledger.found({stream_id{3}, interval_id{9}});
        ledger.prepare(ours, {stream_id{3}, interval_id{9}});
        ledger.record(interval_id{11});
    }
    newly_durable ack(std::uint64_t durable, std::uint64_t point = 0, stream_id stream = ours) {
        return ledger.take({stream, interval_id{durable}}, {stream, interval_id{durable}},
                           interval_id{point});
    }
};

TEST_SUITE_BEGIN("sites");

TEST_CASE("stream ledger: a stream that begins holds nothing, and its next barrier is its first") {
    rig r;
    CHECK(r.ledger.recorded());
    CHECK(r.ledger.first_held() == interval_id{11});
    CHECK(r.ledger.last_cut().id == interval_id{10});
    CHECK_FALSE(r.ledger.has_point());
    CHECK(r.ledger.order(true) == stream_order::making);
    CHECK(r.ledger.order(false) == stream_order::lost); // capture fell to tracking by itself
}

TEST_CASE("stream ledger: the order is kept from the first consistent barrier on that is durable") {
    rig r;
    r.ledger.cut(at(11), false, 100);
    r.ledger.cut(at(12), true, 200);
    CHECK(r.ledger.point_in_flight());
    auto told = r.ack(11);
    CHECK(told.advanced);
    CHECK_FALSE(told.point);
    CHECK(r.ledger.order(true) == stream_order::making);
    told = r.ack(12);
    REQUIRE(told.first_point);
    CHECK(told.first_point->id == interval_id{12});
    CHECK(r.ledger.order(true) == stream_order::kept);
    CHECK(r.ledger.durable_point() == interval_id{12});
    CHECK(r.ledger.durable_point_time() == at(12).time);
    CHECK_FALSE(r.ledger.point_in_flight());
    r.ledger.cut(at(13), true, 300);
    r.ledger.cut(at(14), true, 300);
    told = r.ack(14);
    CHECK_FALSE(told.first_point);
    CHECK(told.point->id == interval_id{14});
}

TEST_CASE("stream ledger: several points at once, the first is told as the first and the last as "
          "the newest") {
    rig r;
    for (std::uint64_t id = 11; id <= 14; ++id) {
        r.ledger.cut(at(id), id >= 12, 1);
    }
    const auto told = r.ack(13);
    CHECK(told.first_point->id == interval_id{12});
    CHECK(told.point->id == interval_id{13});
    CHECK(r.ledger.point_in_flight()); // 14
}

TEST_CASE("stream ledger: what is not durable is counted until it is") {
    rig r;
    r.ledger.cut(at(11), true, 100);
    r.ledger.cut(at(12), true, 20);
    CHECK(r.ledger.bytes_not_durable() == 120);
    CHECK(r.ledger.not_durable() == 2);
    CHECK(r.ledger.first_held() == interval_id{11});
    r.ack(11);
    CHECK(r.ledger.bytes_not_durable() == 20);
    CHECK(r.ledger.first_held() == interval_id{12});
    r.ack(12);
    CHECK(r.ledger.first_held() == interval_id{13});
    CHECK(r.ledger.durable_barrier().id == interval_id{12});
}

TEST_CASE("stream ledger: an ack of another stream, or of nothing new, makes nothing durable") {
    rig r;
    r.ledger.cut(at(11), true, 1);
    CHECK_FALSE(r.ack(500, 0, stream_id{3}).advanced);
    CHECK(r.ledger.not_durable() == 1);
    rig s;
    s.ledger.cut(at(11), true, 1);
    CHECK_FALSE(s.ack(9).advanced);
    CHECK_FALSE(s.ledger.acknowledged_in_stream());
    CHECK(s.ack(11, 8).advanced);
    CHECK(s.ledger.acknowledged_in_stream());
    CHECK(s.ledger.applied_point() == interval_id{8});
}

TEST_CASE("stream ledger: lost order drops what was cut and keeps what was told") {
    rig r;
    r.ledger.cut(at(11), true, 1);
    r.ack(11, 11);
    r.ledger.cut(at(12), true, 1);
    const std::uint64_t epoch = r.ledger.epoch();
    r.ledger.end();
    CHECK(r.ledger.epoch() != epoch);
    CHECK(r.ledger.order(true) == stream_order::lost);
    CHECK(r.ledger.not_durable() == 0);
    CHECK_FALSE(r.ledger.has_point());
    CHECK_FALSE(r.ledger.acknowledged_in_stream());
    CHECK(r.ledger.durable().interval == interval_id{11});
    CHECK(r.ledger.durable_point_time() == at(11).time);
    CHECK(r.ledger.last_cut().id == interval_id{12}); // the next stream's ids are above it
    CHECK_FALSE(r.ack(12).advanced);                  // late, of the stream that is gone
}

TEST_CASE("stream ledger: ids that don't go up by one, or begin too low, are a bug") {
    CHECK(test::aborts([] { rig().ledger.cut(at(12), true, 1); }));
    CHECK(test::aborts([] {
        rig r;
        r.ledger.cut(at(11), true, 1);
        r.ledger.end();
        r.ledger.prepare(stream_id{8}, {});
        r.ledger.record(interval_id{11});
    }));
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
