#include "replicator/hook/answer.hpp"
#include "replicator/hook/hook_limits.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace farshore::hook;
using nlohmann::json;
using std::chrono::milliseconds;

TEST_SUITE("hook") {
    TEST_CASE("answer: the lines of the protocol") {
        facts known;
        known.add("lsn", "0/16B3748");
        CHECK(json::parse(frozen_line(milliseconds(12), known)) ==
              json{{"event", "frozen"}, {"freeze_ms", 12}, {"facts", {{"lsn", "0/16B3748"}}}});
        CHECK(json::parse(failed_line("no")) == json{{"event", "failed"}, {"message", "no"}});
        CHECK(json::parse(expired_line("no")) == json{{"event", "expired"}, {"message", "no"}});
        CHECK(json::parse(released_line({true, milliseconds(231), known, ""})) ==
              json{{"event", "released"},
                   {"proved", true},
                   {"frozen_ms", 231},
                   {"facts", {{"lsn", "0/16B3748"}}},
                   {"message", ""}});
        CHECK(json::parse(released_line({}))["facts"] == json::object());
    }
    TEST_CASE("answer: one line, whatever the words are") {
        const std::string line = failed_line("a\nb\r\x1B[2J\xFF" + std::string(1000, 'x'));
        CHECK(line.find('\n') == line.size() - 1);
        const std::string text = json::parse(line)["message"];
        CHECK(text.size() <= limits::message_bytes_max);
        CHECK(text.starts_with("a\\nb\\r\\x1b[2J\\xff"));
    }
    TEST_CASE("answer: facts have bounds") {
        facts known;
        known.add("long", std::string(1000, 'v'));
        CHECK(known.all()[0].second.size() <= limits::fact_value_bytes_max);
        known.add("long", "short");
        REQUIRE(known.all().size() == 1);
        CHECK(known.all()[0].second == "short");
        known.add("", "nothing");
        for (std::size_t i = 0; i < 2 * limits::facts_max; ++i) {
            known.add("k" + std::to_string(i), "v");
        }
        CHECK(known.all().size() == limits::facts_max);
    }
    TEST_CASE("answer: facts that are all quotes still fit the line") {
        facts known;
        for (std::size_t i = 0; i < limits::facts_max; ++i) {
            known.add("k" + std::to_string(i), std::string(limits::fact_value_bytes_max - 4, '"'));
        }
        const std::string line = released_line({true, milliseconds(1), known, "m"});
        CHECK(line.size() <= limits::line_bytes_max);
        CHECK(json::parse(line)["facts"].size() < limits::facts_max);
    }
}
