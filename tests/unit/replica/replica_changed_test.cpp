// What the copy says it changed after a barrier: never too little; nothing at all where its undo
// does not reach back.

#include "replicator/base/geometry.hpp"
#include "tests/unit/replica/replica_test_rig.hpp"

#include <doctest/doctest.h>

#include <map>

namespace farshore {
namespace {

bool contains(const std::vector<region_run> &runs, std::uint16_t volume, std::uint64_t region) {
    return std::ranges::any_of(runs, [&](const region_run &r) {
        return r.volume.value == volume && region >= r.first && region < r.first + r.count;
    });
}

/// Regions that differ and are not named.
std::size_t missing(const std::vector<region_run> &runs, const test::image_set &then,
                    const test::image_set &now) {
    std::size_t count = 0;
    for (std::uint16_t v = 0; v < now.size(); ++v) {
        for (std::uint64_t r = 0; r < region_count(now[v].size()); ++r) {
            const byte_range at = range_of(region_index{r}, now[v].size());
            const bool same = std::equal(now[v].begin() + static_cast<std::ptrdiff_t>(at.offset),
                                         now[v].begin() + static_cast<std::ptrdiff_t>(at.end()),
                                         then[v].begin() + static_cast<std::ptrdiff_t>(at.offset));
            count += !same && !contains(runs, v, r) ? 1 : 0;
        }
    }
    return count;
}

} // namespace

TEST_SUITE_BEGIN("replica");

TEST_CASE("replica: what changed after a point is named region by region") {
    rig r;
    r.write();
    const interval_id then = r.model.position().interval;
    CHECK(r.group->changed_since(then).value().empty());
    r.take(r.delta_to(33)); // volume 0, region 2
    r.take(r.delta_to(34));
    CHECK(r.group->changed_since(then).value() == std::vector<region_run>{{volume_index{0}, 2, 1}});
    CHECK(r.group->changed_since(next(then)).value() ==
          std::vector<region_run>{{volume_index{0}, 2, 1}});
    CHECK(r.group->changed_since(r.model.position().interval).value().empty());
    CHECK_FALSE(r.group->changed_since(interval_id{}));
}

TEST_CASE("replica: over random lives, whatever changed after a barrier is named, or the history "
          "is said to be too short") {
    std::size_t known = 0;
    std::size_t unknown = 0;
    std::size_t of_no_stream = 0;
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        CAPTURE(seed);
        rig r;
        for (std::uint64_t i = 0; i < seed; ++i) {
            static_cast<void>(r.model.below(2)); // another life
        }
        r.options.retain = {{std::chrono::seconds(3), std::chrono::seconds(20)}};
        r.open();
        constexpr std::uint64_t oldest = 1;
        std::map<std::uint64_t, stream_id> streams;
        for (int step = 0; step < 60; ++step) {
            switch (r.model.below(10)) {
            case 0:
                REQUIRE(r.group->commit());
                break;
            case 1:
                REQUIRE(r.group->retain(wall_time(
                    std::chrono::seconds(1'000'000 + r.model.position().interval.value))));
                break;
            case 2:
                r.open();
                REQUIRE(test::apply_all(*r.group)); // as whoever asks waits for
                break;
            case 3:
                r.model.begin_stream();
                break;
            default:
                r.write(1 + r.model.below(4), primary_model::plain(r.model.below(3) != 0));
                break;
            }
            const std::uint64_t last = r.model.position().interval.value;
            for (std::uint64_t i = last; i > 0 && !streams.contains(i); --i) {
                streams[i] = r.model.position().stream;
            }
            if (last < oldest) {
                continue;
            }
            const interval_id id{oldest + r.model.below(last - oldest + 1)};
            const auto changed = r.group->changed_since(id);
            changed ? ++known : ++unknown;
            CHECK_FALSE(r.group->changed_since({stream_id{streams[id.value].value + 1}, id}));
            const auto of_stream = r.group->changed_since({streams[id.value], id});
            of_no_stream += changed && !of_stream ? 1 : 0;
            CHECK((!of_stream || of_stream == changed));
            if (changed) {
                CHECK(missing(*changed, r.model.at(id), r.model.now()) == 0);
            }
        }
    }
    CHECK(known > 300);
    CHECK(unknown > 10);
    CHECK(of_no_stream * 20 < known);
}

TEST_SUITE_END();

} // namespace farshore
