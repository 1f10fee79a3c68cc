#include "replicator/control/json_guard.hpp"

#include <doctest/doctest.h>

namespace farshore::control {

TEST_SUITE("json_guard") {
    TEST_CASE("nesting counts objects and arrays and leaves strings out") {
        CHECK(nesting_of("") == 0);
        CHECK(nesting_of("{}") == 1);
        CHECK(nesting_of("[[{}]]") == 3);
        CHECK(nesting_of("[][][]") == 1);
        CHECK(nesting_of(R"({"a": "[[[["})") == 1);
        CHECK(nesting_of(R"({"a\"[[": 1})") == 1);
        CHECK(nesting_of("]]]][") == 1);
    }

    TEST_CASE("32 levels are parsed and 33 are refused") {
        const auto nested = [](std::size_t n) { return std::string(n, '[') + std::string(n, ']'); };
        CHECK(parse_json(nested(json_depth_max)).has_value());
        const auto refused = parse_json(nested(json_depth_max + 1));
        REQUIRE(!refused);
        CHECK(is(refused.error(), errc::limit));
    }

    TEST_CASE("what is not JSON is refused without an exception") {
        for (const char *text : {"", "{", "{\"a\":}", "nope", "{} {}", "\xff\xfe"}) {
            CAPTURE(text);
            const auto refused = parse_json(text);
            REQUIRE(!refused);
            CHECK(is(refused.error(), errc::invalid));
        }
    }

    TEST_CASE("a document with bytes that are not UTF-8 still becomes a line") {
        const nlohmann::json document{{"name", "a\xff\nb"}};
        const std::string line = to_line(document);
        CHECK(line.find('\n') == std::string::npos);
        CHECK(parse_json(line).has_value());
    }
}

} // namespace farshore::control
