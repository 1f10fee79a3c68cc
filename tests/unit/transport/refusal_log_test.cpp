// Strangers' lines are counted; who is new is named.

#include "transport/refusal_log.hpp"

#include <doctest/doctest.h>

namespace farshore::transport {

using namespace std::chrono_literals;

TEST_SUITE("transport") {
    TEST_CASE("refusals: a line a second, the others counted") {
        refusal_log log;
        time_point now{100h};
        CHECK(log.allow(now) == 0);
        for (int i = 0; i < 270; ++i) {
            CHECK_FALSE(log.allow(now + 500ms));
        }
        CHECK(log.allow(now + 1s) == 270);
        CHECK(log.allow(now + 2s) == 0);
        CHECK(left_out_text(270) == " (270 more refused since the last such line)");
        CHECK(left_out_text(0).empty());
    }

    TEST_CASE(
        "refusals: who is seen for the first time has a line, ten new ones a minute at most") {
        refusal_log log;
        time_point now{100h};
        CHECK(log.allow(now, "a") == 0);
        CHECK_FALSE(log.allow(now, "a"));
        CHECK(log.allow(now, "b") == 1);
        int lines = 0;
        for (int i = 0; i < 1000; ++i) {
            lines += log.allow(now, std::to_string(i)) ? 1 : 0;
        }
        CHECK(lines == 8);
        // Those that had no line are not forgotten as seen.
        CHECK(log.allow(now + 1min, "999").has_value());
        CHECK(log.allow(now + 1min + 1ms, "998").has_value());
        CHECK_FALSE(log.allow(now + 1min + 2ms, "998"));
    }
}

} // namespace farshore::transport
