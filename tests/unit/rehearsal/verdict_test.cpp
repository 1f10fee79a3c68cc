#include "replicator/control/control.hpp"
#include "replicator/rehearsal/rehearsal.hpp"
#include "replicator/rehearsal/verdict.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

using namespace farshore;
using namespace farshore::rehearsal;

TEST_SUITE("verdict") {
    TEST_CASE("what was told decides") {
        struct row {
            std::vector<std::string> told;
            ending how;
            std::string words;
        };
        const std::array rows{
            row{{"script", "ended 0"}, ending::passed, ""},
            row{{"script", "ended 3"}, ending::failed, "ended with 3"},
            row{{"script", "ended 139"}, ending::failed, "signal 11"},
            row{{"step db", "step_failed db ended with 1"},
                ending::step,
                "step \"db\" ended with 1"},
            row{{"step db", "script", "timed_out"}, ending::timed_out, "within 90 s"},
            row{{"script", "trouble /x can't be run: No such file"}, ending::trouble, "/x can't"},
            row{{}, ending::none, "was ended"},
            row{{"script", "ended 0", "ended 1"}, ending::passed, ""},
            row{{"script", "ended x"}, ending::failed, "ended with -1"},
        };
        for (const row &r : rows) {
            CAPTURE(r.words);
            verdict_maker m;
            for (const std::string &line : r.told) {
                m.hear(line);
            }
            const verdict v = m.made(std::chrono::seconds(90));
            CHECK(v.how == r.how);
            CHECK(v.why.contains(r.words));
            CHECK(v.why.empty() == (r.how == ending::passed));
        }
    }

    TEST_CASE("of an output the last lines stay, in bounds") {
        last_lines all;
        for (int n = 0; n < 100'000; ++n) {
            all.add(fmt::format("line {}\n", n));
        }
        const std::string text = all.text(2000);
        CHECK(text.ends_with("line 99999"));
        CHECK(text.starts_with("line 99980\n"));
        CHECK(all.text(30) == "line 99998\nline 99999");

        last_lines one;
        one.add(std::string(100'000, 'x'));
        CHECK(one.text(100).size() <= 103); // cut, and said so
        last_lines bad;
        bad.add("a\x1b[2J\tb\nlast\n\n");
        CHECK(bad.text(100).find('\x1b') == std::string::npos);
        CHECK(bad.text(100).ends_with("\nlast"));
        CHECK(last_lines().text(100).empty());
    }

    TEST_CASE("the runbook of a receiver is read, or refused as a whole") {
        using control::json;
        const json good = json::array({{{"name", "db"},
                                        {"run", {"/bin/db", "-x"}},
                                        {"probe", {"/bin/probe"}},
                                        {"timeout_ms", 1500}}});
        const auto steps = steps_of(good);
        REQUIRE(steps);
        REQUIRE(steps->size() == 1);
        CHECK(steps->front().name == "db");
        CHECK(steps->front().run == std::vector<std::string>{"/bin/db", "-x"});
        CHECK(steps->front().probe == std::vector<std::string>{"/bin/probe"});
        CHECK(steps->front().timeout == std::chrono::milliseconds(1500));
        CHECK(steps_of(nullptr)->empty());
        CHECK(steps_of(json::array())->empty());
        for (const char *key : {"name", "run", "timeout_ms"}) {
            CAPTURE(key);
            json bad = good;
            bad[0].erase(key);
            CHECK_FALSE(steps_of(bad));
        }
        CHECK_FALSE(steps_of(json::object()));
        CHECK_FALSE(steps_of(json::array({1})));
    }
}
