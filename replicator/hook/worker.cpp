#include "replicator/hook/worker.hpp"

#include "replicator/hook/channel.hpp"
#include "replicator/hook/freezer.hpp"
#include "replicator/hook/hook_limits.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace farshore::hook {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using clock = tether::clock;

/// A session of its own: what ends the guard's process group leaves the one that must release.
void settle_down() {
    ::setsid();
    const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(nothing, STDOUT_FILENO);
    ::close(nothing);
    for (const int one : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) {
        ::signal(one, SIG_IGN);
    }
    ::signal(SIGCHLD, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

milliseconds let_go_patience(application type) {
    return type == application::script ? limits::script_retreat_patience : limits::let_go_patience;
}

std::string why(const error &e) {
    return e.code == errc::timeout     ? (e.context.empty() ? "the time is up" : e.text())
           : e.code == errc::cancelled ? "called off"
                                       : e.text();
}

/// The guard's word; let_go when it is gone or its time is over.
guard_says await_word(int channel, clock::time_point end) {
    for (;;) {
        const auto time = std::chrono::ceil<milliseconds>(end - clock::now());
        if (time.count() <= 0) {
            return guard_says::let_go;
        }
        pollfd one{channel, POLLIN, 0};
        if (::poll(&one, 1, static_cast<int>(time.count())) <= 0) {
            continue;
        }
        const auto word = next_guard_word(channel);
        if (!word) {
            return guard_says::let_go;
        }
        if (*word) {
            return **word;
        }
    }
}

int give_up(freezer &held, const request &asked, int channel, worker_word last) {
    if (asked.type == application::script) {
        worker_word leaving;
        leaving.what = worker_says::leaving;
        send_word(channel, leaving);
    }
    tether parting(let_go_patience(asked.type));
    if (const auto gone = held.let_go(parting); !gone) {
        last.what = worker_says::stuck; // the guard uses force
    }
    send_word(channel, last);
    return 0;
}

} // namespace

int run_worker(const request &asked, int channel, clock::time_point end) {
    settle_down();
    const auto held = make_freezer(asked);
    tether tied(channel, end);
    worker_word word;
    const auto frozen = held->freeze(tied);
    if (!frozen) {
        word.what = worker_says::failed;
        word.text = why(frozen.error());
        return give_up(*held, asked, channel, std::move(word));
    }
    word.what = worker_says::frozen;
    word.known = *frozen;
    word.freeze = tied.armed() ? duration_cast<milliseconds>(clock::now() - tied.armed_at())
                               : milliseconds(0);
    send_word(channel, word);

    const guard_says said = await_word(channel, end);
    word = {};
    word.what = worker_says::released;
    if (said == guard_says::let_go) {
        return give_up(*held, asked, channel, std::move(word));
    }
    if (const auto proved = held->prove(tied); !proved) {
        word.text = why(proved.error());
        return give_up(*held, asked, channel, std::move(word));
    }
    const auto released = held->release(tied);
    if (!released) {
        word.text = why(released.error());
        return give_up(*held, asked, channel, std::move(word));
    }
    word.proved = true;
    word.known = *released;
    send_word(channel, word);
    return 0;
}

} // namespace farshore::hook
