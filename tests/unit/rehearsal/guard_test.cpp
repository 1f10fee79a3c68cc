// Real processes: that nothing is left is the point.

#include "replicator/rehearsal/guard.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace farshore;
using namespace farshore::rehearsal;
namespace fs = std::filesystem;

namespace {

/// A socket that is there, as the copy's would be.
struct served {
    std::string directory;
    std::string socket;
    int fd;
    served() {
        char name[] = "/tmp/farshore-guard-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        directory = name;
        socket = directory + "/s";
        fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::ranges::copy(socket, address.sun_path);
        REQUIRE(::bind(fd, reinterpret_cast<const sockaddr *>(&address), sizeof address) == 0);
        REQUIRE(::listen(fd, 4) == 0);
    }
    ~served() {
        ::close(fd);
        fs::remove_all(directory);
    }
};

struct played {
    std::vector<std::string> told;
    std::string output;
    std::string base;
    bool over = false;
};

script_plan plan_of(const std::string &script, duration timeout = std::chrono::seconds(20)) {
    script_plan p;
    p.run = {"/bin/sh", "-c", script};
    p.timeout = timeout;
    p.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
    return p;
}

/// To its end, or until `until` is printed.
played play(const served &copy, script_plan plan, bool namespaces, const char *until = nullptr,
            bool isolate = false) {
    const auto base = make_workplace(plan.user);
    REQUIRE(base);
    plan.directory = *base + "/dir";
    const workplace place{*base, copy.socket, {}, isolate};
    auto scripts = guarded_scripts::start(plan, place, namespaces);
    REQUIRE(scripts);
    played p;
    p.base = *base;
    const auto until_when = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!p.over && std::chrono::steady_clock::now() < until_when) {
        auto news = (*scripts)->look(std::chrono::milliseconds(100), -1);
        p.told.insert(p.told.end(), news.told.begin(), news.told.end());
        p.output += news.output;
        p.over = news.over;
        if (until != nullptr && p.output.contains(until)) {
            (*scripts)->end();
            CHECK((*scripts)->wait(std::chrono::seconds(20)));
            break;
        }
    }
    return p;
}

/// Processes of this host with that word among their arguments.
int running(const std::string &word) {
    int count = 0;
    for (const auto &entry : fs::directory_iterator("/proc")) {
        std::ifstream file(entry.path() / "cmdline");
        std::string words((std::istreambuf_iterator<char>(file)), {});
        std::ranges::replace(words, '\0', ' ');
        count += words.contains(word) ? 1 : 0;
    }
    return count;
}

/// With namespaces where they can be had, and without.
std::vector<bool> ways() {
    return has_namespaces() ? std::vector<bool>{true, false} : std::vector<bool>{false};
}

} // namespace

TEST_SUITE("guard") {
    TEST_CASE("a script runs in its directory, and its exit code is told") {
        const served copy;
        for (const bool namespaces : ways()) {
            CAPTURE(namespaces);
            const played p =
                play(copy, plan_of("pwd; echo to errors >&2; ls -A; cat; exit 3"), namespaces);
            CHECK(p.over);
            CHECK(p.told == std::vector<std::string>{"script", "ended 3"});
            CHECK(p.output == p.base + "/dir\nto errors\n"); // and standard input is empty
            CHECK_FALSE(fs::exists(p.base));
        }
    }

    TEST_CASE("what can't be run is told as such") {
        const served copy;
        script_plan plan = plan_of("");
        plan.run = {"/no/such/program"};
        const played p = play(copy, plan, false);
        REQUIRE(p.told.size() == 2);
        CHECK(p.told[1].starts_with("trouble /no/such/program can't be run: No such file"));
    }

    TEST_CASE("one that hangs is killed when its time is over, with all that it started") {
        const served copy;
        for (const bool namespaces : ways()) {
            CAPTURE(namespaces);
            const std::string mark = fmt::format("98765{}", ::getpid());
            const played p = play(copy,
                                  plan_of("trap '' TERM; setsid sleep " + mark + " & sleep " + mark,
                                          std::chrono::milliseconds(500)),
                                  namespaces);
            CHECK(p.over);
            CHECK(p.told == std::vector<std::string>{"script", "timed_out"});
            CHECK(running("sleep " + mark) == 0);
            CHECK_FALSE(fs::exists(p.base));
        }
    }

    TEST_CASE("daemons that it leaves end with it") {
        const served copy;
        for (const bool namespaces : ways()) {
            CAPTURE(namespaces);
            const std::string mark = fmt::format("87654{}", ::getpid());
            const played p =
                play(copy,
                     plan_of("(setsid sh -c 'trap \"\" TERM HUP; sleep " + mark + "; sleep " +
                             mark + "' >/dev/null 2>&1 &) ; touch left; mkdir -p a/b; exit 0"),
                     namespaces);
            CHECK(p.over);
            CHECK(p.told.back() == "ended 0");
            CHECK(running("sleep " + mark) == 0);
            CHECK_FALSE(fs::exists(p.base));
        }
    }

    TEST_CASE("an end that is asked for kills everything") {
        const served copy;
        for (const bool namespaces : ways()) {
            CAPTURE(namespaces);
            const std::string mark = fmt::format("76543{}", ::getpid());
            const played p =
                play(copy, plan_of("setsid sleep " + mark + " & echo up; sleep " + mark),
                     namespaces, "up");
            CHECK(running("sleep " + mark) == 0);
            CHECK_FALSE(fs::exists(p.base));
        }
    }

    TEST_CASE("who started it is killed: the guard does the same") {
        const served copy;
        for (const bool namespaces : ways()) {
            CAPTURE(namespaces);
            const std::string mark = fmt::format("65432{}", ::getpid());
            const std::string flag = copy.directory + "/up";
            const pid_t starter = ::fork();
            if (starter == 0) {
                played p = play(
                    copy, plan_of("setsid sleep " + mark + " & pwd > " + flag + "; sleep " + mark),
                    namespaces);
                ::_exit(0);
            }
            std::string base;
            for (int turn = 0; turn < 200 && base.empty(); ++turn) {
                std::ifstream(flag) >> base;
                ::usleep(50'000);
            }
            REQUIRE_FALSE(base.empty());
            ::kill(starter, SIGKILL);
            ::waitpid(starter, nullptr, 0);
            for (int turn = 0; turn < 200 && (running("sleep " + mark) > 0 || fs::exists(base));
                 ++turn) {
                ::usleep(50'000);
            }
            CHECK(running("sleep " + mark) == 0);
            CHECK_FALSE(fs::exists(base));
            fs::remove(flag);
        }
    }

    TEST_CASE("output without end is taken, and does not stop it") {
        const served copy;
        const played p =
            play(copy, plan_of("head -c 20000000 /dev/zero | tr '\\0' x; exit 0"), false);
        CHECK(p.output.size() == 20'000'000);
        CHECK(p.told.back() == "ended 0");
    }

    TEST_CASE("steps are up before the script, and ended after it, the last one first") {
        const served copy;
        for (const bool namespaces : ways()) {
            CAPTURE(namespaces);
            script_plan plan = plan_of("echo script; cat log");
            const auto server = [](const std::string &name) {
                return start_step{name,
                                  {"/bin/sh", "-c",
                                   "exec 2>/dev/null; trap 'echo stop " + name +
                                       "; exit 0' TERM; echo " + name + " >> log; touch " + name +
                                       ".up; while :; do sleep 0.05; done"},
                                  {"/bin/sh", "-c", "test -e " + name + ".up"},
                                  std::chrono::seconds(10)};
            };
            plan.steps = {
                server("db"), server("web"),
                start_step{
                    "once", {"/bin/sh", "-c", "echo once >> log"}, {}, std::chrono::seconds(10)}};
            const played p = play(copy, plan, namespaces);
            CHECK(p.told == std::vector<std::string>{"step db", "step web", "step once", "script",
                                                     "ended 0"});
            CHECK(p.output == "script\ndb\nweb\nonce\nstop web\nstop db\n");
        }
    }

    TEST_CASE("a step that fails is named, and nothing more is started") {
        const served copy;
        struct row {
            start_step step;
            const char *words;
        };
        const std::vector<row> rows{
            {{"db", {"/bin/sh", "-c", "exit 4"}, {}, std::chrono::seconds(10)},
             "step_failed db ended with 4"},
            {{"db", {"/bin/sh", "-c", "sleep 60"}, {}, std::chrono::milliseconds(300)},
             "step_failed db did not end in time"},
            {{"db", {"/bin/sh", "-c", "exit 5"}, {"/bin/false"}, std::chrono::seconds(10)},
             "step_failed db ended with 5 before its probe passed"},
            {{"db", {"/bin/sh", "-c", "sleep 60"}, {"/bin/false"}, std::chrono::milliseconds(700)},
             "step_failed db no probe passed in time: the last one ended with 1"},
            {{"db",
              {"/bin/sh", "-c", "sleep 60"},
              {"/bin/sleep", "60"},
              std::chrono::milliseconds(700)},
             "step_failed db no probe passed in time: none ended"},
            {{"db", {"/no/such"}, {}, std::chrono::seconds(10)},
             "step_failed db /no/such can't be run"},
        };
        for (const row &r : rows) {
            CAPTURE(r.words);
            script_plan plan = plan_of("echo never");
            plan.steps = {r.step, start_step{"next", {"/bin/true"}, {}, std::chrono::seconds(1)}};
            const played p = play(copy, plan, false);
            REQUIRE(p.told.size() == 2);
            CHECK(p.told[0] == "step db");
            CHECK(p.told[1].starts_with(r.words));
            CHECK(p.output.empty());
        }
    }

    TEST_CASE("isolated it has lo and nothing else, and the copy's socket is there") {
        if (!has_namespaces()) {
            MESSAGE("skipped: this user may not make namespaces");
            return;
        }
        const served copy;
        const played p = play(copy,
                              plan_of("grep -c : /proc/net/dev; cat /sys/class/net/lo/operstate "
                                      "2>/dev/null; test -S ../nbd && echo socket; ls /proc | "
                                      "grep -c '^[0-9]' ; ip -o link 2>/dev/null | wc -l"),
                              true, nullptr, true);
        CHECK(p.told.back() == "ended 0");
        CHECK(p.output.starts_with("1\n"));
        CHECK(p.output.contains("socket"));
    }
}
