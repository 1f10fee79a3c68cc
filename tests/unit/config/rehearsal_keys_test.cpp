#include "replicator/config/config_file.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

namespace farshore {
namespace {

std::string file_with(const std::string &lines) {
    return "[receiver]\nstate = \"/s\"\nlisten = \"0.0.0.0:7420\"\ncontrol = \"/c\"\n"
           "[[group]]\nname = \"shop\"\nreplica = \"/r\"\n" +
           lines;
}

receiver_group_config group_with(const std::string &lines) {
    const auto config = parse_receiver_config(file_with(lines));
    if (!config) {
        FAIL(to_text("file", config.error()));
    }
    return config->groups.at(0);
}

std::string problems_of(const std::string &lines) {
    const auto config = parse_receiver_config(file_with(lines));
    return config ? "none" : to_text("file", config.error());
}

const std::string head = "[[group.test]]\nname = \"nightly\"\n";
const std::string run = "run = [\"/usr/lib/farshore/tests/x.sh\", \"-v\"]\n";

} // namespace

TEST_SUITE("rehearsal keys") {
    TEST_CASE("a test with every key, and one with as few as can be") {
        const auto g = group_with(head + run +
                                  "at = \"02:30\"\npoint = \"latest-app\"\ntimeout = \"1h\"\n"
                                  "isolate = true\nmount = true\nspace = \"20GiB\"\n"
                                  "user = \"postgres\"\n[[group.test]]\nname = \"often\"\n"
                                  "every = \"3s\"\n" +
                                  run);
        REQUIRE(g.tests.size() == 2);
        const test_config &t = g.tests[0];
        CHECK(t.name == "nightly");
        CHECK(t.when.at == std::chrono::minutes(150));
        CHECK(t.point == "latest-app");
        CHECK(t.run == std::vector<std::string>{"/usr/lib/farshore/tests/x.sh", "-v"});
        CHECK(t.timeout == std::chrono::hours(1));
        CHECK(t.isolate);
        CHECK(t.mount);
        CHECK(t.space_bytes == 20ULL << 30);
        CHECK(t.user == "postgres");
        const test_config &few = g.tests[1];
        CHECK(few.when.every == std::chrono::seconds(3));
        CHECK_FALSE(few.when.at);
        CHECK(few.point == "latest");
        CHECK(few.timeout == std::chrono::minutes(30));
        CHECK_FALSE(few.isolate);
        CHECK_FALSE(few.space_bytes);
    }

    TEST_CASE("a point that no point can be is found before the night in which it is asked for") {
        const std::string wrong =
            problems_of(head + run + "every = \"1d\"\npoint = \"-5 parsecs\"\n");
        CHECK(wrong.find("names no point") != std::string::npos);
        CHECK(wrong.find("latest-app") != std::string::npos);
        for (const char *right : {"-5m", "latest", "17", "2026-01-31T18:00:00Z", "before-it"}) {
            CHECK(problems_of(head + run + "every = \"1d\"\npoint = \"" + right + "\"\n") ==
                  "none");
        }
    }

    TEST_CASE("the steps of a runbook stay in their order") {
        const auto g = group_with("[[group.start]]\nname = \"db\"\nrun = [\"/bin/db\"]\n"
                                  "probe = [\"/bin/probe\", \"-q\"]\ntimeout = \"90s\"\n"
                                  "[[group.start]]\nname = \"app\"\nrun = [\"/bin/app\"]\n");
        REQUIRE(g.start.size() == 2);
        CHECK(g.start[0].name == "db");
        CHECK(g.start[0].probe == std::vector<std::string>{"/bin/probe", "-q"});
        CHECK(g.start[0].timeout == std::chrono::seconds(90));
        CHECK(g.start[1].name == "app");
        CHECK(g.start[1].probe.empty());
        CHECK(g.start[1].timeout == std::chrono::minutes(5));
    }

    TEST_CASE("what is wrong is said with its place") {
        struct row {
            std::string lines;
            const char *words;
        };
        for (const row &r : {
                 row{head + run, "8:1: when is one of every"},
                 row{head + run + "every = \"1d\"\nat = \"02:30\"\n", "12:6: when is one of every"},
                 row{head + run + "at = \"25:00\"\n", "11:6: at: \"25:00\" is no time of day"},
                 row{head + run + "every = \"0s\"\n", "11:9: every: how often"},
                 row{head + run + "every = \"daily\"\n", "11:9: every: how often"},
                 row{head + "every = \"1d\"\n", "\"run\" is missing"},
                 row{head + "every = \"1d\"\nrun = []\n", "11:7: run is a program"},
                 row{head + "every = \"1d\"\nrun = [\"x.sh\"]\n",
                     "11:8: run: \"x.sh\" is no absolute path"},
                 row{head + run + "every = \"1d\"\ntimeout = \"0s\"\n",
                     "12:11: timeout is 1s to 7d"},
                 row{head + run + "every = \"1d\"\nspace = \"1KiB\"\n", "12:9: space is 4KiB"},
                 row{head + run + "every = \"1d\"\nisolated = true\n",
                     "12:1: unknown key \"isolated\""},
                 row{head + run + "every = \"1d\"\n" + head + run + "every = \"1d\"\n",
                     "13:8: name \"nightly\" is used twice"},
                 row{"[[group.test]]\nname = \"a b\"\nevery = \"1d\"\n" + run,
                     "9:8: name \"a b\" is not valid"},
                 row{"[[group.start]]\nname = \"db\"\n", "\"run\" is missing"},
                 row{"[[group.start]]\nname = \"db\"\nrun = [\"/x\"]\nevery = \"1d\"\n",
                     "11:1: unknown key \"every\""},
             }) {
            CAPTURE(r.lines);
            CHECK(problems_of(r.lines).contains(r.words));
        }
        std::string many;
        for (int n = 0; n < 17; ++n) {
            many += fmt::format("[[group.test]]\nname = \"t{}\"\nevery = \"1d\"\n", n) + run;
        }
        CHECK(problems_of(many).contains("at most 16 [[group.test]]"));
    }
}

} // namespace farshore
