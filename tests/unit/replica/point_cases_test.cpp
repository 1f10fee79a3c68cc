#include "replicator/replica/point_cases.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

catalogued_point point(std::uint64_t id, bool pinned = false, const char *name = "") {
    catalogued_point p;
    p.id = interval_id{id};
    p.pinned = pinned;
    p.name = name;
    return p;
}

std::vector<std::uint64_t> ids(const std::vector<catalogued_point> &points) {
    std::vector<std::uint64_t> out;
    for (const catalogued_point &p : points) {
        out.push_back(p.id.value);
    }
    return out;
}

TEST_SUITE_BEGIN("replica");

TEST_CASE("points at open: the table of history and catalogue") {
    const std::vector<catalogued_point> history{point(2), point(4), point(6), point(8)};
    const std::vector<catalogued_point> known{point(1), point(2, true, "quarter"), point(3, true),
                                              point(6), point(9)};
    const settled_points s = settle_points({history, known, interval_id{6}});
    CHECK(ids(s.points) == std::vector<std::uint64_t>{2, 6, 8}); // 4 was let go, 8 is new
    CHECK(s.points[0].pinned);
    CHECK(s.points[0].name == "quarter");
    CHECK(s.gone == std::vector<interval_id>{interval_id{1}, interval_id{3}, interval_id{9}});
    CHECK(s.gone_and_pinned == std::vector<interval_id>{interval_id{3}});
}

TEST_CASE("points at open: without a catalogue all of the history are, without history none") {
    const std::vector<catalogued_point> three{point(1), point(2), point(3)};
    CHECK(ids(settle_points({three, {}, interval_id{}}).points).size() == 3);
    const settled_points none = settle_points({{}, three, interval_id{3}});
    CHECK(none.points.empty());
    CHECK(none.gone.size() == 3);
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
