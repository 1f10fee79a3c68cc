#include "replicator/quiesce/hook_process.hpp"

#include "replicator/base/clean_text.hpp"
#include "replicator/base/log.hpp"
#include "replicator/base/plain_name.hpp"
#include "replicator/base/unique_fd.hpp"

#include <asio/buffer.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/write.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

extern char **environ;

namespace farshore {

using json = nlohmann::json;

namespace {

/// From the end of its input, and from each hint after it, to the next one: a script that hangs is
/// killed and released by force within 8 s.
constexpr duration input_grace = std::chrono::seconds(9);
constexpr duration hint_grace = std::chrono::seconds(2);
constexpr duration reap_every = std::chrono::milliseconds(10);

struct spawned {
    pid_t pid = 0;
    unique_fd ours;
};

/// Its standard input and output are the other end; no other descriptor of ours is.
result<spawned> spawn(const std::string &program) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        return fail_errno(errno, "a socket pair for a hook");
    }
    spawned s{0, unique_fd(ends[0])};
    const unique_fd theirs(ends[1]);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), 0);
    ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), 1);
    ::posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    ::posix_spawnattr_setflags(&attributes,
                               POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    std::string name = program;
    std::array<char *, 2> words{name.data(), nullptr};
    const int failed =
        ::posix_spawn(&s.pid, program.c_str(), &actions, &attributes, words.data(), environ);
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) {
        return fail_errno(failed, program);
    }
    return s;
}

std::string words_of(const json &event, const char *key) {
    const auto at = event.find(key);
    return at != event.end() && at->is_string()
               ? clean_text(at->get<std::string>(), label_message_bytes_max - 3)
               : "";
}

/// Those that a label takes; what is too long is cut, what is no name is left out.
std::vector<std::pair<std::string, std::string>> facts_of(const json &event) {
    std::vector<std::pair<std::string, std::string>> facts;
    const auto at = event.find("facts");
    if (at == event.end() || !at->is_object()) {
        return facts;
    }
    for (const auto &[key, value] : at->items()) {
        if (facts.size() < label_facts_max && is_plain_name(key) && value.is_string()) {
            facts.emplace_back(key,
                               clean_text(value.get<std::string>(), label_value_bytes_max - 3));
        }
    }
    return facts;
}

std::chrono::microseconds held_for(const json &event) {
    constexpr double most_ms = 1e9;
    const auto at = event.find("frozen_ms");
    const double ms = at != event.end() && at->is_number() ? at->get<double>() : 0.0;
    return std::chrono::microseconds(
        static_cast<std::int64_t>(std::clamp(ms, 0.0, most_ms) * 1000));
}

json request_of(const hook_config &hook, const hook_context &context,
                const std::vector<std::string> &never) {
    json volumes = json::array();
    for (const auto &[name, path] : context.volumes) {
        volumes.push_back({{"name", name}, {"path", path}});
    }
    json request{{"version", 1},
                 {"name", hook.name},
                 {"type", hook.type},
                 {"timeout_ms", std::chrono::ceil<std::chrono::milliseconds>(hook.timeout).count()},
                 {"group", context.group},
                 {"bookmark", context.bookmark},
                 {"outside", hook.outside},
                 {"volumes", std::move(volumes)},
                 {"never", never}};
    const std::pair<const char *, const std::string &> texts[] = {{"connect", hook.connect},
                                                                  {"mount", hook.mount},
                                                                  {"socket", hook.socket},
                                                                  {"file", hook.file},
                                                                  {"user", hook.user}};
    for (const auto &[key, text] : texts) {
        if (!text.empty()) {
            request[key] = text;
        }
    }
    if (!hook.run.empty()) {
        request["run"] = hook.run;
    }
    return request;
}

} // namespace

struct hook_processes::process {
    process(executor home, spawned s) : pid(s.pid), line(home), timer(home) {
        line.assign(asio::local::stream_protocol(), s.ours.release());
    }

    /// Ends what waits for the line at the deadline. The timer's handler may run later than this
    /// object lives.
    void limit(const std::shared_ptr<process> &self, time_point deadline, time_source &time) {
        timer.expires_after(std::max(deadline - time.now(), duration::zero()));
        timer.async_wait([weak = std::weak_ptr(self)](const std::error_code &e) {
            if (const auto p = weak.lock(); p && !e) {
                std::error_code ignored;
                p->line.cancel(ignored);
            }
        });
    }

    pid_t pid;
    asio::local::stream_protocol::socket line;
    asio::steady_timer timer;
    std::string heard; ///< after the last event
    time_point began{};
};

namespace {

using process_ptr = std::shared_ptr<hook_processes::process>;

task<result<>> say(process_ptr p, json what, time_point deadline, time_source *time) {
    const std::string text = what.dump() + "\n";
    p->limit(p, deadline, *time);
    const auto [failed, n] = co_await asio::async_write(p->line, asio::buffer(text), as_result);
    p->timer.cancel();
    co_return failed ? fail(errc::closed, "the hook's process ended") : result<>();
}

/// The next line it says. errc::timeout, errc::closed, errc::corrupt.
task<result<json>> hear(process_ptr p, time_point deadline, time_source *time) {
    std::array<char, 4096> some{};
    for (;;) {
        if (const std::size_t end = p->heard.find('\n'); end != std::string::npos) {
            json event = json::parse(p->heard.substr(0, end), nullptr, false);
            p->heard.erase(0, end + 1);
            if (!event.is_object() || !event.contains("event") || !event["event"].is_string()) {
                co_return fail(errc::corrupt, "the hook's process said what is no event");
            }
            co_return event;
        }
        if (p->heard.size() > hook_line_bytes_max) {
            co_return fail(errc::corrupt, "the hook's process said too much");
        }
        p->limit(p, deadline, *time);
        const auto [failed, n] = co_await p->line.async_read_some(asio::buffer(some), as_result);
        p->timer.cancel();
        if (failed == asio::error::operation_aborted) {
            co_return fail(errc::timeout, "the hook did not answer in time");
        }
        if (failed) {
            co_return fail(errc::closed, "the hook's process ended");
        }
        p->heard.append(some.data(), n);
    }
}

bool says(const json &event, std::string_view what) { return event["event"] == what; }

class held_by_process final : public held_application {
  public:
    held_by_process(process_ptr p, hook_config hook, hook_result so_far, time_source *time,
                    std::function<void(process_ptr)> reap)
        : process_(std::move(p)), hook_(std::move(hook)), so_far_(std::move(so_far)), time_(time),
          reap_(std::move(reap)) {}
    ~held_by_process() override {
        if (process_) {
            reap_(std::exchange(process_, nullptr)); // its standard input ends
        }
    }
    task<hook_result> release() override {
        const process_ptr p = std::exchange(process_, nullptr);
        const time_point deadline = p->began + hook_.timeout + release_grace;
        hook_result out = so_far_;
        const auto asked = co_await say(p, {{"command", "release"}}, deadline, time_);
        const auto event = co_await hear(p, deadline, time_);
        if (event && says(*event, "released")) {
            const auto proved = event->find("proved");
            out.ok = proved != event->end() && proved->is_boolean() && proved->get<bool>();
            out.freeze = held_for(*event);
            out.message = words_of(*event, "message");
            for (auto &fact : facts_of(*event)) {
                if (out.facts.size() < label_facts_max) {
                    out.facts.push_back(std::move(fact));
                }
            }
        } else if (event) {
            out.message = fmt::format("it was released before the barrier was cut: {}",
                                      words_of(*event, "message"));
        } else {
            out.message = asked ? event.error().context : asked.error().context;
        }
        if (!out.ok && out.message.empty()) {
            out.message = "its freeze was not proved";
        }
        reap_(p);
        co_return out;
    }

  private:
    process_ptr process_;
    hook_config hook_;
    hook_result so_far_;
    time_source *time_;
    std::function<void(process_ptr)> reap_;
};

} // namespace

hook_processes::hook_processes(hook_process_options options, runtime run)
    : options_(std::move(options)), run_(std::move(run)), tasks_(run_.home) {}
hook_processes::~hook_processes() = default;

task<freeze_outcome> hook_processes::freeze(hook_config hook, hook_context context) {
    freeze_outcome out;
    out.result.name = hook.name;
    out.result.type = hook.type;
    const time_point began = run_.time->now();
    auto started = co_await run_on(run_.disk, [program = options_.program] {
        return std::make_shared<result<spawned>>(spawn(program));
    });
    if (!*started) {
        out.result.message =
            fmt::format("farshore-hook can't be started: {}", started->error().text());
        co_return out;
    }
    const auto p = std::make_shared<process>(run_.home, std::move(**started));
    p->began = began;
    const time_point deadline = began + hook.timeout + freeze_grace;
    const auto asked =
        co_await say(p, request_of(hook, context, options_.never), deadline, run_.time);
    const auto event = co_await hear(p, deadline, run_.time);
    if (event && says(*event, "frozen")) {
        out.result.facts = facts_of(*event);
        out.held = std::make_unique<held_by_process>(
            p, hook, out.result, run_.time,
            [this](process_ptr ended) { tasks_.spawn(reap(std::move(ended))); });
        co_return out;
    }
    if (!event && is(event.error(), errc::timeout)) {
        out.result.message =
            fmt::format("it was not frozen within its time of {:.1f} s", seconds_of(hook.timeout));
        tasks_.spawn(reap(p));
        co_return out;
    }
    out.result.message = event   ? words_of(*event, "message")
                         : asked ? event.error().context
                                 : asked.error().context;
    if (out.result.message.empty()) {
        out.result.message = "it could not be frozen";
    }
    tasks_.spawn(reap(p));
    co_return out;
}

// Its standard input ends, so it releases; who does not end by then is told to, and then killed.
task<void> hook_processes::reap(std::shared_ptr<process> p) {
    std::error_code ignored;
    p->line.close(ignored);
    for (const int hint : {0, SIGTERM, SIGKILL}) {
        if (hint != 0) {
            log::warning("the process {} of a hook does not end; it gets signal {}", p->pid, hint);
            ::kill(p->pid, hint);
        }
        const time_point until = run_.time->now() + (hint == 0 ? input_grace : hint_grace);
        do {
            int status = 0;
            if (::waitpid(p->pid, &status, WNOHANG) != 0) {
                co_return;
            }
            co_await run_.time->sleep_for(reap_every);
        } while (run_.time->now() < until);
    }
    log::error("the process {} of a hook does not die; what it froze may be frozen still", p->pid);
}

task<void> hook_processes::join() { co_await tasks_.join(); }

} // namespace farshore
