#include "replicator/daemon/daemon.hpp"

#include "replicator/base/blocking.hpp"
#include "replicator/base/log.hpp"
#include "replicator/control/exit_code.hpp"
#include "replicator/daemon/idle_trim.hpp"
#include "replicator/daemon/log_setup.hpp"
#include "replicator/daemon/notify.hpp"

#include <asio/signal_set.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <latch>
#include <list>
#include <malloc.h>
#include <memory>
#include <optional>
#include <sys/resource.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace farshore {
namespace {

constexpr std::size_t disk_threads = 2; ///< of the daemon itself; groups and volumes have their own
constexpr duration summary_every = std::chrono::seconds(5);

/// io_contexts that run one thread each until the object goes.
class loop_threads {
  public:
    explicit loop_threads(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            auto &context = contexts_.emplace_back(std::make_unique<asio::io_context>(1));
            guards_.push_back(asio::make_work_guard(*context));
            threads_.emplace_back([c = context.get()] { c->run(); });
        }
    }
    ~loop_threads() {
        guards_.clear();
        for (auto &context : contexts_) {
            context->stop();
        }
        for (std::thread &t : threads_) {
            t.join();
        }
    }
    loop_threads(const loop_threads &) = delete;
    loop_threads &operator=(const loop_threads &) = delete;

    std::vector<executor> executors() const {
        std::vector<executor> out;
        for (const auto &context : contexts_) {
            out.emplace_back(context->get_executor());
        }
        return out;
    }

  private:
    std::vector<std::unique_ptr<asio::io_context>> contexts_;
    std::vector<asio::executor_work_guard<asio::io_context::executor_type>> guards_;
    std::vector<std::thread> threads_;
};

void set_priority(asio::thread_pool &pool, std::size_t threads, int niceness) {
    const auto all_there = std::make_shared<std::latch>(static_cast<std::ptrdiff_t>(threads));
    for (std::size_t i = 0; i < threads; ++i) {
        asio::post(pool, [all_there, niceness] {
            if (::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), niceness) != 0) {
                log::debug("a worker thread keeps its priority");
            }
            all_there->arrive_and_wait(); // so that each task lands on a thread of its own
        });
    }
}

/// A pool a tenant (session/pools.hpp). On home.
class tenant_pools {
  public:
    executor make(std::size_t threads, int niceness) {
        asio::thread_pool &pool = pools_.emplace_back(threads);
        if (niceness != 0) {
            set_priority(pool, threads, niceness);
        }
        return pool.get_executor();
    }
    void join() {
        for (asio::thread_pool &pool : pools_) {
            pool.join();
        }
    }

  private:
    std::list<asio::thread_pool> pools_;
};

result<> make_socket_directory(const std::string &control_path) {
    const auto slash = control_path.rfind('/');
    if (slash == std::string::npos || slash == 0) {
        return {};
    }
    const std::string directory = control_path.substr(0, slash);
    for (std::size_t end = directory.find('/', 1);; end = directory.find('/', end + 1)) {
        const std::string part = directory.substr(0, end);
        if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) {
            return fail_errno(errno, part);
        }
        if (end == std::string::npos) {
            return {};
        }
    }
}

/// The life of the daemon, on home.
class life {
  public:
    life(asio::io_context &home, service &engine, std::string control_path)
        : engine_(engine), control_path_(std::move(control_path)), signals_(home, SIGTERM, SIGINT),
          hangup_(home, SIGHUP), deadline_(home), summary_timer_(home), tasks_(home.get_executor()),
          control_(home.get_executor(), [this](std::string command, control::json arguments,
                                               control::progress_sink progress) {
              return engine_.run_command(std::move(command), std::move(arguments),
                                         std::move(progress));
          }) {}

    task<void> run();
    int exit() const { return exit_; }

  private:
    task<void> tell_summary();
    task<void> stop();
    void watch_signals();
    void watch_hangup();
    void expect_second_signal();
    int failed(const error &e, const char *what);

    service &engine_;
    std::string control_path_;
    asio::signal_set signals_;
    asio::signal_set hangup_;
    asio::steady_timer deadline_;
    asio::steady_timer summary_timer_;
    task_group tasks_;
    control::server control_;
    condition signalled_;
    bool stop_asked_ = false;
    bool started_ = false;
    bool stopping_ = false;
    int exit_ = 0;
};

int life::failed(const error &e, const char *what) {
    const control::failure f = failure_of(e);
    log::error("{}: {}", what, f.message);
    notify_service_manager("STATUS=" + f.message);
    const int code = f.exit;
    return code == 0 ? 1 : code;
}

/// A signal may come while the engine still starts: it is remembered, and the deadline runs.
void life::watch_signals() {
    signals_.async_wait([this](asio::error_code ec, int number) {
        if (ec) {
            return;
        }
        log::info("{}: stopping", number == SIGINT ? "SIGINT" : "SIGTERM");
        notify_service_manager("STOPPING=1\nSTATUS=draining to a durable point");
        stop_asked_ = true;
        expect_second_signal();
        signalled_.notify_all();
    });
}

/// Never ends the daemon: a terminal that goes away is no reason to take volumes from clients.
void life::watch_hangup() {
    hangup_.async_wait([this](asio::error_code ec, int) {
        if (ec) {
            return;
        }
        log::info("SIGHUP: certificates and lists of [tls] are read again");
        if (started_ && !stopping_) {
            engine_.reload();
        }
        watch_hangup();
    });
}

/// From here on a signal ends the process without more ado, and so does the deadline.
void life::expect_second_signal() {
    signals_.async_wait([](asio::error_code ec, int) {
        if (!ec) {
            ::_exit(1);
        }
    });
    deadline_.expires_after(stop_within);
    deadline_.async_wait([](asio::error_code ec) {
        if (!ec) {
            // What is on disk is consistent at any moment; the next start recovers from it.
            log::error("stopping took too long; ending now");
            shut_down_log();
            ::_exit(1);
        }
    });
}

task<void> life::tell_summary() {
    idle_detector activity;
    while (!stopping_) {
        notify_service_manager("STATUS=" + engine_.summary());
        if (activity.became_idle(system_clock().now(), process_cpu_time())) {
            ::malloc_trim(0);
        }
        summary_timer_.expires_after(summary_every);
        co_await summary_timer_.async_wait(as_result);
    }
}

task<void> life::stop() {
    stopping_ = true;
    const time_point began = system_clock().now();
    summary_timer_.cancel();
    engine_.end_commands();
    co_await control_.close();
    const duration left = drain_max - (system_clock().now() - began);
    co_await engine_.stop(std::max<duration>(left, std::chrono::seconds(1)));
    co_await tasks_.join();
    deadline_.cancel();
    signals_.cancel();
    hangup_.cancel();
}

task<void> life::run() {
    if (auto made = make_socket_directory(control_path_); !made) {
        exit_ = failed(made.error(), "control socket");
        co_return;
    }
    watch_signals();
    watch_hangup();
    if (auto started = co_await engine_.start(); !started) {
        exit_ = failed(started.error(), "start");
        co_return;
    }
    started_ = true;
    if (auto listening = control_.listen(control_path_); !listening) {
        exit_ = failed(listening.error(), "control socket");
        co_await stop();
        co_return;
    }
    if (!stop_asked_) {
        notify_service_manager("READY=1\nSTATUS=" + engine_.summary());
    }
    log::info("ready: {}; control socket {}", engine_.summary(), control_path_);
    tasks_.spawn(tell_summary());
    while (!stop_asked_) {
        co_await signalled_.wait();
    }
    co_await stop();
    log::info("stopped");
}

} // namespace

int run_daemon(const std::string &control_path, const service_factory &make) {
    const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
    asio::io_context home(1);
    system_clock time;
    asio::thread_pool disk(disk_threads);
    tenant_pools pools;
    int exit = 0;
    {
        const loop_threads loops(cores);
        const runtime run{home.get_executor(), disk.get_executor(), disk.get_executor(),
                          disk.get_executor(), &time};
        {
            const auto engine =
                make(run, loops.executors(), [&pools](std::size_t threads, int niceness) {
                    return pools.make(threads, niceness);
                });
            life daemon(home, *engine, control_path);
            std::optional<never_blocks> checked;
            if (std::getenv("FARSHORE_CHECK_HOME") != nullptr) {
                checked.emplace();
            }
            asio::co_spawn(home, daemon.run(), [&](std::exception_ptr thrown) {
                if (thrown) {
                    std::rethrow_exception(thrown); // a bug: ends the program with the message
                }
                home.stop();
            });
            home.run();
            exit = daemon.exit();
        }
        disk.join(); // before the loops go, to which their last jobs answer
        pools.join();
    }
    return exit;
}

void prepare_process() {
    ::signal(SIGPIPE, SIG_IGN);
    // Buffers of up to 1 MiB come and go with every message: mapping each anew cost two million
    // page faults in a first synchronisation of 256 MiB, two thirds of the sender's system time.
    // What stays in the heap is bounded, since idle memory counts too, and given back by
    // idle_trim.hpp.
    ::mallopt(M_ARENA_MAX, 2);
    ::mallopt(M_MMAP_THRESHOLD, 4 << 20);
    ::mallopt(M_TRIM_THRESHOLD, 16 << 20);
    ::umask(0077);
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        if (::setrlimit(RLIMIT_NOFILE, &files) != 0) {
            log::warning("the limit of open files stays low: {}",
                         std::generic_category().message(errno));
        }
    }
}

} // namespace farshore
