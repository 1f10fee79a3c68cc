// Which points a damaged record reaches, against a model that looks each point up by itself.

#include "replicator/replica/damage_reach.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <random>
#include <set>

namespace farshore {
namespace {

TEST_SUITE_BEGIN("replica");

constexpr std::uint64_t blocks = 24;

struct record {
    std::uint64_t interval = 0;
    std::vector<damaged_run> has;
};

bool has_block(const record &r, std::uint64_t b) {
    return std::ranges::any_of(
        r.has, [b](const damaged_run &x) { return x.block <= b && b < x.block + x.count; });
}

/// The record that point `p` takes the block from; the number of records: from the image.
std::size_t taken_from(const std::vector<record> &log, std::uint64_t p, std::uint64_t b) {
    for (std::size_t i = 0; i < log.size(); ++i) {
        if (log[i].interval > p && has_block(log[i], b)) {
            return i;
        }
    }
    return log.size();
}

std::vector<record> random_log(std::mt19937_64 &random) {
    std::vector<record> log;
    std::uint64_t interval = 0;
    for (std::uint64_t n = random() % 8 + 1; n > 0; --n) {
        interval += random() % 3; // 0: another part of the same interval
        record r{std::max<std::uint64_t>(interval, 1), {}};
        for (std::uint64_t m = random() % 4; m > 0; --m) {
            const std::uint64_t first = random() % blocks;
            r.has.push_back({volume_index{0}, first, random() % (blocks - first) + 1});
        }
        log.push_back(std::move(r));
    }
    return log;
}

TEST_CASE("damage reach: exactly the points that take a damaged block, of a record or an image") {
    for (std::uint64_t seed = 0; seed < 3000; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        const std::vector<record> log = random_log(random);
        const std::uint64_t newest = log.back().interval;
        const std::size_t which = random() % (log.size() + 1); // the last: the image
        const bool image = which == log.size();
        std::vector<damaged_run> spoilt;
        if (image) {
            spoilt = {{volume_index{0}, random() % blocks, 1}};
        } else {
            spoilt = log[which].has;
        }
        const interval_id to{image ? newest + 1 : log[which].interval};
        damage_reach reach(spoilt, to);
        for (std::size_t i = which; i-- > 0;) {
            for (const damaged_run &r : log[i].has) {
                reach.older(interval_id{log[i].interval}, r);
                reach.older(interval_id{log[i].interval}, {volume_index{1}, r.block, r.count});
            }
        }
        const auto marks = reach.marks();
        std::set<std::pair<std::uint64_t, std::uint64_t>> marked; // point, block
        for (const damage_mark &m : marks) {
            CHECK(m.run.volume == volume_index{0});
            for (std::uint64_t b = m.run.block; b < m.run.block + m.run.count; ++b) {
                for (std::uint64_t p = 0; p <= newest; ++p) {
                    if (m.points.has(interval_id{p})) {
                        CHECK(marked.emplace(p, b).second);
                    }
                }
            }
        }
        const record what{0, spoilt};
        for (std::uint64_t b = 0; b < blocks; ++b) {
            for (std::uint64_t p = 0; p <= newest; ++p) {
                const bool needs = has_block(what, b) && taken_from(log, p, b) == which;
                CHECK(marked.contains({p, b}) == needs);
            }
        }
    }
}

TEST_CASE("damage reach: a block of another volume is another block") {
    const std::array spoilt{damaged_run{volume_index{1}, 5, 1}};
    damage_reach reach(spoilt, interval_id{9});
    reach.older(interval_id{7}, {volume_index{0}, 0, 100});
    reach.older(interval_id{6}, {volume_index{2}, 0, 100});
    CHECK_FALSE(reach.settled());
    reach.older(interval_id{4}, {volume_index{1}, 0, 100});
    CHECK(reach.settled());
    const auto marks = reach.marks();
    REQUIRE(marks.size() == 1);
    CHECK(marks[0].points == point_span{interval_id{4}, interval_id{9}});
}

TEST_CASE("damage reach: spans are merged, empty ones left out, and found") {
    const auto span = [](std::uint64_t a, std::uint64_t b) {
        return point_span{interval_id{a}, interval_id{b}};
    };
    const auto all = merged({span(8, 9), span(1, 3), span(5, 5), span(2, 4), span(4, 5)});
    REQUIRE(all.size() == 2);
    CHECK(all[0] == span(1, 5));
    CHECK(all[1] == span(8, 9));
    CHECK(span_of(all, interval_id{0}) == nullptr);
    CHECK(span_of(all, interval_id{1}) == &all[0]);
    CHECK(span_of(all, interval_id{4}) == &all[0]);
    CHECK(span_of(all, interval_id{5}) == nullptr);
    CHECK(span_of(all, interval_id{8}) == &all[1]);
    CHECK(span_of(all, interval_id{9}) == nullptr);
    CHECK(span_of({}, interval_id{9}) == nullptr);
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
