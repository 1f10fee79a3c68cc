// [[group.hook]] and [[group.bookmark]] of sender.toml.

#include "replicator/config/config_file.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

namespace farshore {
namespace {

constexpr const char *sender_text = R"([sender]
state   = "/var/lib/farshore"
control = "/run/farshore/sender.sock"

[[group]]
name = "shop"
[[group.volume]]
name = "data"
path = "/srv/shop/data.img"
nbd  = "unix:/run/farshore/data.sock"
)";

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
    TEST_CASE("hooks: each type has its key, in the order of the file") {
        const auto with = [](const std::string &hooks) { return sender_text + hooks; };
        const auto config = parse_sender_config(with(R"([[group.hook]]
name    = "db"
type    = "postgresql"
connect = "host=/run/postgresql"
timeout = "3s"
[[group.hook]]
name    = "files"
type    = "filesystem"
mount   = "/srv/mail"
outside = true
[[group.hook]]
name = "mail"
type = "script"
run  = ["/etc/farshore/maildir.sh", "/srv/mail"]
user = "vmail"
)"));
        REQUIRE(config);
        const auto &hooks = config->groups[0].hooks;
        REQUIRE(hooks.size() == 3);
        CHECK(hooks[0].name == "db");
        CHECK(hooks[0].type == "postgresql");
        CHECK(hooks[0].connect == "host=/run/postgresql");
        CHECK(hooks[0].timeout == duration(std::chrono::seconds(3)));
        CHECK_FALSE(hooks[0].outside);
        CHECK(hooks[1].mount == "/srv/mail");
        CHECK(hooks[1].timeout == duration(std::chrono::seconds(10)));
        CHECK(hooks[1].outside);
        CHECK(hooks[2].run == std::vector<std::string>{"/etc/farshore/maildir.sh", "/srv/mail"});
        CHECK(hooks[2].user == "vmail");

        const auto wrong = [&](const std::string &lines, const char *word) {
            CAPTURE(lines);
            const std::string said = problem_of(with("[[group.hook]]\n" + lines));
            CHECK_MESSAGE(said.find(word) != std::string::npos, said);
        };
        wrong("name = \"x\"", "type");
        wrong("name = \"x\"\ntype = \"postgres\"", "did you mean \"postgresql\"");
        wrong("name = \"x\"\ntype = \"filesystem\"", "mount");
        wrong("name = \"x\"\ntype = \"filesystem\"\nmount = \"/a\"\nconnect = \"b\"", "connect");
        wrong("name = \"x\"\ntype = \"script\"\nrun = []", "run");
        wrong("name = \"x\"\ntype = \"script\"\nrun = [\"freeze\"]", "absolute");
        wrong("name = \"a/b\"\ntype = \"sqlite\"\nfile = \"/a\"", "not valid");
        wrong("name = \"x\"\ntype = \"sqlite\"\nfile = \"/a\"\ntimeout = \"1h\"", "timeout");
        wrong("name = \"x\"\ntype = \"sqlite\"\nfile = \"/a\"\n[[group.hook]]\nname = \"x\"\n"
              "type = \"sqlite\"\nfile = \"/b\"",
              "used twice");
    }

    TEST_CASE("bookmarks on a schedule: every or at, with {time} in their names") {
        const auto with = [](const std::string &lines) {
            return sender_text + ("[[group.bookmark]]\n" + lines);
        };
        const auto config = parse_sender_config(
            with("name = \"hourly-{time}\"\nevery = \"1h\"\napp = true\nkeep = \"7d\"\n"
                 "[[group.bookmark]]\nname = \"{time}\"\nat = \"02:30\""));
        REQUIRE_FALSE(config); // "{time}" alone begins with a digit
        const auto good = parse_sender_config(
            with("name = \"hourly-{time}\"\nevery = \"1h\"\napp = true\nkeep = \"7d\""));
        REQUIRE(good);
        const auto &b = good->groups[0].bookmarks.at(0);
        CHECK(b.name == "hourly-{time}");
        CHECK(b.when.every == duration(std::chrono::hours(1)));
        CHECK(b.app);
        CHECK(b.keep == duration(std::chrono::hours(24 * 7)));
        const auto wrong = [&](const char *lines, const char *word) {
            CAPTURE(lines);
            const std::string said = problem_of(with(lines));
            CHECK_MESSAGE(said.find(word) != std::string::npos, said);
        };
        wrong("name = \"hourly\"\nevery = \"1h\"", "{time}");
        wrong("name = \"h-{time}\"", "every");
        wrong("name = \"h-{time}\"\nevery = \"1h\"\nat = \"02:30\"", "every");
        wrong("name = \"h-{time}\"\nevery = \"1s\"", "at least");
        wrong("name = \"h-{time}\"\nat = \"25:00\"", "at");
    }
}

} // namespace farshore
