// Where a promoted group is served, when a promotion is final, and when a primary that comes back
// lets its clients in.

#include "replicator/config/config_file.hpp"

#include <doctest/doctest.h>

#include <string>

namespace farshore {
namespace {

std::string receiver_with(const std::string &line) {
    return "[receiver]\nstate = \"/s\"\nlisten = \"0.0.0.0:7420\"\ncontrol = \"/c\"\n"
           "[[group]]\nname = \"shop\"\nreplica = \"/r\"\n" +
           line + "\n";
}

std::string sender_with(const std::string &line) {
    return "[sender]\nstate = \"/s\"\ncontrol = \"/c\"\n[[group]]\nname = \"shop\"\n" + line +
           "\n[[group.volume]]\nname = \"data\"\npath = \"/d\"\nnbd = \"unix:/run/d.sock\"\n";
}

/// What is said of the first problem.
std::string problem_in(const std::string &text) {
    const auto config = parse_config(text);
    return config || config.error().empty() ? "" : config.error().front().what;
}

bool says_in(const std::string &text, const std::string &word) {
    return problem_in(text).find(word) != std::string::npos;
}

} // namespace

TEST_SUITE("config_file") {
    TEST_CASE("serve: where a promoted group is served, or nowhere") {
        const auto plain = parse_receiver_config(receiver_with(""));
        REQUIRE(plain);
        CHECK(plain->groups[0].serve.empty());
        CHECK_FALSE(plain->groups[0].commit_after);
        const auto set = parse_receiver_config(
            receiver_with("serve = \"unix:/run/{volume}.sock\"\ncommit_after = \"4h\""));
        REQUIRE(set);
        CHECK(set->groups[0].serve == "unix:/run/{volume}.sock");
        CHECK(set->groups[0].commit_after == duration(std::chrono::hours(4)));
        const auto never = parse_receiver_config(receiver_with("commit_after = \"never\""));
        REQUIRE(never);
        CHECK_FALSE(never->groups[0].commit_after);
        CHECK(says_in(receiver_with("serve = \"/run/d.sock\""), "serve"));
        CHECK(says_in(receiver_with("serve = 5"), "serve"));
        for (const char *wrong : {"\"1s\"", "\"soon\"", "\"\"", "4"}) {
            CAPTURE(wrong);
            CHECK(says_in(receiver_with(std::string("commit_after = ") + wrong), "commit_after"));
        }
        CHECK(says_in(sender_with("serve = \"unix:/run/{volume}.sock\""), "serve"));
    }

    TEST_CASE("start: whether clients of a sender's group wait for the DR site") {
        for (const auto &[line, waits] : {std::pair{"", false},
                                          {"start = \"always\"", false},
                                          {"start = \"after-contact\"", true}}) {
            CAPTURE(line);
            const auto config = parse_sender_config(sender_with(line));
            REQUIRE(config);
            CHECK(config->groups[0].start_after_contact == waits);
        }
        for (const char *wrong : {"\"after contact\"", "\"never\"", "true", "\"\""}) {
            CAPTURE(wrong);
            CHECK(says_in(sender_with(std::string("start = ") + wrong), "start"));
        }
    }
}

} // namespace farshore
