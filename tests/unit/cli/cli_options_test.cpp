#include "replicator/cli/cli_options.hpp"
#include "replicator/cli/cli_request.hpp"
#include "replicator/cli/test_run.hpp"

#include <doctest/doctest.h>

#include <sstream>

namespace farshore {
namespace {

std::vector<std::string> words(const std::string &line) {
    std::istringstream in(line);
    std::vector<std::string> out;
    for (std::string w; in >> w;) {
        out.push_back(w);
    }
    return out;
}

invocation parsed(const std::string &line, cli_program program = cli_program::farshore) {
    auto inv = parse_invocation(program, words(line));
    CAPTURE(line);
    if (!inv) {
        CAPTURE(inv.error().text);
        REQUIRE(inv.has_value());
    }
    return *inv;
}

parse_end refused(const std::string &line, cli_program program = cli_program::farshore) {
    auto inv = parse_invocation(program, words(line));
    CAPTURE(line);
    REQUIRE(!inv);
    return inv.error();
}

control_request request(const std::string &line, cli_program program = cli_program::farshore) {
    auto r = request_of(parsed(line, program));
    CAPTURE(line);
    REQUIRE(r);
    return *r;
}

using control::json;

} // namespace

TEST_SUITE("cli_options") {
    TEST_CASE("a rehearsal's words become what is run") {
        const auto plain = test_request(parsed("test shop --run /bin/sh"));
        REQUIRE(plain);
        CHECK(plain->from.group == "shop");
        CHECK(plain->from.writable);
        CHECK_FALSE(plain->from.mount);
        CHECK(plain->run == std::vector<std::string>{"/bin/sh"});
        CHECK(plain->timeout == std::chrono::minutes(30));
        CHECK_FALSE(plain->isolate);
        const auto all = test_request(
            parsed("test --run /bin/sh --arg=-c --arg x shop --point latest-app --timeout 90s "
                   "--isolate --mount --space 1GiB --user nobody --name nightly --suspect"));
        REQUIRE(all);
        CHECK(all->from.point == "latest-app");
        CHECK(all->from.suspect);
        CHECK(all->from.mount);
        CHECK(all->from.space_bytes == 1ULL << 30);
        CHECK(all->run == std::vector<std::string>{"/bin/sh", "-c", "x"});
        CHECK(all->timeout == std::chrono::seconds(90));
        CHECK(all->isolate);
        CHECK(all->user == "nobody");
        CHECK(all->name == "nightly");
        for (const char *bad :
             {"--run /no/such", "--run /", "--run /etc/passwd", "--run /bin/sh --timeout 0s",
              "--run /bin/sh --timeout 8d", "--run /bin/sh --space 4095",
              "--run /bin/sh --space 1B", "--run /bin/sh --name a/b"}) {
            CAPTURE(bad);
            const auto wrong = test_request(parsed("test shop " + std::string(bad)));
            REQUIRE_FALSE(wrong);
            CHECK(wrong.error().exit == 2);
        }
        CHECK(refused("test shop").exit == 2);
        CHECK(refused("test --run /bin/sh").exit == 2);
    }

    TEST_CASE("the exit code of a rehearsal") {
        const auto of = [](bool passed, bool timed_out, bool recorded) {
            return exit_of_test(
                json{{"passed", passed}, {"timed_out", timed_out}, {"recorded", recorded}});
        };
        CHECK(of(true, false, true) == 0);
        CHECK(of(false, false, true) == 1);
        CHECK(of(false, true, true) == 15);
        CHECK(of(true, false, false) == 3);
        CHECK(of(false, false, false) == 1);
    }

    TEST_CASE("commands of the contract become requests") {
        const auto is = [](const std::string &line, const char *command, const json &arguments) {
            const control_request r = request(line);
            CAPTURE(line);
            CHECK(r.command == command);
            CHECK(r.arguments == arguments);
        };
        is("status", "status", json::object());
        is("status shop --watch", "status", {{"group", "shop"}});
        is("wait shop", "wait", {{"group", "shop"}, {"durable", false}});
        is("wait shop --durable --timeout 60s", "wait",
           {{"group", "shop"}, {"durable", true}, {"timeout_ms", 60000}});
        is("bookmark shop nightly-{time} --app --keep 7d --note one --timeout 5s", "bookmark",
           {{"group", "shop"},
            {"name", "nightly-{time}"},
            {"note", "one"},
            {"app", true},
            {"keep_ms", 7 * 86'400'000},
            {"timeout_ms", 5000}});
        is("pause shop", "pause", {{"group", "shop"}});
        is("resume shop", "resume", {{"group", "shop"}});
        is("resync shop --full", "resync", {{"group", "shop"}, {"full", true}});
        is("verify shop", "verify", {{"group", "shop"}});
        is("points shop", "points", {{"group", "shop"}});
        is("scrub shop", "scrub", {{"group", "shop"}, {"wait", false}});
        is("scrub shop --wait", "scrub", {{"group", "shop"}, {"wait", true}});
        is("open shop --point -5m --nbd unix:/x", "open",
           {{"group", "shop"}, {"point", "-5m"}, {"nbd", "unix:/x"}, {"writable", false}});
        is("open shop --writable --nbd unix:/x", "open",
           {{"group", "shop"}, {"nbd", "unix:/x"}, {"writable", true}});
        is("open shop --writable --space 20GiB --mount /mnt/./x/", "open",
           {{"group", "shop"},
            {"mount", "/mnt/x/"},
            {"writable", true},
            {"space_bytes", 20ULL << 30}});
        is("opened", "opened", json::object());
        is("close 3", "close", {{"id", "3"}});
        is("invite shop --address dr:7420", "invite", {{"group", "shop"}, {"address", "dr:7420"}});
        is("invite --list", "invitations", nlohmann::json::object());
        is("invite --revoke 0123", "revoke", {{"id", "0123"}});
        is("join token", "join", {{"token", "token"}});
        is("join", "join", {{"token", ""}});
        is("peers", "peers", json::object());
        is("unpair shop", "unpair", {{"group", "shop"}});
        is("check shop", "status", {{"group", "shop"}});
        is("throttle show", "throttle_show", json::object());
        is("throttle show shop", "throttle_show", {{"group", "shop"}});
        is("throttle set 40Mbit/s", "throttle_set", {{"bytes_per_second", 5000000}});
        is("throttle set unlimited --group shop --for 2h", "throttle_set",
           {{"bytes_per_second", nullptr}, {"group", "shop"}, {"for_ms", 7200000}});
        is("throttle clear --group shop", "throttle_clear", {{"group", "shop"}});
    }

    TEST_CASE("farshore-throttle is farshore throttle") {
        const control_request r = request("set 8Mbit/s --group shop", cli_program::throttle);
        CHECK(r.command == "throttle_set");
        CHECK(r.arguments == json{{"bytes_per_second", 1000000}, {"group", "shop"}});
        CHECK(parsed("--socket /s --json show", cli_program::throttle).socket == "/s");
        CHECK(refused("status", cli_program::throttle).exit == 2);
    }

    TEST_CASE("--socket and --json stand before or after the command") {
        for (const char *line : {"--socket /s --json status shop", "status shop --json --socket /s",
                                 "status --socket /s shop --json"}) {
            const invocation inv = parsed(line);
            CHECK(inv.socket == "/s");
            CHECK(inv.as_json);
            CHECK(inv.group == "shop");
        }
        CHECK(parsed("throttle set 1MiB/s --json --socket /s").as_json);
    }

    TEST_CASE("help and version are no failures") {
        CHECK(refused("--help").exit == 0);
        CHECK(refused("--help").text.find("resync") != std::string::npos);
        CHECK(refused("wait --help").exit == 0);
        CHECK(refused("wait --help").text.find("--timeout") != std::string::npos);
        CHECK(refused("--version").text.find(FARSHORE_VERSION) != std::string::npos);
        CHECK(refused("--version").exit == 0);
    }

    TEST_CASE("what is no command line is a usage error") {
        for (const char *line : {"",
                                 "wait",
                                 "open shop",
                                 "throttle",
                                 "throttle set",
                                 "config",
                                 "status a b",
                                 "invite shop",
                                 "open shop --nbd unix:/x --space 1GiB",
                                 "invite",
                                 "invite --list shop",
                                 "invite --list --revoke 1",
                                 "invite --revoke 1 --address dr:1",
                                 "--nonsense status",
                                 "close",
                                 "demo --seconds 0",
                                 "export shop",
                                 "export --to x",
                                 "export shop --to x --format vpc",
                                 "export shop data --tar --to x",
                                 "export shop --tar --format raw --to x",
                                 "export shop --to - --format qcow2",
                                 "import shop",
                                 "restore shop",
                                 "restore shop data",
                                 "restore shop data --to x --sector-size 1"}) {
            CAPTURE(line);
            CHECK(refused(line).exit == 2);
            CHECK(!refused(line).text.empty());
        }
    }

    TEST_CASE("export, import and restore take their words") {
        const invocation all = parsed("export shop --to -");
        CHECK(all.command == "export");
        CHECK(all.carry.volume.empty());
        CHECK(all.carry.to == "-");
        const invocation one = parsed("export shop data --point -5m --to /x --format vhdx "
                                      "--no-compare --force --applied --suspect");
        CHECK(one.carry.volume == "data");
        CHECK(one.point == "-5m");
        CHECK(one.carry.format == "vhdx");
        CHECK(one.carry.no_compare);
        CHECK(one.carry.force);
        CHECK(one.applied);
        CHECK(one.open.suspect);
        CHECK(parsed("export shop --tar --to /x").carry.tar);
        CHECK(parsed("import shop --from -").carry.from == "-");
        const invocation back =
            parsed("restore shop data --to /dev/sdz --confirm S3R1AL --sector-size 4096");
        CHECK(back.command == "restore");
        CHECK(back.carry.confirm == "S3R1AL");
        CHECK(back.carry.sector_bytes == 4096);
    }

    TEST_CASE("a mistyped command is met with a proposal") {
        CHECK(refused("statsu").text ==
              "unknown command \"statsu\"; did you mean \"status\"? See --help.");
        CHECK(refused("xylophone").text == "unknown command \"xylophone\". See --help.");
        CHECK(refused("--socket /s pionts shop").text.find("\"points\"") != std::string::npos);
    }

    TEST_CASE("bad quantities are usage errors that name the option") {
        for (const char *line : {"wait shop --timeout 60", "throttle set 40",
                                 "throttle set 0Mbit/s", "throttle set 1MiB/s --for 2"}) {
            CAPTURE(line);
            const auto r = request_of(parsed(line));
            REQUIRE(!r);
            CHECK(r.error().exit == 2);
            CHECK(r.error().code == "usage");
        }
        CHECK(!check_limits_of(parsed("check --max-lag 5")));
        const auto limits = check_limits_of(parsed("check --max-lag 10s --max-point-age 2h"));
        REQUIRE(limits);
        CHECK(limits->lag_max == duration(std::chrono::seconds(10)));
        CHECK(limits->point_age_max == duration(std::chrono::hours(2)));
    }
}

} // namespace farshore
