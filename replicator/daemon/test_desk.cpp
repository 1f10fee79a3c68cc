#include "replicator/daemon/test_desk.hpp"

#include "replicator/base/log.hpp"
#include "replicator/base/schedule.hpp"
#include "replicator/control/exit_code.hpp"
#include "replicator/control/json_guard.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

namespace farshore {
namespace {

/// The control socket listens once the engine has started.
constexpr duration first_look = std::chrono::seconds(1);
/// The wall clock may be set meanwhile.
constexpr duration look_at_least = std::chrono::seconds(10);
constexpr duration look_at_most = std::chrono::milliseconds(200);
constexpr duration no_copy_pause = std::chrono::seconds(5);
constexpr duration child_patience = std::chrono::seconds(4); ///< to end its script, and itself

std::string cli_program() {
    std::error_code ec;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", ec);
    const auto beside = self.parent_path() / "farshore";
    return !ec && std::filesystem::exists(beside, ec) ? beside.string() : "farshore";
}

/// Why there was no verdict, as the child said it.
std::string reason_of(const std::string &output, const std::string &words) {
    const auto document = control::parse_json(output.substr(0, output.find('\n')));
    if (document && document->is_object() && document->contains("error") &&
        (*document)["error"].is_object()) {
        const auto &e = (*document)["error"];
        if (const auto m = e.find("message"); m != e.end() && m->is_string()) {
            return m->get<std::string>();
        }
    }
    return words;
}

std::string milliseconds_text(duration d) {
    return fmt::format("{}ms", std::chrono::ceil<std::chrono::milliseconds>(d).count());
}

} // namespace

test_desk::test_desk(receiver &engine, const receiver_config &config, runtime run,
                     std::string socket)
    : engine_(engine), run_(std::move(run)), program_(cli_program()), socket_(std::move(socket)),
      tasks_(run_.home) {
    for (const receiver_group_config &g : config.groups) {
        if (g.tests.empty()) {
            continue;
        }
        auto all = std::make_shared<group_tests>();
        all->group = g.name;
        for (const test_config &t : g.tests) {
            all->tests.push_back({t, false, std::nullopt, {}});
        }
        groups_.push_back(std::move(all));
    }
}

void test_desk::start() {
    for (const auto &g : groups_) {
        tasks_.spawn(live(g));
    }
}

void test_desk::end() {
    ending_ = true;
    ended_.notify_all();
}

std::vector<std::string> test_desk::words_of(const std::string &program, const std::string &socket,
                                             const std::string &group, const test_config &t) {
    std::vector<std::string> words{program,     "--socket",
                                   socket,      "--json",
                                   "test",      group,
                                   "--name",    t.name,
                                   "--point",   t.point,
                                   "--run",     t.run[0],
                                   "--timeout", milliseconds_text(t.timeout)};
    for (std::size_t i = 1; i < t.run.size(); ++i) {
        words.push_back("--arg=" + t.run[i]); // it may begin with a dash
    }
    if (t.isolate) {
        words.emplace_back("--isolate");
    }
    if (t.mount) {
        words.emplace_back("--mount");
    }
    if (t.space_bytes) {
        words.insert(words.end(), {"--space", fmt::format("{}KiB", *t.space_bytes / 1024)});
    }
    if (!t.user.empty()) {
        words.insert(words.end(), {"--user", t.user});
    }
    return words;
}

task<void> test_desk::sleep(duration most) {
    co_await ended_.wait_until(*run_.time, run_.time->now() + most);
}

task<void> test_desk::live(std::shared_ptr<group_tests> g) {
    co_await sleep(first_look);
    while (!ending_) {
        if (!co_await look(*g)) {
            co_await sleep(no_copy_pause);
            continue;
        }
        const auto next = std::ranges::min_element(g->tests, {}, &planned::due);
        const duration left = next->due - run_.time->wall();
        if (left > duration{}) {
            co_await sleep(std::clamp(left, look_at_most, look_at_least));
        } else {
            co_await rehearse(g->group, *next);
        }
    }
}

bool test_desk::has_point(const std::string &group) const {
    const auto all = engine_.status();
    const auto at = std::ranges::find(all, group, &receiver_group_status::name);
    return at != all.end() && at->points > 0;
}

task<bool> test_desk::look(group_tests &g) {
    if (!has_point(g.group)) {
        co_return false;
    }
    for (planned &p : g.tests) {
        const std::string what = "test " + p.test.name;
        if (!p.known) {
            const auto last = co_await engine_.begun(g.group, what);
            if (!last) {
                co_return false;
            }
            p.last = *last;
            p.known = true;
        }
        const wall_time now = run_.time->wall();
        const auto settled = settle_last(p.test.when, p.last, now);
        if (settled && settled != p.last) {
            if (!co_await engine_.set_begun(g.group, what, *settled)) {
                co_return false;
            }
            p.last = settled;
        }
        p.due = next_due(p.test.when, p.last, now, local_zone);
    }
    co_return true;
}

task<void> test_desk::rehearse(const std::string &group, planned &p) {
    const wall_time now = run_.time->wall();
    if (const auto noted = co_await engine_.set_begun(group, "test " + p.test.name, now); !noted) {
        log::warning("group {}: rehearsal \"{}\" is not begun: {}", group, p.test.name,
                     noted.error().text());
        co_await sleep(no_copy_pause);
        co_return;
    }
    p.last = now;
    using child_result = result<std::shared_ptr<program>>;
    const auto started =
        co_await run_on(run_.disk, [words = words_of(program_, socket_, group, p.test)] {
            auto child = program::start(words);
            return child ? child_result(std::move(*child)) : std::unexpected(child.error());
        });
    if (!started) {
        co_await not_run(group, p, started.error().text());
        co_return;
    }
    log::info("group {}: rehearsal \"{}\" begins", group, p.test.name);
    co_await follow(group, p, *started);
}

task<void> test_desk::not_run(const std::string &group, const planned &p, std::string why) {
    log::error("group {}: rehearsal \"{}\" could not be run: {}", group, p.test.name, why);
    const auto noted = co_await engine_.note_unrun(
        group, {p.last.value_or(wall_time{}), p.test.name, false, {}, std::move(why)});
    if (!noted) {
        log::warning("group {}: the report does not have it: {}", group, noted.error().text());
    }
}

task<void> test_desk::follow(const std::string &group, const planned &p,
                             std::shared_ptr<program> child) {
    while (child->running() && !ending_) {
        co_await sleep(look_at_most);
    }
    co_await run_on(run_.disk, [child] { return child->stop(child_patience); });
    if (ending_) {
        co_return;
    }
    const int code = child->code().value_or(-1);
    const bool judged = code == value_of(exit_code::ok) || code == value_of(exit_code::timed_out) ||
                        code == value_of(exit_code::partly);
    if (!judged) {
        const std::string why = reason_of(child->output(), child->words());
        co_await not_run(group, p, why.empty() ? "it ended without a verdict" : why);
    }
}

} // namespace farshore
