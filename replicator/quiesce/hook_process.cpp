#include "replicator/quiesce/hook_process.hpp"

#include "replicator/base/log.hpp"
#include "replicator/base/unique_fd.hpp"
#include "replicator/quiesce/hook_words.hpp"

#include <asio/buffer.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/write.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

extern char **environ;

namespace farshore {

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
    hook_answers answers;
    time_point began{};
};

namespace {

using process_ptr = std::shared_ptr<hook_processes::process>;

task<result<>> say(process_ptr p, std::string line, time_point deadline, time_source *time) {
    p->limit(p, deadline, *time);
    const auto [failed, n] = co_await asio::async_write(p->line, asio::buffer(line), as_result);
    p->timer.cancel();
    co_return failed ? fail(errc::closed, "the hook's process ended") : result<>();
}

/// The next thing it says. errc::timeout, errc::closed, errc::corrupt.
task<result<hook_event>> hear(process_ptr p, time_point deadline, time_source *time) {
    std::array<char, 4096> some{};
    for (;;) {
        auto event = p->answers.next();
        if (!event) {
            co_return std::unexpected(event.error());
        }
        if (*event) {
            co_return std::move(**event);
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
        p->answers.add({some.data(), n});
    }
}

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
        const auto asked = co_await say(p, std::string(hook_release), deadline, time_);
        const auto event = co_await hear(p, deadline, time_);
        if (event && event->what == "released") {
            out.ok = event->proved;
            out.freeze = event->frozen;
            out.message = event->message;
            for (const auto &fact : event->facts) {
                if (out.facts.size() < label_facts_max) {
                    out.facts.push_back(fact);
                }
            }
        } else if (event) {
            out.message =
                fmt::format("it was released before the barrier was cut: {}", event->message);
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
        co_await say(p, hook_request(hook, context, options_.never), deadline, run_.time);
    const auto event = co_await hear(p, deadline, run_.time);
    if (event && event->what == "frozen") {
        out.result.facts = event->facts;
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
    out.result.message = event   ? event->message
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
