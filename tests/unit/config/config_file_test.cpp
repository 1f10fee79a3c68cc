#include "replicator/base/limits.hpp"
#include "replicator/config/config_file.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

constexpr const char *sender_text = R"([sender]
state   = "/var/lib/farshore"
control = "/run/farshore/sender.sock"
http    = "127.0.0.1:7421"
memory  = "512MiB"
links   = 6

[[group]]
name     = "shop"
peer     = "dr.example.net:7420"
interval = "1s"
spool    = "20GiB"
rate     = "40Mbit/s"

[[group.volume]]
name = "data"
path = "/srv/shop/data.img"
nbd  = "unix:/run/farshore/data.sock"

[[group.volume]]
name = "wal"
path = "/dev/vg0/wal"
nbd  = "tcp:127.0.0.1:10809"

[tls]
ca   = "/etc/farshore/ca.pem"
cert = "/etc/farshore/cert.pem"
key  = "/etc/farshore/key.pem"
)";

constexpr const char *receiver_text = R"([receiver]
state   = "/var/lib/farshore"
listen  = "0.0.0.0:7420"
control = "/run/farshore/receiver.sock"
memory  = "256MiB"

[[group]]
name    = "shop"
replica = "/srv/replica/shop"
journal = "50GiB"
retain  = ["all 1h", "1m 24h"]

[[group]]
name = "mail"
[group.target]
data = "/dev/vg1/data"
)";

std::string replaced(std::string text, const std::string &from, const std::string &to) {
    const auto at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
}

/// The first problem as "LINE:COLUMN: text".
std::string problem_of(const std::string &text) {
    const auto config = parse_config(text);
    if (config) {
        return "none";
    }
    REQUIRE(!config.error().empty());
    const config_problem &p = config.error().front();
    return fmt::format("{}:{}: {}", p.line, p.column, p.what);
}

} // namespace

TEST_SUITE("config_file") {
    TEST_CASE("every key of a sender's file is read") {
        const auto config = parse_sender_config(sender_text);
        REQUIRE(config);
        CHECK(config->state == "/var/lib/farshore");
        CHECK(config->control == "/run/farshore/sender.sock");
        CHECK(config->http == "127.0.0.1:7421");
        CHECK(config->memory_bytes_max == 512 * limits::MiB);
        CHECK(config->links == 6);
        REQUIRE(config->tls);
        CHECK(config->tls->ca == "/etc/farshore/ca.pem");
        CHECK(config->tls->certificate == "/etc/farshore/cert.pem");
        CHECK(config->tls->key == "/etc/farshore/key.pem");
        REQUIRE(config->groups.size() == 1);
        const auto &g = config->groups[0];
        CHECK(g.name == "shop");
        CHECK(g.peer == "dr.example.net:7420");
        CHECK(g.interval == duration(std::chrono::seconds(1)));
        CHECK(g.spool_bytes_max == 20 * limits::GiB);
        CHECK(g.rate == 5'000'000U);
        REQUIRE(g.volumes.size() == 2);
        CHECK(g.volumes[1].name == "wal");
        CHECK(g.volumes[1].path == "/dev/vg0/wal");
        CHECK(g.volumes[1].nbd == "tcp:127.0.0.1:10809");
    }

    TEST_CASE("the encoder's memory and self-check are read, and are off when left out") {
        const auto plain = parse_sender_config(sender_text);
        REQUIRE(plain);
        CHECK(!plain->groups[0].history_bytes);
        CHECK(!plain->groups[0].verify_encoding);
        const auto with = [](const std::string &lines) {
            return replaced(sender_text, "[[group.volume]]", lines + "\n[[group.volume]]");
        };
        const auto config =
            parse_sender_config(with("history = \"96MiB\"\nverify_encoding = true"));
        REQUIRE(config);
        CHECK(config->groups[0].history_bytes == 96 * limits::MiB);
        CHECK(config->groups[0].verify_encoding);
        const auto off = parse_sender_config(with("history = \"1MiB\"\nverify_encoding = false"));
        REQUIRE(off);
        CHECK(off->groups[0].history_bytes == limits::MiB);
        CHECK(!off->groups[0].verify_encoding);
        for (const char *wrong :
             {"history = \"1023KiB\"", "history = \"0MiB\"", "history = 96", "history = \"lots\"",
              "verify_encoding = \"true\"", "verify_encoding = 1"}) {
            CAPTURE(wrong);
            const std::string problem = problem_of(with(wrong));
            CHECK(problem.starts_with("15:"));
            CHECK(problem.find(std::string(wrong).substr(0, 7)) != std::string::npos);
        }
        CHECK(problem_of(replaced(receiver_text, "retain ", "history = \"2MiB\"\nretain "))
                  .find("history") != std::string::npos);
    }

    TEST_CASE("every key of a receiver's file is read") {
        const auto config = parse_receiver_config(receiver_text);
        REQUIRE(config);
        CHECK(config->listen == "0.0.0.0:7420");
        CHECK(config->memory_bytes_max == 256 * limits::MiB);
        CHECK(config->http.empty());
        CHECK(!config->tls);
        REQUIRE(config->groups.size() == 2);
        CHECK(config->groups[0].replica == "/srv/replica/shop");
        CHECK(config->groups[0].journal_bytes_max == 50 * limits::GiB);
        REQUIRE(config->groups[0].retain.size() == 2);
        CHECK(config->groups[0].retain[0].spacing == duration::zero());
        CHECK(config->groups[0].retain[1].spacing == duration(std::chrono::minutes(1)));
        CHECK(config->groups[1].targets ==
              std::vector<std::pair<std::string, std::string>>{{"data", "/dev/vg1/data"}});
        CHECK(config->groups[1].retain.size() == 3);
    }

    TEST_CASE("what a sender may have made is read, and bounded when left out") {
        const auto plain = parse_receiver_config(receiver_text);
        REQUIRE(plain);
        CHECK(plain->groups[0].volumes_max == 64);
        CHECK(plain->groups[0].size_max == 128 * 1024 * limits::GiB);
        CHECK(plain->groups[0].volumes.empty());
        const auto bounded = parse_receiver_config(
            replaced(receiver_text, "retain ", "volumes_max = 3\nsize_max = \"2TiB\"\nretain "));
        REQUIRE(bounded);
        CHECK(bounded->groups[0].volumes_max == 3);
        CHECK(bounded->groups[0].size_max == 2048 * limits::GiB);
        const auto listed = parse_receiver_config(replaced(
            receiver_text, "retain ", "volumes = { data = \"1GiB\", wal = \"64MiB\" }\nretain "));
        REQUIRE(listed);
        CHECK(listed->groups[0].volumes == std::vector<std::pair<std::string, std::uint64_t>>{
                                               {"data", limits::GiB}, {"wal", 64 * limits::MiB}});
        for (const char *wrong :
             {"volumes_max = 0", "volumes_max = 1025", "size_max = \"0B\"", "size_max = 5",
              "volumes = { \".x\" = \"1GiB\" }", "volumes = { x = 1 }"}) {
            CAPTURE(wrong);
            CHECK(problem_of(replaced(receiver_text, "retain ",
                                      std::string(wrong) + "\nretain ")) != "none");
        }
    }

    TEST_CASE("how often everything is read: for all groups, for one, never") {
        const auto every = [](const std::string &text) {
            const auto config = parse_receiver_config(text);
            REQUIRE(config);
            return std::pair(config->groups.at(0).scrub_every, config->groups.at(1).scrub_every);
        };
        const auto days = [](int n) { return duration(std::chrono::hours(24 * n)); };
        CHECK(every(receiver_text) == std::pair(std::optional(days(7)), std::optional(days(7))));
        const std::string all = replaced(receiver_text, "state ", "scrub = \"30d\"\nstate ");
        CHECK(every(all) == std::pair(std::optional(days(30)), std::optional(days(30))));
        const auto one = every(replaced(all, "retain ", "scrub = \"never\"\nretain "));
        CHECK_FALSE(one.first);
        CHECK(one.second == days(30));
        for (const char *wrong : {"0s", "often", "7"}) {
            CAPTURE(wrong);
            CHECK(problem_of(replaced(receiver_text, "retain ",
                                      std::string("scrub = \"") + wrong + "\"\nretain "))
                      .find("how often") != std::string::npos);
        }
    }

    TEST_CASE("what is left out has its documented default") {
        std::string text = replaced(sender_text, "http    = \"127.0.0.1:7421\"\n", "");
        text = replaced(text, "rate     = \"40Mbit/s\"\n", "");
        text = replaced(text, "peer     = \"dr.example.net:7420\"\n", "");
        text = text.substr(0, text.find("[tls]"));
        const auto config = parse_sender_config(text);
        REQUIRE(config);
        CHECK(config->http.empty());
        CHECK(!config->tls);
        CHECK(!config->groups[0].rate);
        CHECK(config->groups[0].peer.empty());
    }

    TEST_CASE("a peer can be connected to, and its certificate's name needs a CA") {
        CHECK(problem_of(replaced(sender_text, "dr.example.net:7420", "dr.example.net:0")) ==
              "10:12: peer is HOST:PORT: port 0 can't be connected to; 7420 is usual");
        const std::string named =
            replaced(sender_text, "rate     =", "peer_name = \"dr\"\nrate     =");
        const auto config = parse_sender_config(named + "crl = \"/etc/farshore/crl.pem\"\n");
        REQUIRE(config);
        CHECK(config->groups[0].peer_name == "dr");
        CHECK(config->tls->crl == "/etc/farshore/crl.pem");
        CHECK(problem_of(named.substr(0, named.find("[tls]")))
                  .starts_with("13:13: peer_name needs [tls]"));
        CHECK(problem_of(replaced(receiver_text, "journal =", "peer_name = \"a\"\njournal ="))
                  .starts_with("10:13: peer_name needs [tls]"));
    }

    TEST_CASE("the kind of a file is told by its first table") {
        const auto s = parse_config(sender_text);
        REQUIRE(s);
        CHECK(std::holds_alternative<sender_config>(*s));
        const auto r = parse_config(receiver_text);
        REQUIRE(r);
        CHECK(std::holds_alternative<receiver_config>(*r));
        const auto wrong = parse_receiver_config(sender_text);
        REQUIRE(!wrong);
        CHECK(wrong.error()[0].what ==
              "this is a file for farshore-sender, not for farshore-receiver");
        CHECK(problem_of("") == "1:1: the file has neither [sender] nor [receiver]");
        CHECK(problem_of(std::string(sender_text) + "[receiver]\n") ==
              "29:1: a file has [sender] or [receiver], not both");
    }

    TEST_CASE("an unknown key is named with its place and the nearest known key") {
        CHECK(problem_of(replaced(sender_text, "interval =", "intervall =")) ==
              "11:1: unknown key \"intervall\" in [[group]]; did you mean \"interval\"?");
        CHECK(problem_of(replaced(sender_text, "[tls]\n", "[tls]\nzzzzzz = 1\n")) ==
              "26:1: unknown key \"zzzzzz\" in [tls]");
        CHECK(problem_of(std::string("bogus = 1\n") + sender_text) ==
              "1:1: unknown key \"bogus\" in the file");
        CHECK(problem_of(replaced(receiver_text, "journal =", "journals =")) ==
              "10:1: unknown key \"journals\" in [[group]]; did you mean \"journal\"?");
    }

    TEST_CASE("a wrong type is named with its place") {
        CHECK(problem_of(replaced(sender_text, "\"512MiB\"", "512")) ==
              "5:11: memory is text in quotes, not a number (quantities are text with a unit)");
        CHECK(problem_of(replaced(sender_text, "links   = 6", "links   = \"6\"")) ==
              "6:11: links is a whole number, not text");
        CHECK(problem_of(replaced(sender_text, "[[group]]", "[group]"))
                  .find("group is a list of tables") != std::string::npos);
        CHECK(problem_of(replaced(receiver_text, "[\"all 1h\", \"1m 24h\"]", "\"all 1h\"")) ==
              "11:11: retain is a list of texts, not text");
        CHECK(problem_of("sender = 3\n") == "1:1: no [[group]] is configured");
    }

    TEST_CASE("bad units are named with their place") {
        CHECK(problem_of(replaced(sender_text, "\"20GiB\"", "\"20\""))
                  .starts_with("12:12: spool: \"20\""));
        CHECK(problem_of(replaced(sender_text, "\"1s\"", "\"1x\""))
                  .starts_with("11:12: interval: \"1x\""));
        CHECK(problem_of(replaced(sender_text, "\"40Mbit/s\"", "\"40\""))
                  .starts_with("13:12: rate: \"40\""));
        CHECK(problem_of(replaced(receiver_text, "\"1m 24h\"", "\"1m\""))
                  .starts_with("11:22: retain: \"1m\""));
        CHECK(problem_of(replaced(sender_text, "\"1s\"", "\"1ms\"")) ==
              "11:12: interval is 10ms to 1h");
        CHECK(problem_of(replaced(sender_text, "links   = 6", "links   = 17")) ==
              "6:11: links is 1 to 16");
    }

    TEST_CASE(
        "history is a size of at least 1 MiB, and part of the group's memory unless it is set") {
        const auto with = [](const std::string &value) {
            return replaced(sender_text, "rate     = \"40Mbit/s\"", "history  = " + value);
        };
        const auto absent = parse_sender_config(sender_text);
        REQUIRE(absent);
        CHECK(!absent->groups[0].history_bytes);
        const auto set = parse_sender_config(with("\"64MiB\""));
        REQUIRE(set);
        CHECK(set->groups[0].history_bytes == 64 * limits::MiB);
        const auto least = parse_sender_config(with("\"1024KiB\""));
        REQUIRE(least);
        CHECK(least->groups[0].history_bytes == limits::MiB);
        CHECK(problem_of(with("\"1023KiB\"")) == "13:12: history is at least 1.0 MiB");
        CHECK(problem_of(with("\"64\"")).starts_with("13:12: history: \"64\""));
        CHECK(problem_of(with("\"-1MiB\"")).starts_with("13:12: history: \"-1MiB\""));
        CHECK(problem_of(with("\"\"")) == "13:12: history is empty");
        CHECK(problem_of(with("64")) ==
              "13:12: history is text in quotes, not a number (quantities are text with a unit)");
        CHECK(problem_of(replaced(receiver_text, "journal =", "history = \"64MiB\"\njournal ="))
                  .starts_with("10:1: unknown key \"history\" in [[group]]"));
    }

    TEST_CASE("memory that is too small for the number of groups is refused, with what is enough") {
        const auto with = [](int groups, const std::string &memory) {
            std::string text = "[sender]\nstate = \"/s\"\ncontrol = \"/c\"\n" + memory;
            for (int i = 0; i < groups; ++i) {
                text += fmt::format("[[group]]\nname = \"g{0}\"\npeer = \"dr:7420\"\n"
                                    "[[group.volume]]\nname = \"v\"\npath = \"/dev/v{0}\"\n"
                                    "nbd = \"unix:/run/{0}\"\n",
                                    i);
            }
            return text;
        };
        CHECK(parse_sender_config(with(100, "")));
        CHECK(parse_sender_config(with(100, "memory = \"300MiB\"\n")));
        CHECK(problem_of(with(100, "memory = \"299MiB\"\n")) ==
              "4:10: memory of 299.0 MiB is too small for 100 groups and 100 volumes: set memory = "
              "\"300MiB\" or more, or serve fewer");
        CHECK(problem_of(with(256, "")).starts_with("1:1: memory of 512.0 MiB is too small"));
        CHECK(problem_of(with(1, "memory = \"15MiB\"\n")) == "4:10: memory is at least 16.0 MiB");
    }

    TEST_CASE("verify_encoding is true or false, and off unless it is set") {
        const auto with = [](const std::string &value) {
            return replaced(sender_text,
                            "rate     =", "verify_encoding = " + value + "\nrate     =");
        };
        const auto absent = parse_sender_config(sender_text);
        REQUIRE(absent);
        CHECK(!absent->groups[0].verify_encoding);
        const auto on = parse_sender_config(with("true"));
        REQUIRE(on);
        CHECK(on->groups[0].verify_encoding);
        const auto off = parse_sender_config(with("false"));
        REQUIRE(off);
        CHECK(!off->groups[0].verify_encoding);
        CHECK(problem_of(with("\"true\"")) == "13:19: verify_encoding is true or false, not text");
        CHECK(problem_of(with("1")) == "13:19: verify_encoding is true or false, not a number");
        CHECK(problem_of(with("yes")).starts_with("13:"));
        CHECK(
            problem_of(replaced(sender_text, "rate     =", "verify_encodin = true\nrate     =")) ==
            "13:1: unknown key \"verify_encodin\" in [[group]]; did you mean \"verify_encoding\"?");
    }

    TEST_CASE("a missing key is named at its table") {
        CHECK(problem_of(replaced(sender_text, "state   = \"/var/lib/farshore\"\n", "")) ==
              "1:1: [sender] needs \"state\"");
        CHECK(problem_of(replaced(sender_text, "name     = \"shop\"\n", "")) ==
              "8:1: [[group]] needs \"name\"");
        CHECK(problem_of(replaced(sender_text, "path = \"/dev/vg0/wal\"\n", "")) ==
              "20:1: [[group.volume]] needs \"path\"");
        CHECK(problem_of(replaced(sender_text, "key  = \"/etc/farshore/key.pem\"\n", "")) ==
              "25:1: [tls] needs \"key\"");
        CHECK(problem_of(replaced(receiver_text, "replica = \"/srv/replica/shop\"\n", "")) ==
              "7:1: [[group]] needs \"replica\" (a directory) or [group.target]");
        CHECK(problem_of(replaced(receiver_text, "listen  = \"0.0.0.0:7420\"\n", "")) ==
              "1:1: [receiver] needs \"listen\"");
    }

    TEST_CASE("names and endpoints that are used twice are refused at the second place") {
        CHECK(problem_of(replaced(sender_text, "\"wal\"", "\"data\"")) ==
              "21:8: volume name \"data\" is used twice (in group shop)");
        CHECK(problem_of(replaced(sender_text, "\"tcp:127.0.0.1:10809\"",
                                  "\"unix:/run/farshore/data.sock\""))
                  .starts_with("23:8: NBD endpoint"));
        CHECK(problem_of(replaced(sender_text, "\"/dev/vg0/wal\"", "\"/srv/shop/data.img\""))
                  .starts_with("22:8: path"));
        CHECK(problem_of(replaced(receiver_text, "\"mail\"", "\"shop\"")) ==
              "14:8: group name \"shop\" is used twice (another [[group]])");
    }

    TEST_CASE("names are plain and at most 64 long") {
        CHECK(problem_of(replaced(sender_text, "\"shop\"", "\"" + std::string(64, 'a') + "\"")) ==
              "none");
        for (const std::string &name :
             {std::string(65, 'a'), std::string("a/b"), std::string(".."), std::string("-x"),
              std::string("a b"), std::string("\xc3\xa4")}) {
            CAPTURE(name);
            CHECK(problem_of(replaced(sender_text, "\"shop\"", "\"" + name + "\""))
                      .starts_with("9:12: name \"" + name + "\" is not valid"));
        }
        CHECK(problem_of(replaced(sender_text, "\"shop\"", "\"\"")) == "9:12: name is empty");
        CHECK(problem_of(replaced(receiver_text, "data = \"/dev", "\"a/b\" = \"/dev"))
                  .find("volume name \"a/b\" is not valid") != std::string::npos);
    }

    TEST_CASE("addresses and endpoints are checked") {
        CHECK(problem_of(replaced(sender_text, "dr.example.net:7420", "dr.example.net"))
                  .starts_with("10:12: peer"));
        CHECK(problem_of(replaced(receiver_text, "0.0.0.0:7420", "0.0.0.0:99999"))
                  .starts_with("3:11: listen"));
        CHECK(problem_of(replaced(sender_text, "unix:/run/farshore/data.sock", "/run/data.sock"))
                  .starts_with("18:8: nbd"));
        const std::string longest(107, 'x');
        CHECK(problem_of(replaced(sender_text, "/run/farshore/sender.sock", longest)) == "none");
        CHECK(problem_of(replaced(sender_text, "/run/farshore/sender.sock", longest + "x"))
                  .starts_with("3:11: control"));
    }

    TEST_CASE("all problems come out, in the order of the file") {
        std::string text = replaced(sender_text, "\"512MiB\"", "\"512\"");
        text = replaced(text, "name = \"wal\"", "nam = \"wal\"");
        const auto config = parse_config(text);
        REQUIRE(!config);
        REQUIRE(config.error().size() == 3);
        CHECK(config.error()[0].line == 5);
        CHECK(config.error()[1].line == 20);
        CHECK(config.error()[2].line == 21);
        const std::string printed = to_text("x.toml", config.error());
        CHECK(printed.starts_with("x.toml:5:11: memory: "));
        CHECK(std::ranges::count(printed, '\n') == 3);
    }

    TEST_CASE("text that is no TOML is refused with its place") {
        CHECK(problem_of("[sender]\nstate = \n").starts_with("2:"));
        CHECK(problem_of("[sender\n").starts_with("1:"));
        CHECK(problem_of("[sender]\nstate = \"a\"\nstate = \"b\"\n").starts_with("3:"));
        CHECK(problem_of(std::string("[sender]\nstate = \"a\xff\"\n")).starts_with("2:"));
    }

    TEST_CASE("a file beyond the limit and one that is not there are refused") {
        CHECK(problem_of(std::string(limits::config_bytes_max + 1, '#'))
                  .starts_with("1:1: the file is larger"));
        const auto missing = read_config_file("/nonexistent/farshore.toml");
        REQUIRE(!missing);
        CHECK(missing.error()[0].what.find("No such file") != std::string::npos);
        CHECK(!read_config_file("/tmp"));
    }

    TEST_CASE("a group without volumes and a file without groups are refused") {
        CHECK(problem_of("[sender]\nstate = \"/s\"\ncontrol = \"/c\"\n") ==
              "1:1: no [[group]] is configured");
        CHECK(problem_of("[sender]\nstate = \"/s\"\ncontrol = \"/c\"\n[[group]]\nname = \"a\"\n") ==
              "4:1: [[group]] has no [[group.volume]]");
    }
}

} // namespace farshore
