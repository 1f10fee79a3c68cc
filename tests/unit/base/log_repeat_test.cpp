#include "replicator/base/log_repeat.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace farshore;
using namespace std::chrono_literals;

TEST_SUITE("log repeats") {
    constexpr time_point start{std::chrono::hours(1000)};

    TEST_CASE("a failure every second for a day is one line an hour, with the count") {
        log::repeats r;
        std::size_t lines = 0;
        std::string last;
        for (int second = 0; second < 24 * 3600; ++second) {
            if (const auto more = r.failed("can't reach", start + std::chrono::seconds(second))) {
                ++lines;
                last = *more;
            }
        }
        CHECK(lines == 24);
        CHECK(last == " (and 3599 times more in the last 60 min)");
    }

    TEST_CASE("begin, change and end are told") {
        log::repeats r;
        CHECK(r.failed("refused", start) == "");
        CHECK_FALSE(r.failed("refused", start + 3s));
        CHECK(r.failed("no route", start + 6s) == "");
        CHECK_FALSE(r.failed("refused", start + 9s));
        CHECK(r.worked(start + 12s) == " after 4 failures in 12 s");
        CHECK_FALSE(r.worked(start + 13s));
        CHECK(r.failed("refused", start + 60s) == "");
    }

    TEST_CASE("nothing failed: nothing ends") {
        log::repeats r;
        CHECK_FALSE(r.worked(start));
    }

    TEST_CASE("what goes on and off is told five times an hour, its ends too") {
        log::repeats r;
        std::size_t begins = 0;
        std::size_t ends = 0;
        for (int i = 0; i < 600; ++i) { // 100 minutes
            begins += r.failed("cut", start + std::chrono::seconds(10 * i)).has_value() ? 1 : 0;
            ends += r.worked(start + std::chrono::seconds(10 * i + 5)).has_value() ? 1 : 0;
        }
        CHECK(begins == 10);
        CHECK(ends == 10);
    }

    TEST_CASE("a peer that varies its words can't fill the log") {
        log::repeats r;
        std::size_t lines = 0;
        for (int i = 0; i < 3500; ++i) {
            lines += r.failed("stranger " + std::to_string(i), start + std::chrono::seconds(i))
                             .has_value()
                         ? 1
                         : 0;
        }
        CHECK(lines == log::repeats::kinds_max + 1);
        // An hour later the places are free again.
        CHECK(r.failed("stranger 5000", start + 2h) == "");
    }
}
