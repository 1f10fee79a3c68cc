// Whether an image is as it was left: the table of image_cases.hpp.

#include "replicator/replica/image_cases.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

constexpr std::int64_t second = 1'000'000'000;
const image_stamp left{7, 4096, 100 * second, 100 * second};

image_case judge(image_stamp found, own_writes ours = {}, bool has_times = true) {
    return judge_image({has_times, left, found, ours});
}
own_writes between(std::int64_t first, std::int64_t last) {
    own_writes ours;
    ours.add(first);
    ours.add(last);
    return ours;
}

TEST_SUITE_BEGIN("replica");

TEST_CASE("image cases: as it was left, whatever we may have written") {
    CHECK(judge(left) == image_case::as_left);
    CHECK(judge(left, between(101 * second, 102 * second)) == image_case::as_left);
}

TEST_CASE("image cases: each field alone says that it is another one") {
    for (image_stamp found : {image_stamp{8, 4096, left.modified, left.changed},
                              image_stamp{7, 8192, left.modified, left.changed}}) {
        CHECK(judge(found) == image_case::not_as_left);
        CHECK(judge(found, between(101 * second, 102 * second)) == image_case::not_as_left);
        CHECK(disturbed(left, found));
    }
    CHECK(judge({7, 4096, left.modified + 1, left.changed}) == image_case::not_as_left);
    CHECK(judge({7, 4096, left.modified - 1, left.changed}) == image_case::not_as_left);
    CHECK(judge({7, 4096, left.modified, left.changed + 1}) == image_case::doubtful);
    CHECK(judge({7, 4096, left.modified, left.changed - 1}) == image_case::doubtful);
    CHECK(disturbed(left, {7, 4096, left.modified + 1, left.changed + 1}));
    CHECK_FALSE(disturbed(left, {7, 4096, left.modified, left.changed + 1})); // chmod while it runs
}

TEST_CASE(
    "image cases: our own writes lie between the commit and the last undo, and a little more") {
    const own_writes ours = between(103 * second, 110 * second);
    const auto at = [&](std::int64_t t) { return judge({7, 4096, t, t}, ours); };
    CHECK(at(103 * second) == image_case::own_writes);
    CHECK(at(110 * second + own_writes_max) == image_case::own_writes);
    CHECK(at(110 * second + own_writes_max + 1) == image_case::not_as_left);
    CHECK(at(100 * second - 1) == image_case::not_as_left); // an older image
    CHECK(judge({7, 4096, 105 * second, 200 * second}, ours) == image_case::doubtful);
    CHECK(judge({7, 4096, left.modified, 200 * second}, ours) == image_case::doubtful);
    // The clock went back by a minute after the commit.
    CHECK(judge({7, 4096, 41 * second, 41 * second}, between(40 * second, 41 * second)) ==
          image_case::own_writes);
    CHECK(judge({7, 4096, 39 * second, 39 * second}, between(40 * second, 41 * second)) ==
          image_case::not_as_left);
}

TEST_CASE("image cases: a block device proves nothing") {
    CHECK(judge({0, 4096, 0, 0}, {}, false) == image_case::not_proved);
}

TEST_CASE("image cases: each has words") {
    for (const image_case c : {image_case::as_left, image_case::own_writes, image_case::not_proved,
                               image_case::doubtful, image_case::not_as_left}) {
        CHECK_FALSE(to_text(c).empty());
    }
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
