// What a point tells of the writes since an older one, against a model of all states.

#include "replica_test_rig.hpp"
#include "replicator/base/geometry.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

namespace farshore {
namespace {

/// Blocks that the devices say changed, and that they say did not.
void check_changes(const open_replica_point &point, const test::image_set &before,
                   const test::image_set &after, std::uint64_t &told) {
    for (std::size_t v = 0; v < point.devices.size(); ++v) {
        block_device &device = *point.devices[v];
        std::uint64_t at = 0;
        while (at < device.size()) {
            const auto extents = device.status({at, device.size() - at}, status_context::dirty, 3);
            REQUIRE(extents.has_value());
            REQUIRE_FALSE(extents->empty());
            for (const status_extent &e : *extents) {
                if (e.flags == 0) {
                    CHECK(std::equal(before[v].begin() + static_cast<std::ptrdiff_t>(at),
                                     before[v].begin() + static_cast<std::ptrdiff_t>(at + e.length),
                                     after[v].begin() + static_cast<std::ptrdiff_t>(at)));
                } else {
                    told += e.length;
                }
                at += e.length;
            }
        }
    }
}

} // namespace

TEST_CASE("replica: every block that differs is told as changed since any older point") {
    rig r;
    r.open();
    for (int i = 0; i < 12; ++i) {
        r.write(i % 4);
        if (i % 3 == 0) {
            REQUIRE(r.group->commit().has_value());
        }
    }
    const auto points = r.group->points();
    REQUIRE(points.size() >= 8);
    for (std::size_t old = 0; old < points.size(); ++old) {
        std::uint64_t last = 0;
        for (std::size_t at = old; at < points.size(); ++at) {
            const auto opened = r.group->open_point(points[at].id, false, points[old].id);
            REQUIRE(opened.has_value());
            CHECK(opened->devices[0]->changed_since() == std::to_string(points[old].id.value));
            std::uint64_t told = 0;
            check_changes(*opened, r.model.at(points[old].id), r.model.at(points[at].id), told);
            CHECK(told >= last); // since the same point more and more
            last = told;
            if (at == old) {
                CHECK(told == 0);
            }
        }
    }
}

TEST_CASE("replica: what changed since is refused of newer points and of unknown ones") {
    rig r;
    r.open();
    r.write(3);
    r.write(3);
    const auto points = r.group->points();
    REQUIRE(points.size() >= 2);
    CHECK(is(r.group->open_point(points[0].id, false, points[1].id).error(), errc::invalid));
    CHECK(is(r.group->open_point(points[1].id, false, interval_id{0}).error(), errc::not_found));
    CHECK_FALSE(r.group->open_point(points[1].id)->devices[0]->has_dirty_context());
}

} // namespace farshore
