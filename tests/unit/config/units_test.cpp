#include "replicator/config/suggest.hpp"
#include "replicator/config/units.hpp"

#include <doctest/doctest.h>

namespace farshore {

TEST_SUITE("units") {
    TEST_CASE("sizes carry binary or decimal units") {
        CHECK(parse_size("1KiB") == 1024);
        CHECK(parse_size("512MiB") == 512ULL << 20);
        CHECK(parse_size("20GiB") == 20ULL << 30);
        CHECK(parse_size("2TiB") == 2ULL << 40);
        CHECK(parse_size("3kB") == 3000);
        CHECK(parse_size("3MB") == 3'000'000);
        CHECK(parse_size("3GB") == 3'000'000'000);
        CHECK(parse_size("3TB") == 3'000'000'000'000);
        CHECK(parse_size("1.5GiB") == 1536ULL << 20);
        CHECK(parse_size("20 GiB") == 20ULL << 30);
    }

    TEST_CASE("a number without a unit, a unit without a number and other texts are refused") {
        for (const char *text : {"512", "", "MiB", "-1MiB", "1.MiB", ".5MiB", "1e3MiB", "1MiBs",
                                 "1MiB ", "1 Mi B", "0x10MiB", "1,5MiB", "20G", "20gib"}) {
            CAPTURE(text);
            const auto refused = parse_size(text);
            REQUIRE(!refused);
            CHECK(is(refused.error(), errc::invalid));
        }
    }

    TEST_CASE("a unit in the wrong case is named") {
        const auto refused = parse_size("20GIB");
        REQUIRE(!refused);
        CHECK(refused.error().context.find("did you mean GiB?") != std::string::npos);
    }

    TEST_CASE("what does not fit 63 bits is refused, the largest is read") {
        CHECK(parse_size("8388607TiB") == 8388607ULL << 40);
        CHECK(!parse_size("8388608TiB"));
        CHECK(!parse_size("99999999999999999999TiB"));
        CHECK(!parse_duration("1000000000000d"));
    }

    TEST_CASE("rates are bytes per second, from bits or bytes") {
        CHECK(parse_rate("40Mbit/s") == 5'000'000);
        CHECK(parse_rate("8kbit/s") == 1000);
        CHECK(parse_rate("1Gbit/s") == 125'000'000);
        CHECK(parse_rate("8bit/s") == 1);
        CHECK(parse_rate("5MiB/s") == 5ULL << 20);
        CHECK(parse_rate("1.5Mbit/s") == 187'500);
        CHECK(!parse_rate("40Mbit"));
        CHECK(!parse_rate("40MiB"));
        CHECK(!parse_rate("0Mbit/s"));
        CHECK(!parse_rate("7bit/s"));
    }

    TEST_CASE("a limit may be unlimited") {
        CHECK(!parse_limit("unlimited").value().has_value());
        CHECK(!parse_limit("none").value().has_value());
        CHECK(parse_limit("8Mbit/s").value().value_or(0) == 1'000'000);
        CHECK(!parse_limit("infinite"));
    }

    TEST_CASE("times carry units") {
        using namespace std::chrono_literals;
        CHECK(parse_duration("250ms") == duration(250ms));
        CHECK(parse_duration("1s") == duration(1s));
        CHECK(parse_duration("5m") == duration(5min));
        CHECK(parse_duration("24h") == duration(24h));
        CHECK(parse_duration("7d") == duration(168h));
        CHECK(parse_duration("0.5s") == duration(500ms));
        CHECK(!parse_duration("5"));
        CHECK(!parse_duration("5min"));
        CHECK(!parse_duration("-5m"));
    }

    TEST_CASE("retention rules are a spacing and an age") {
        using namespace std::chrono_literals;
        const auto all = parse_retain("all 1h");
        REQUIRE(all);
        CHECK(all->spacing == duration::zero());
        CHECK(all->age == duration(1h));
        const auto thinned = parse_retain("1m 24h");
        REQUIRE(thinned);
        CHECK(thinned->spacing == duration(1min));
        CHECK(thinned->age == duration(24h));
        for (const char *text :
             {"", "all", "1h", "all  ", "1h 1m", "1h 1h", "0s 1h", "all 1h 2h", "every 1h"}) {
            CAPTURE(text);
            CHECK(!parse_retain(text));
        }
    }

    TEST_CASE("quantities are written for people") {
        CHECK(format_bytes(0) == "0 B");
        CHECK(format_bytes(1023) == "1023 B");
        CHECK(format_bytes(1024) == "1.0 KiB");
        CHECK(format_bytes(1536ULL << 20) == "1.5 GiB");
        CHECK(format_bytes((1ULL << 20) - 1) == "1.0 MiB");
        CHECK(format_rate(5'000'000) == "40.0 Mbit/s");
        CHECK(format_rate(1) == "8 bit/s");
        CHECK(format_seconds(0.84) == "0.8 s");
        CHECK(format_seconds(125) == "2 m 05 s");
        CHECK(format_seconds(3600 * 3 + 60 * 20) == "3 h 20 m");
        CHECK(format_seconds(86400 * 2 + 3600 * 4) == "2 d 4 h");
        CHECK(format_seconds(-1) == "-");
    }

    TEST_CASE("the nearest word is proposed, a far one is not") {
        CHECK(nearest("intervall", {"interval", "spool", "rate"}) == "interval");
        CHECK(nearest("Peer", {"name", "peer"}) == "peer");
        CHECK(nearest("statsu", {"status", "open"}) == "status");
        CHECK(nearest("zebra", {"interval", "spool"}).empty());
    }
}

} // namespace farshore
