#include "replicator/base/program.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <thread>
#include <unistd.h>

using namespace farshore;
using namespace std::chrono_literals;

namespace {

program_end shell(const std::string &script, program_limits limits = {}) {
    const auto end = run_program({"sh", "-c", script}, limits);
    REQUIRE_MESSAGE(end, (end ? "" : end.error().text()));
    return *end;
}

} // namespace

TEST_SUITE("base") {
    TEST_CASE("program: both streams, the exit code, no input") {
        const program_end end = shell("echo out; echo err >&2; cat; exit 7");
        CHECK(end.code == 7);
        CHECK(end.output == "out\n");
        CHECK(end.words == "err\n");
        CHECK_FALSE(end.timed_out);
        CHECK(failure_of("sh", end) == "sh failed (7): err");
        CHECK(failure_of("sh", shell("echo fine")).empty());
        CHECK(failure_of("sh", shell("kill -15 $$")) == "sh was ended by signal 15");
    }
    TEST_CASE("program: words are no shell's") {
        const auto end = run_program({"printf", "%s|", "$HOME; exit 3", "a b"});
        REQUIRE(end);
        CHECK(end->output == "$HOME; exit 3|a b|");
    }
    TEST_CASE("program: one that is not there is named") {
        const auto end = run_program({"no-such-program-here"});
        REQUIRE(!end);
        CHECK(is_errno(end.error(), ENOENT));
        CHECK(end.error().text().find("no-such-program-here") != std::string::npos);
    }
    TEST_CASE("program: more output than is kept does not stop it") {
        const program_end end =
            shell("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; exit 5",
                  {.output_bytes_max = 1000});
        CHECK(end.code == 5);
        CHECK(end.output.size() == 1000);
        CHECK(end.words.size() == 1000);
    }
    TEST_CASE("program: patience ends it and what it started") {
        const auto before = std::chrono::steady_clock::now();
        const program_end end =
            shell("trap '' TERM; sleep 60 & echo $!; wait; sleep 60", {.patience = 300ms});
        CHECK(end.timed_out);
        CHECK(end.code == 128 + SIGKILL);
        CHECK(std::chrono::steady_clock::now() - before < 10s);
        const pid_t grandchild = std::stoi(end.output);
        for (int i = 0; i < 100 && ::kill(grandchild, 0) == 0; ++i) {
            std::this_thread::sleep_for(20ms);
        }
        // Somebody else reaps it; until then it is there as a zombie, which runs no more.
        CHECK((::kill(grandchild, 0) != 0 ||
               failure_of("sh", end).find("in time") != std::string::npos));
    }
    TEST_CASE("program: one that left a child behind with its output does not keep us") {
        const auto before = std::chrono::steady_clock::now();
        const program_end end = shell("sleep 5 & echo done");
        CHECK(end.output == "done\n");
        CHECK(std::chrono::steady_clock::now() - before < 4s);
    }
    TEST_CASE("program: no file of ours is open in it") {
        constexpr int high = 77; // `ls` has low ones of its own
        const int leaked = ::open("/dev/null", O_RDONLY);
        REQUIRE(::dup2(leaked, high) == high); // not close-on-exec
        const program_end end = shell("ls /proc/self/fd");
        ::close(leaked);
        ::close(high);
        CHECK(end.output.find("77") == std::string::npos);
    }
    TEST_CASE("program: beside us, stopped by a signal or killed") {
        auto running = program::start({"sh", "-c", "echo hello >&2; sleep 60"});
        REQUIRE(running);
        CHECK((*running)->running());
        std::string said;
        for (int i = 0; i < 200 && said.empty(); ++i) {
            said = (*running)->words();
            std::this_thread::sleep_for(10ms);
        }
        CHECK(said == "hello\n");
        CHECK((*running)->stop(5s));
        CHECK_FALSE((*running)->running());

        auto stubborn = program::start({"sh", "-c", "trap '' TERM; while :; do sleep 1; done"});
        REQUIRE(stubborn);
        std::this_thread::sleep_for(100ms);
        CHECK((*stubborn)->stop(200ms));

        auto talker = program::start({"sh", "-c", "head -c 1000000 /dev/zero >&2; exit 0"});
        REQUIRE(talker); // its words have no reader, and it is not kept by that
        for (int i = 0; i < 500 && (*talker)->running(); ++i) {
            std::this_thread::sleep_for(10ms);
        }
        CHECK_FALSE((*talker)->running());
    }
}
