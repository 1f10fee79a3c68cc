#include "transport/refusal_log.hpp"
#include "transport/tcp.hpp"

#include <doctest/doctest.h>

namespace farshore::transport {

TEST_SUITE("address") {
    TEST_CASE("address: names, IPv4 and bracketed IPv6 with a port") {
        for (const char *text : {"dr.example.com:7420", "10.0.0.1:1", "[::1]:7420",
                                 "[fe80::1]:65535", "localhost:0"}) {
            CAPTURE(text);
            const auto a = parse_address(text);
            REQUIRE(a);
            CHECK(to_text(*a) == text);
        }
        CHECK(parse_address("[::1]:7420")->host == "::1");
    }

    TEST_CASE("address: everything else is invalid, with a reason") {
        for (const char *text :
             {"", "host", ":7420", "host:", "host:x", "host:65536", "host:-1", "host: 1",
              "::1:7420", "[::1]", "[]:1", "[host]:1", "[::1:1", "a b:1", "host:1 ", "host:1x"}) {
            CAPTURE(text);
            const auto a = parse_address(text);
            REQUIRE_FALSE(a);
            CHECK(is(a.error(), errc::invalid));
        }
    }
}

TEST_SUITE("refusal_log") {
    TEST_CASE("refusal_log: one line a second, with the count of those left out") {
        using namespace std::chrono_literals;
        refusal_log log;
        constexpr time_point start{1h};
        CHECK(log.allow(start) == 0);
        CHECK_FALSE(log.allow(start + 1ms));
        CHECK_FALSE(log.allow(start + 999ms));
        CHECK(log.allow(start + 1s) == 2);
        CHECK(log.allow(start + 3s) == 0);
    }
}

} // namespace farshore::transport
