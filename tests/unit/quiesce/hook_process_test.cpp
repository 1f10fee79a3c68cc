// The daemon's side of a hook with real processes in the place of farshore-hook: what it believes,
// and what becomes of them.

#include "replicator/quiesce/hook_process.hpp"
#include "tests/support/temp_directory.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sys/stat.h>

using namespace farshore;
using namespace std::chrono_literals;

namespace {

/// The machine's clock, so many times as fast: seconds of patience are over soon.
class hasty_clock final : public time_source {
  public:
    explicit hasty_clock(int times) : times_(times) {}
    time_point now() const override { return start_ + (machine_.now() - start_) * times_; }
    wall_time wall() const override { return machine_.wall(); }
    void arm(asio::steady_timer &timer, time_point deadline) override {
        machine_.arm(timer, machine_.now() + (deadline - now()) / times_);
    }
    void disarm(asio::steady_timer &timer) override { machine_.disarm(timer); }

  private:
    int times_;
    system_clock machine_;
    time_point start_ = machine_.now();
};

/// A program for the place of farshore-hook: shell.
struct stand_in {
    temp_directory directory;
    hasty_clock clock;
    asio::io_context home;
    runtime run{home.get_executor(), home.get_executor(), home.get_executor(), home.get_executor(),
                &clock};
    hook_config hook;
    hook_processes hooks{{directory / "hook.sh", {}}, run};

    explicit stand_in(const std::string &shell, int times = 1) : clock(times) {
        std::ofstream(directory / "hook.sh")
            << "#!/bin/sh\ncd " << directory.path() << "\necho $$ >pid\n"
            << shell << "\n";
        ::chmod((directory / "hook.sh").c_str(), 0755);
        hook.name = "db";
        hook.type = "script";
        hook.run = {"/bin/true"};
        hook.timeout = 20s;
    }
    ~stand_in() { await(hooks.join()); }
    stand_in(const stand_in &) = delete;
    stand_in &operator=(const stand_in &) = delete;

    template <class T>
    T await(task<T> what) {
        std::conditional_t<std::is_void_v<T>, std::optional<bool>, std::optional<T>> got;
        asio::co_spawn(home, std::move(what), [&](const std::exception_ptr &e, auto... value) {
            if (!e) {
                got.emplace(std::move(value)...);
            }
        });
        home.restart();
        while (!got && home.run_one_for(20s) > 0) {
        }
        REQUIRE(got.has_value());
        if constexpr (!std::is_void_v<T>) {
            return std::move(*got);
        }
    }
    freeze_outcome freeze() { return await(hooks.freeze(hook, {"shop", "nightly", {}})); }
    std::string refusal() {
        const auto out = freeze();
        CHECK_FALSE(out.held);
        CHECK_FALSE(out.result.ok);
        return out.result.message;
    }
    hook_result released() {
        const auto out = freeze();
        REQUIRE_MESSAGE(out.held, out.result.message);
        return await(out.held->release());
    }
    pid_t pid() const {
        std::ifstream file(directory / "pid");
        pid_t number = 0;
        file >> number;
        return number;
    }
};

/// It reads the request, says that it is frozen, and reads what is said then.
std::string frozen_then(const std::string &shell) {
    return R"(read -r request; echo '{"event":"frozen","facts":{"lsn":"0/1"}}'
read -r command
)" + shell;
}

} // namespace

TEST_SUITE("quiesce") {
    TEST_CASE("hook process: frozen, released, proved") {
        stand_in s(frozen_then(R"([ "$command" = '{"command":"release"}' ] || exit 1
echo '{"event":"released","proved":true,"frozen_ms":1.5,"facts":{"stop":"0/2","no name":"x"}}')"));
        const auto got = s.released();
        CHECK_MESSAGE(got.ok, got.message);
        CHECK(got.freeze == 1500us);
        CHECK(got.facts ==
              std::vector<std::pair<std::string, std::string>>{{"lsn", "0/1"}, {"stop", "0/2"}});
    }
    TEST_CASE("hook process: one that can't be started, or refuses") {
        stand_in refuses(R"(read -r request; echo '{"event":"failed","message":"it is down"}')");
        CHECK(refuses.refusal() == "it is down");
        std::filesystem::remove(refuses.directory / "hook.sh");
        CHECK(refuses.refusal().contains("can't be started"));
    }
    TEST_CASE("hook process: nonsense, too much, and an end without a word are no freeze") {
        CHECK(stand_in("echo nonsense; cat >/dev/null").refusal().contains("no event"));
        CHECK(stand_in("echo '[]'; cat >/dev/null").refusal().contains("no event"));
        CHECK(stand_in("echo '{\"event\":1}'; cat >/dev/null").refusal().contains("no event"));
        CHECK(stand_in("yes | tr -d '\\n'").refusal().contains("said too much"));
        CHECK(stand_in("exit 0").refusal().contains("ended"));
        CHECK(stand_in("echo '{\"event\":\"released\"}'; cat >/dev/null").refusal() ==
              "it could not be frozen");
    }
    TEST_CASE("hook process: one that is silent is given up at its time") {
        stand_in s("exec cat >/dev/null");
        s.hook.timeout = 200ms;
        const auto began = s.clock.now();
        CHECK(s.refusal().contains("not frozen within its time"));
        CHECK(s.clock.now() - began < 10s);
    }
    TEST_CASE("hook process: only \"released\" with its proof is ok") {
        const auto message = [](const std::string &line) {
            stand_in s(frozen_then(line));
            const auto got = s.released();
            CHECK_FALSE(got.ok);
            return got.message;
        };
        CHECK(message("exit 0").contains("ended"));
        CHECK(message("echo '{\"event\":\"released\"}'") == "its freeze was not proved");
        CHECK(message("echo '{\"event\":\"released\",\"proved\":\"true\"}'") ==
              "its freeze was not proved");
        CHECK(
            message("echo '{\"event\":\"released\",\"proved\":false,\"message\":\"restarted\"}'") ==
            "restarted");
        CHECK(message("echo '{\"event\":\"expired\",\"proved\":true,\"message\":\"late\"}'") ==
              "it was released before the barrier was cut: late");
        CHECK(message("echo '{\"event\":\"released\",\"proved\":true'").contains("no event"));
    }
    TEST_CASE("hook process: what is let go sees the end of its input") {
        stand_in s("read -r request; echo '{\"event\":\"frozen\"}'; cat >/dev/null; echo >ended");
        {
            const auto out = s.freeze();
            REQUIRE(out.held);
        }
        s.await(s.hooks.join());
        CHECK(std::filesystem::exists(s.directory / "ended"));
    }
    TEST_CASE("hook process: one that does not end is told to, then killed") {
        stand_in s("trap '' TERM; read -r request; echo '{\"event\":\"frozen\"}'\n"
                   "while :; do sleep 0.1; done",
                   50);
        {
            const auto out = s.freeze();
            REQUIRE_MESSAGE(out.held, out.result.message);
        }
        s.await(s.hooks.join());
        const pid_t pid = s.pid();
        REQUIRE(pid > 1);
        const bool there = ::kill(pid, 0) == 0;
        CHECK_FALSE(there);
        if (there) { // its handling was wrong
            ::kill(pid, SIGKILL);
        }
    }
}
