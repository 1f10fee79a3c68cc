#include "replicator/roles/lineage.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

lineage ancestry(std::initializer_list<std::uint64_t> ids) {
    std::vector<generation> all;
    for (const std::uint64_t id : ids) {
        all.push_back({generation_id{id}, {stream_id{id}, interval_id{id * 10}}});
    }
    auto l = lineage::of(std::move(all));
    REQUIRE(l);
    return *l;
}

} // namespace

TEST_SUITE("lineage") {
    TEST_CASE("how one stands to another") {
        const lineage one = ancestry({1, 2});
        CHECK(one.to(ancestry({1, 2})) == kinship::same);
        CHECK(one.to(ancestry({1, 2, 3})) == kinship::older);
        CHECK(one.to(ancestry({1})) == kinship::newer);
        CHECK(one.to(ancestry({1, 3})) == kinship::forked);
        CHECK(one.to(ancestry({4, 5})) == kinship::unrelated);
        CHECK(one.to(ancestry({2, 1})) == kinship::contradicting);
        CHECK(one.to(ancestry({2})) == kinship::contradicting);
        CHECK(one.to(ancestry({1, 3, 2})) == kinship::contradicting);
        CHECK(one.to(lineage()) == kinship::newer);
        CHECK(lineage().to(one) == kinship::older);
        CHECK(lineage().to(lineage()) == kinship::same);
    }

    TEST_CASE("the same generation, left at another barrier, contradicts") {
        const auto other = lineage::of({{generation_id{1}, {stream_id{1}, interval_id{10}}},
                                        {generation_id{2}, {stream_id{2}, interval_id{21}}}});
        REQUIRE(other);
        CHECK(ancestry({1, 2}).to(*other) == kinship::contradicting);
        CHECK(other->to(ancestry({1, 2})) == kinship::contradicting);
        CHECK(ancestry({1, 2}).shared_with(*other) == ancestry({1}));
    }

    TEST_CASE("children and parents") {
        const lineage one = ancestry({1});
        const auto two = one.child(generation_id{2}, {stream_id{2}, interval_id{20}});
        REQUIRE(two);
        CHECK(*two == ancestry({1, 2}));
        CHECK(two->parent() == one);
        CHECK(two->newest() == generation_id{2});
        CHECK(one.parent().blank());
        CHECK(lineage().parent().blank());
        CHECK(is(two->child(generation_id{1}, {}).error(), errc::invalid));
        CHECK(is(two->child(generation_id{0}, {}).error(), errc::invalid));
        CHECK(ancestry({1, 2, 3}).shared_with(ancestry({1, 2, 4})) == ancestry({1, 2}));
    }

    TEST_CASE("so many generations and no more") {
        lineage l;
        for (std::size_t i = 0; i < generations_max; ++i) {
            auto longer = l.child(generation_id{i + 1}, {});
            REQUIRE(longer);
            l = *longer;
        }
        CHECK(is(l.child(generation_id{5000}, {}).error(), errc::limit));
    }
}

} // namespace farshore
