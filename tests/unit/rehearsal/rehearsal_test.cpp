// A whole rehearsal, with a receiver that is a process of its own and has no copy: what the two say
// to each other, and what becomes of the script when one of them ends.

#include "replicator/base/async.hpp"
#include "replicator/control/control.hpp"
#include "replicator/rehearsal/guard.hpp"
#include "replicator/rehearsal/rehearsal.hpp"

#include <doctest/doctest.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sys/wait.h>
#include <unistd.h>

using namespace farshore;
using control::json;
namespace fs = std::filesystem;

namespace {

/// Opens one point, takes results, and writes down what it was asked.
class fake_receiver {
  public:
    explicit fake_receiver(json start = json::array()) {
        char name[] = "/tmp/farshore-rehearsal-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        directory = name;
        pid_ = ::fork();
        if (pid_ == 0) {
            serve(std::move(start));
        }
        for (int turn = 0; turn < 200 && !fs::exists(socket()); ++turn) {
            ::usleep(10'000);
        }
        REQUIRE(fs::exists(socket()));
    }
    ~fake_receiver() {
        kill();
        fs::remove_all(directory);
    }
    void kill() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
            pid_ = -1;
        }
    }
    pid_t pid() const { return pid_; }
    std::string socket() const { return directory + "/control"; }
    /// Requests of that command, oldest first.
    std::vector<json> asked(const std::string &command) const {
        std::ifstream file(directory + "/asked");
        std::vector<json> all;
        for (std::string line; std::getline(file, line);) {
            const json one = json::parse(line);
            if (one["command"] == command) {
                all.push_back(one["arguments"]);
            }
        }
        return all;
    }

    std::string directory;

  private:
    static task<control::outcome> answer(std::string directory, json start, std::string command,
                                         json arguments, control::progress_sink progress) {
        std::ofstream(directory + "/asked", std::ios::app)
            << json{{"command", command}, {"arguments", arguments}}.dump() << "\n";
        if (command == "open_attached") {
            progress({{"opened",
                       {{"id", "shop-a1"},
                        {"group", "shop"},
                        {"point", "17"},
                        {"uris", {{"data", "nbd+unix:///data?socket=" + directory + "/control"}}},
                        {"facts", {{"time", "2026-01-31T18:00:00.000Z"}, {"kind", "app"}}},
                        {"start", start}}}});
            condition never;
            co_await never.wait();
        }
        co_return json{{"done", "noted"}};
    }

    [[noreturn]] void serve(json start) const {
        asio::io_context io(1);
        control::server server(io.get_executor(), [d = directory,
                                                   start](std::string command, json arguments,
                                                          control::progress_sink progress) {
            return answer(d, start, std::move(command), std::move(arguments), std::move(progress));
        });
        if (!server.listen(socket())) {
            ::_exit(1);
        }
        io.run();
        ::_exit(0);
    }

    pid_t pid_ = -1;
};

struct played {
    control::outcome outcome = nullptr;
    std::vector<std::string> remarks;
};

played play(
    const fake_receiver &r, const std::string &script, duration timeout = std::chrono::seconds(30),
    const std::function<bool()> &stop = [] { return false; }) {
    played p;
    rehearsal::request wanted;
    wanted.from.group = "shop";
    wanted.from.point = "latest";
    wanted.from.writable = true;
    wanted.name = "nightly";
    wanted.run = {"/bin/sh", "-c", script};
    wanted.timeout = timeout;
    const carry::means with{r.socket(), control::call_limits{}, stop,
                            [](const std::string &, std::uint64_t, std::uint64_t) {},
                            [&](const std::string &text) { p.remarks.push_back(text); }};
    p.outcome = rehearsal::run(wanted, with, nullptr);
    return p;
}

int workplaces() {
    int count = 0;
    for (const auto &entry : fs::directory_iterator("/tmp")) {
        count += entry.path().filename().string().starts_with("farshore-test-") ? 1 : 0;
    }
    return count;
}

} // namespace

TEST_SUITE("rehearsal") {
    TEST_CASE("one that passes is told and noted, and the copy is closed") {
        const fake_receiver r;
        const int before = workplaces();
        const auto p = play(r, "echo $FARSHORE_POINT $FARSHORE_POINT_KIND; test -S "
                               "$FARSHORE_NBD_SOCKET && test -d $FARSHORE_DIR");
        REQUIRE(p.outcome);
        const json &d = *p.outcome;
        CHECK(d["group"] == "shop");
        CHECK(d["point"] == "17");
        CHECK(d["passed"] == true);
        CHECK(d["timed_out"] == false);
        CHECK(d["recorded"] == true);
        CHECK(d["message"] == "17 app");
        CHECK(r.asked("open_attached") ==
              std::vector<json>{{{"group", "shop"}, {"point", "latest"}, {"writable", true}}});
        REQUIRE(r.asked("note_test").size() == 1);
        const json noted = r.asked("note_test")[0];
        CHECK(noted["point"] == "17");
        CHECK(noted["name"] == "nightly");
        CHECK(noted["passed"] == true);
        CHECK(noted["message"] == "17 app");
        CHECK(r.asked("close") == std::vector<json>{{{"id", "shop-a1"}}});
        CHECK(workplaces() == before);
    }

    TEST_CASE("one that fails or is late is noted, and says how") {
        const fake_receiver r;
        const auto failed = play(r, "echo broken; exit 3");
        REQUIRE(failed.outcome);
        CHECK((*failed.outcome)["passed"] == false);
        CHECK((*failed.outcome)["message"] == "the script ended with 3\nbroken");
        const auto late = play(r, "sleep 60", std::chrono::milliseconds(300));
        REQUIRE(late.outcome);
        CHECK((*late.outcome)["timed_out"] == true);
        CHECK((*late.outcome)["passed"] == false);
        CHECK(r.asked("note_test").size() == 2);
        CHECK(r.asked("close").size() == 2);
    }

    TEST_CASE("a step of the runbook that fails is named") {
        const fake_receiver r(json::array({{{"name", "db"},
                                            {"run", {"/bin/sh", "-c", "exit 4"}},
                                            {"probe", json::array()},
                                            {"timeout_ms", 9000}}}));
        const auto p = play(r, "true");
        REQUIRE(p.outcome);
        CHECK((*p.outcome)["passed"] == false);
        CHECK((*p.outcome)["message"] == "step \"db\" ended with 4");
        CHECK(r.asked("note_test").size() == 1);
    }

    TEST_CASE("what is no verdict is not noted") {
        const fake_receiver r;
        bool stopped = false;
        const auto cut = play(r, "sleep 60", std::chrono::seconds(30), [&] {
            const bool now = stopped;
            stopped = true;
            return now;
        });
        REQUIRE_FALSE(cut.outcome);
        CHECK(cut.outcome.error().exit == 130);
        const fake_receiver bad(json::array({{{"name", "db"}}}));
        const auto unread = play(bad, "true");
        REQUIRE_FALSE(unread.outcome);
        CHECK(unread.outcome.error().message.contains("list of steps"));
        CHECK(r.asked("note_test").empty());
        CHECK(bad.asked("note_test").empty());
        CHECK(bad.asked("close").size() == 1);
    }

    TEST_CASE("a receiver that ends in the middle ends it") {
        fake_receiver r;
        const int before = workplaces();
        const auto began = std::chrono::steady_clock::now();
        // In a process namespace the number means nothing: who kills it is beside the script.
        const pid_t killer = ::fork();
        if (killer == 0) {
            ::sleep(1);
            ::kill(r.pid(), SIGKILL);
            ::_exit(0);
        }
        const auto p = play(r, "sleep 60");
        ::waitpid(killer, nullptr, 0);
        REQUIRE_FALSE(p.outcome);
        CHECK(p.outcome.error().exit == 1);
        CHECK(p.outcome.error().message.contains("receiver ended in the middle"));
        CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(20));
        CHECK(workplaces() == before);
    }

    TEST_CASE("a receiver that is not there is said") {
        fake_receiver r;
        r.kill();
        const auto p = play(r, "true");
        REQUIRE_FALSE(p.outcome);
        CHECK(p.outcome.error().exit == 1);
    }
}
