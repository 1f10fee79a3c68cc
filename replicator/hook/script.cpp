#include "replicator/hook/script.hpp"

#include "replicator/hook/hook_limits.hpp"
#include "replicator/hook/refusal.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <sys/wait.h>

namespace farshore::hook {
namespace {

constexpr int signalled = 128;

/// Until it ended, as the child that it became when its parent died. No value: it did not in time,
/// or is no child of ours.
std::optional<int> await_orphan(pid_t group, const tether &t) {
    const auto end = tether::clock::now() + limits::script_close_patience;
    while (tether::clock::now() < end) {
        siginfo_t how{};
        if (::waitid(P_PID, id_t(group), &how, WEXITED | WNOHANG | WNOWAIT) != 0) {
            return std::nullopt;
        }
        if (how.si_pid == group) {
            return how.si_code == CLD_EXITED ? how.si_status : signalled + how.si_status;
        }
        if (!t.sleep(limits::look_every)) {
            return std::nullopt;
        }
    }
    return std::nullopt;
}

} // namespace

std::optional<std::pair<std::string, std::string>> fact_of(const std::string &line) {
    constexpr std::string_view word = "fact ";
    if (!line.starts_with(word)) {
        return std::nullopt;
    }
    const auto blank = line.find(' ', word.size());
    if (blank == std::string::npos || blank == word.size()) {
        return std::nullopt;
    }
    return std::pair(line.substr(word.size(), blank - word.size()), line.substr(blank + 1));
}

script_plan script_freezer::plan(const std::string &last_word) const {
    script_plan made;
    made.words = asked_.run;
    made.words.push_back(last_word);
    made.user = asked_.user;
    made.environment = {"FARSHORE_GROUP=" + asked_.group, "FARSHORE_BOOKMARK=" + asked_.bookmark,
                        "FARSHORE_HOOK=" + asked_.name,
                        fmt::format("FARSHORE_TIMEOUT_MS={}", asked_.timeout.count())};
    return made;
}

error script_freezer::ended_early(const std::string &when) {
    // Its output has ended; so has it, or will in a moment.
    tether moment(limits::kill_settle);
    const auto code = process_->await_end(moment);
    const std::string said = process_->last_words();
    const std::string how = code ? fmt::format("with exit code {}", *code) : "its output";
    return error{
        {}, fmt::format("the script ended {} {}{}{}", how, when, said.empty() ? "" : ": ", said)};
}

result<facts> script_freezer::listen(const tether &t, const std::string &until) {
    facts known;
    for (;;) {
        const auto line = process_->line(t);
        if (!line) {
            return std::unexpected(waiting_for("the script's \"" + until + "\"", line.error()));
        }
        if (!*line) {
            return std::unexpected(ended_early("before it said \"" + until + "\""));
        }
        if (**line == until) {
            return known;
        }
        if (const auto fact = fact_of(**line)) {
            known.add(fact->first, fact->second);
        }
    }
}

result<facts> script_freezer::freeze(tether &t) {
    FS_TRY(made, script_process::prepare(plan("freeze")));
    process_.emplace(std::move(made));
    FS_CHECK(t.arm(std::to_string(process_->group())));
    FS_CHECK(process_->go());
    FS_TRY(known, listen(t, "frozen"));
    frozen_ = true;
    return known;
}

result<> script_freezer::prove(tether &t) {
    FS_CHECK(t.check());
    if (process_->ended()) {
        return std::unexpected(ended_early("before the release"));
    }
    return {};
}

result<facts> script_freezer::release(tether &t) {
    FS_CHECK(process_->tell("release"));
    FS_TRY(known, listen(t, "released"));
    const auto code = process_->await_end(t);
    if (!code) {
        return std::unexpected(waiting_for("the end of the script", code.error()));
    }
    if (*code != 0) {
        return std::unexpected(ended_early("although it said that it released"));
    }
    frozen_ = false;
    return known;
}

result<> script_freezer::let_go(tether &t) {
    if (!process_) {
        return {};
    }
    process_->close_input();
    tether own(std::min(t.left(), limits::script_close_patience));
    const auto code = process_->await_end(own);
    if (!code) {
        process_->kill();
        tether moment(limits::kill_settle);
        static_cast<void>(process_->await_end(moment));
        return refusal("the script did not end when its input was closed");
    }
    // Who says "frozen" and ends otherwise than well may have released or not. Who ends by itself
    // before it says so has nothing frozen, by the contract; who was killed, perhaps.
    if (frozen_ ? *code != 0 : *code >= signalled) {
        return refusal(fmt::format("the script ended with exit code {}", *code));
    }
    return {};
}

result<> script_freezer::force_release(tether &t, const std::string &trace) {
    pid_t group = 0;
    std::from_chars(trace.data(), trace.data() + trace.size(), group);
    if (group > 1) {
        const auto code = await_orphan(group, t);
        kill_script(group);
        if (code == 0) {
            return {};
        }
    }
    FS_TRY(made, script_process::prepare(plan("release")));
    made.close_input();
    FS_CHECK(made.go());
    const auto code = made.await_end(t);
    if (!code) {
        made.kill();
        return refusal("the script, started with \"release\", did not end in time");
    }
    if (*code != 0) {
        return refusal(fmt::format("the script, started with \"release\", ended with exit code "
                                   "{}: {}",
                                   *code, made.last_words()));
    }
    return {};
}

} // namespace farshore::hook
