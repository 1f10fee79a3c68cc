// Real scripts that lie, hang, fork, print without end, or are killed.

#include "replicator/hook/script.hpp"
#include "tests/unit/hook/script_rig.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <unistd.h>

using namespace farshore;
using namespace farshore::hook;

namespace {

std::string script_refusal(script_rig &rig) {
    script_freezer one(rig.asked);
    tether t(std::chrono::seconds(10));
    const auto got = one.freeze(t);
    REQUIRE_FALSE(got);
    tether little(std::chrono::milliseconds(100)); // what does not end is killed then
    static_cast<void>(one.let_go(little));
    return got.error().text();
}

/// One that is frozen.
struct frozen_script {
    script_rig rig;
    script_freezer one{rig.asked};
    tether t{std::chrono::seconds(10)};
    facts known;
    explicit frozen_script(const script_parts &parts = {}) : rig(parts) {
        const auto got = one.freeze(t);
        REQUIRE_MESSAGE(got, got.error().text());
        known = *got;
    }
};

} // namespace

TEST_SUITE("hook") {
    TEST_CASE("script: frozen, proved, released") {
        frozen_script s({.before = "echo fact scn 123 456; echo something else"});
        CHECK(s.known.all() == decltype(s.known.all()){{"scn", "123 456"}});
        CHECK(s.rig.has("state"));
        CHECK(s.one.prove(s.t));
        const auto released = s.one.release(s.t);
        REQUIRE_MESSAGE(released, released.error().text());
        CHECK(released->all()[0] == std::pair<std::string, std::string>("word", "release"));
        CHECK_FALSE(s.rig.has("state"));
    }
    TEST_CASE("script: one that can't freeze, is not there, has no such user") {
        script_rig broken({.before = "echo broken >&2; exit 4"});
        const std::string why = script_refusal(broken);
        CHECK(why.contains("exit code 4"));
        CHECK(why.contains("broken"));
        broken.asked.run = {"/not/there"};
        CHECK(script_refusal(broken).contains("No such file"));
        broken.asked.user = "no-such-user";
        CHECK(script_refusal(broken).contains("no user"));
    }
    TEST_CASE("script: output without end is a failure") {
        script_rig lines({.before = "yes"});
        CHECK(script_refusal(lines).contains("prints more than it may"));
        script_rig line({.before = "yes | tr -d '\\n'"});
        CHECK(script_refusal(line).contains("prints more than it may"));
    }
    TEST_CASE("script: a line that is too long is a failure, also when it comes at once") {
        script_rig rig({.before = "printf '%03000d\\n' 0"});
        CHECK(script_refusal(rig).contains("prints more than it may"));
        frozen_script longest({.before = "printf '%01024d\\n' 0"});
        CHECK(longest.one.release(longest.t));
    }
    TEST_CASE("script: no file of ours is open in it") {
        const int ours = ::dup2(STDERR_FILENO, 50); // not close-on-exec, as of a library
        REQUIRE(ours == 50);
        frozen_script s({.before = "[ -e /proc/self/fd/50 ] && echo fact leaked 50"});
        ::close(ours);
        CHECK(s.known.all().empty());
        CHECK(s.one.release(s.t));
    }
    TEST_CASE("script: it runs as its user, or not at all") {
        script_rig rig({.before = "echo \"fact user $(id -un)\"; echo \"fact groups $(id -G)\""});
        const bool root = ::geteuid() == 0;
        rig.asked.user = root ? "nobody" : "root";
        if (!root) {
            CHECK(script_refusal(rig).contains("can't become the user"));
            return;
        }
        script_freezer one(rig.asked);
        tether t(std::chrono::seconds(10));
        const auto known = one.freeze(t);
        REQUIRE_MESSAGE(known, known.error().text());
        CHECK(known->all()[0].second == "nobody");
        CHECK_FALSE((" " + known->all()[1].second + " ").contains(" 0 "));
        CHECK(one.release(t));
    }
    TEST_CASE("script: what it forked ends with it, and its open output keeps nobody waiting") {
        frozen_script s({.during = "sleep 1234 & echo $! >child"});
        REQUIRE(comes_true([&] { return s.rig.number_in("child") > 0; }));
        const auto began = tether::clock::now();
        CHECK(s.one.release(s.t));
        CHECK(tether::clock::now() - began < std::chrono::seconds(5));
        CHECK(comes_true([&] { return process_gone(s.rig.number_in("child")); }));
    }
    TEST_CASE("script: one that ended while frozen is not proved") {
        frozen_script s({.during = "exit 0"});
        CHECK(comes_true([&] { return !s.one.prove(s.t); }));
        CHECK(s.one.let_go(s.t)); // it said that all is well
    }
    TEST_CASE("script: one that fails behind \"released\" is not proved, and released by force") {
        frozen_script s({.code = 5});
        REQUIRE(s.one.prove(s.t));
        const auto released = s.one.release(s.t);
        REQUIRE_FALSE(released);
        CHECK(released.error().text().contains("exit code 5"));
        CHECK_FALSE(s.one.let_go(s.t)); // it may still be frozen: the guard uses force
    }
    TEST_CASE("script: one that does not say \"released\" is not proved") {
        frozen_script s({.after = "exit 0"});
        const auto released = s.one.release(s.t);
        REQUIRE_FALSE(released);
        CHECK(released.error().text().contains("before it said \"released\""));
    }
    TEST_CASE("script: one that hangs when its input closes is killed") {
        frozen_script s({.after = "sleep 1234"});
        tether little(std::chrono::milliseconds(200));
        CHECK_FALSE(s.one.let_go(little));
        CHECK(comes_true([&] { return process_gone(s.rig.number_in("pid")); }));
    }
    TEST_CASE("script: one that was killed is started again to release") {
        frozen_script s;
        const pid_t pid = s.rig.number_in("pid");
        REQUIRE(pid > 1);
        ::kill(pid, SIGKILL);
        script_freezer other(s.rig.asked);
        CHECK(other.force_release(s.t, std::to_string(pid)));
        CHECK(s.rig.has("forced"));
        CHECK_FALSE(s.rig.has("state"));
    }
}
