#pragma once
// What the control sockets of the daemons understand: command words and arguments to engine calls,
// values to documents. Templates over the engine, so that tests put a fake in its place.
//
// Threads: home executor. `owner` runs what must not be torn by a hang-up (shielded.hpp).

#include "replicator/base/geometry.hpp"
#include "replicator/base/opening_limits.hpp"
#include "replicator/daemon/arguments.hpp"
#include "replicator/daemon/attached_opening.hpp"
#include "replicator/daemon/bookmark_commands.hpp"
#include "replicator/daemon/rehearsal_commands.hpp"
#include "replicator/daemon/report_commands.hpp"
#include "replicator/daemon/retention_commands.hpp"
#include "replicator/daemon/scrub_commands.hpp"
#include "replicator/daemon/shielded.hpp"
#include "replicator/daemon/status_json.hpp"
#include "replicator/session/config.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

namespace farshore {

/// A wait without a timeout ends with the client.
constexpr duration wait_forever = std::chrono::hours(24 * 365);

inline control::outcome no_such_group(const std::string &name) {
    return std::unexpected(control::failure{"not_found", "there is no group \"" + name + "\"",
                                            value_of(exit_code::not_found)});
}
/// Of a group that is served here: what else is only asked where the primary is.
inline bool asks_the_serving_site(const std::string &command) {
    constexpr std::array known{"wait",   "bookmark",     "verify",         "pause",        "resume",
                               "resync", "throttle_set", "throttle_clear", "throttle_show"};
    return std::ranges::find(known, command) != known.end();
}

/// Most often the command is meant for the other daemon.
inline control::outcome unknown_command(const std::string &command, const std::string &role) {
    constexpr std::array at_receiver{
        "points",    "open",   "opened",  "close",  "invite",        "invitations", "revoke",
        "pin",       "unpin",  "forget",  "plan",   "open_attached", "seed_target", "scrub",
        "note_test", "report", "promote", "commit", "demote"};
    std::string text = "the " + role + " has no command \"" + command + "\"";
    if (role == "receiver" && (asks_the_serving_site(command) || command == "join")) {
        text += "; the sender has: run it at the primary site, or name its socket with --socket";
    } else if (role == "sender" && std::ranges::find(at_receiver, command) != at_receiver.end()) {
        text += "; the receiver has: run it at the DR site, or name its socket with --socket";
    }
    return std::unexpected(usage_failure(std::move(text)));
}
inline control::outcome done(const std::string &group, const char *what) {
    return control::json{{"group", group}, {"done", what}};
}

template <class T>
control::outcome document_of(result<T> value) {
    if (!value) {
        return std::unexpected(failure_of(value.error()));
    }
    return to_json(*value);
}
inline control::outcome done_or_failure(const result<> &value, const std::string &group,
                                        const char *what) {
    if (!value) {
        return std::unexpected(failure_of(value.error()));
    }
    return done(group, what);
}

inline auto report_to(control::progress_sink progress) {
    return [progress = std::move(progress)](std::uint64_t done_bytes, std::uint64_t total) {
        progress({{"done_bytes", done_bytes}, {"total_bytes", total}});
    };
}

/// Keeps the group of that name; all when the name is empty. False when there is none of that name.
template <class Status>
bool keep_group(std::vector<Status> &groups, const std::string &name) {
    if (name.empty()) {
        return true;
    }
    std::erase_if(groups, [&](const Status &g) { return g.name != name; });
    return !groups.empty();
}

template <class Engine>
class sender_commands {
  public:
    sender_commands(Engine &engine, task_group &owner) : engine_(engine), owner_(owner) {}

    task<control::outcome> run(std::string command, control::json given,
                               control::progress_sink progress) {
        arguments args(given);
        if (command == "status" || command == "throttle_show") {
            co_return status(command, args);
        }
        if (command == "wait") {
            co_return co_await wait(args);
        }
        if (command == "bookmark") {
            co_return co_await run_bookmark(engine_, owner_, args);
        }
        if (command == "verify") {
            co_return co_await verify(args, std::move(progress));
        }
        if (command == "join") {
            const std::string token = args.text("token");
            if (auto p = args.problem()) {
                co_return std::unexpected(*p);
            }
            co_return document_of(co_await shielded(owner_, engine_.join(token)));
        }
        if (command == "peers") {
            if (auto p = args.problem()) {
                co_return std::unexpected(*p);
            }
            co_return peers_document(engine_.peers());
        }
        if (command == "throttle_set" || command == "throttle_clear") {
            co_return co_await throttle(command, args);
        }
        co_return co_await of_group(command, args);
    }

  private:
    control::outcome status(const std::string &command, arguments &args) {
        const std::string group = args.text_or("group", "");
        if (auto p = args.problem()) {
            return std::unexpected(*p);
        }
        auto groups = engine_.status();
        if (!keep_group(groups, group)) {
            return no_such_group(group);
        }
        return command == "status" ? sender_status_document(groups)
                                   : throttle_document(engine_.throttle(), groups);
    }

    task<control::outcome> wait(arguments &args) {
        const std::string group = args.text("group");
        const bool durable = args.flag("durable");
        const duration timeout = args.milliseconds("timeout_ms").value_or(wait_forever);
        if (auto p = args.problem()) {
            co_return std::unexpected(*p);
        }
        co_return document_of(co_await engine_.wait(group, durable, timeout));
    }

    task<control::outcome> verify(arguments &args, control::progress_sink progress) {
        const std::string group = args.text("group");
        if (auto p = args.problem()) {
            co_return std::unexpected(*p);
        }
        co_return document_of(
            co_await shielded(owner_, engine_.verify(group, report_to(std::move(progress)))));
    }

    task<control::outcome> throttle(const std::string &command, arguments &args) {
        const std::string group = args.text_or("group", "");
        const bool clear = command == "throttle_clear";
        const auto rate = clear ? std::nullopt : args.number("bytes_per_second");
        const auto lasts = clear ? std::nullopt : args.milliseconds("for_ms");
        if (auto p = args.problem()) {
            co_return std::unexpected(*p);
        }
        if (rate == 0U) {
            co_return std::unexpected(usage_failure("a rate of zero is no throttle; use pause"));
        }
        const auto done =
            co_await shielded(owner_, clear ? engine_.throttle_clear(group)
                                            : engine_.throttle_set(group, rate, lasts));
        if (!done) {
            co_return std::unexpected(failure_of(done.error()));
        }
        auto groups = engine_.status();
        keep_group(groups, group);
        co_return throttle_document(engine_.throttle(), groups);
    }

    task<control::outcome> of_group(const std::string &command, arguments &args) {
        const bool known =
            command == "pause" || command == "resume" || command == "resync" || command == "unpair";
        if (!known) {
            co_return unknown_command(command, "sender");
        }
        const std::string group = args.text("group");
        const bool full = command == "resync" && args.flag("full");
        if (auto p = args.problem()) {
            co_return std::unexpected(*p);
        }
        if (command == "pause") {
            co_return done_or_failure(co_await shielded(owner_, engine_.pause(group)), group,
                                      "paused");
        }
        if (command == "resume") {
            co_return done_or_failure(co_await shielded(owner_, engine_.resume(group)), group,
                                      "resumed");
        }
        if (command == "resync") {
            co_return done_or_failure(co_await shielded(owner_, engine_.resync(group, full)), group,
                                      "resync_started");
        }
        co_return done_or_failure(co_await shielded(owner_, engine_.unpair(group)), group,
                                  "unpaired");
    }

    Engine &engine_;
    task_group &owner_;
};

template <class Engine>
class receiver_commands {
  public:
    receiver_commands(Engine &engine, task_group &owner) : engine_(engine), owner_(owner) {}

    task<control::outcome> run(std::string command, control::json given,
                               control::progress_sink progress) {
        arguments args(given);
        if (command == "points") {
            co_return co_await points(args, std::move(progress));
        }
        if (retention_commands<Engine>::knows(command)) {
            retention_commands<Engine> keeping(engine_, owner_);
            co_return co_await keeping.run(std::move(command), args, std::move(progress));
        }
        if (command == "note_test") {
            co_return co_await note_test(engine_, owner_, args);
        }
        if (command == "report") {
            co_return co_await run_report(engine_, owner_, args);
        }
        if (command == "scrub") {
            co_return co_await run_scrub(engine_, owner_, args, std::move(progress));
        }
        if (command == "open") {
            co_return co_await open(args, std::move(progress));
        }
        if (command == "open_attached") {
            co_return co_await open_attached(args, std::move(progress));
        }
        if (command == "close") {
            const std::string id = args.text("id");
            if (auto p = args.problem()) {
                co_return std::unexpected(*p);
            }
            const auto closed = co_await shielded(owner_, engine_.close(id));
            if (!closed) {
                co_return std::unexpected(failure_of(closed.error()));
            }
            co_return control::json{{"id", id}, {"done", "closed"}};
        }
        if (command == "invite") {
            const std::string group = args.text("group");
            const std::string address = args.text("address");
            if (auto p = args.problem()) {
                co_return std::unexpected(*p);
            }
            co_return document_of(co_await shielded(owner_, engine_.invite(group, address)));
        }
        if (command == "revoke") {
            const std::string id = args.text("id");
            if (auto p = args.problem()) {
                co_return std::unexpected(*p);
            }
            if (auto revoked = co_await shielded(owner_, engine_.revoke(id)); !revoked) {
                co_return std::unexpected(failure_of(revoked.error()));
            }
            co_return control::json{{"id", id}, {"done", "revoked"}};
        }
        if (command == "unpair") {
            const std::string group = args.text("group");
            if (auto p = args.problem()) {
                co_return std::unexpected(*p);
            }
            co_return done_or_failure(co_await shielded(owner_, engine_.unpair(group)), group,
                                      "unpaired");
        }
        co_return at_once(command, args);
    }

  private:
    task<control::outcome> points(arguments &args, control::progress_sink progress) {
        const std::string group = args.text("group");
        const bool applied = args.flag("applied");
        if (auto p = args.problem()) {
            co_return std::unexpected(*p);
        }
        if (!applied) { // if it can't be reached, the list says what there is and why
            static_cast<void>(co_await engine_.reach(group, "", report_to(progress)));
        }
        auto all = co_await shielded(owner_, engine_.points(group));
        if (!all) {
            co_return std::unexpected(failure_of(all.error()));
        }
        co_return points_document(group, *all, engine_.held_back(group));
    }

    // The wait ends with the client; what follows does not.
    task<control::outcome> open(arguments &args, control::progress_sink progress) {
        const std::string group = args.text("group");
        open_request wanted;
        wanted.point = args.text_or("point", "");
        wanted.writable = args.flag("writable");
        wanted.space_bytes = args.number("space_bytes");
        wanted.nbd = args.text_or("nbd", "");
        wanted.mount = args.text_or("mount", "");
        wanted.since = args.text_or("since", "");
        const bool applied = args.flag("applied");
        wanted.suspect = args.flag("suspect");
        if (auto p = args.problem()) {
            co_return std::unexpected(*p);
        }
        if (const std::string wrong = what_is_wrong(wanted); !wrong.empty()) {
            co_return std::unexpected(usage_failure(wrong));
        }
        if (!applied) {
            if (auto reached = co_await engine_.reach(group, wanted.point, report_to(progress));
                !reached) {
                co_return std::unexpected(failure_of(reached.error()));
            }
        }
        co_return document_of(co_await shielded(owner_, engine_.open(group, std::move(wanted))));
    }

    static std::string what_is_wrong(const open_request &wanted) {
        if (wanted.nbd.empty() && wanted.mount.empty()) {
            return "open needs --nbd ENDPOINT, --mount DIR, or both";
        }
        return what_is_wrong_with_space(wanted);
    }

    static std::string what_is_wrong_with_space(const open_request &wanted) {
        if (wanted.space_bytes && !wanted.writable) {
            return "--space is of what is written: give --writable too, or leave it out";
        }
        if (wanted.space_bytes && (*wanted.space_bytes < block_bytes ||
                                   *wanted.space_bytes > limits::overlay_space_max)) {
            return "--space is from 4KiB to 1024TiB";
        }
        return "";
    }

    /// As open, on a socket of the daemon's own, for as long as the client stays: it is told
    /// {"opened": ...} as progress, with the point's facts, and there is no other answer.
    task<control::outcome> open_attached(arguments &args, control::progress_sink progress) {
        const std::string group = args.text("group");
        open_request wanted;
        wanted.point = args.text_or("point", "");
        wanted.since = args.text_or("since", "");
        wanted.writable = args.flag("writable");
        wanted.space_bytes = args.number("space_bytes");
        wanted.mount_attached = args.flag("mount");
        const bool applied = args.flag("applied");
        wanted.suspect = args.flag("suspect");
        if (auto p = args.problem()) {
            co_return std::unexpected(*p);
        }
        if (const std::string wrong = what_is_wrong_with_space(wanted); !wrong.empty()) {
            co_return std::unexpected(usage_failure(wrong));
        }
        if (!applied) {
            if (auto reached = co_await engine_.reach(group, wanted.point, report_to(progress));
                !reached) {
                co_return std::unexpected(failure_of(reached.error()));
            }
        }
        const auto opening = std::make_shared<attached_opening>();
        const attached_client here(opening);
        owner_.spawn(serve_attached(engine_, opening, group, std::move(wanted)));
        while (!opening->opened) {
            co_await opening->changed.wait();
        }
        const result<opened_point> &opened = *opening->opened;
        if (!opened) {
            co_return std::unexpected(failure_of(opened.error()));
        }
        auto points = co_await shielded(owner_, engine_.points(group));
        control::json document = to_json(*opened);
        document["facts"] = nullptr;
        if (points) {
            const auto at = std::ranges::find(*points, opened->point, &point_info::id);
            document["facts"] = at == points->end() ? control::json(nullptr) : to_json(*at);
        }
        document["start"] = start_steps_document(engine_.start_steps(group));
        progress({{"opened", std::move(document)}});
        while (!opening->closed) {
            co_await opening->changed.wait(); // the end of the client ends this coroutine
        }
        co_return control::json{{"group", group}, {"done", "closed"}};
    }

    control::outcome at_once(const std::string &command, arguments &args) {
        if (command == "seed_target") {
            const std::string group = args.text("group");
            if (auto p = args.problem()) {
                return std::unexpected(*p);
            }
            return document_of(engine_.seed_target(group));
        }
        if (command == "opened" || command == "peers" || command == "invitations") {
            if (auto p = args.problem()) {
                return std::unexpected(*p);
            }
            return command == "opened" ? opened()
                   : command == "peers"
                       ? control::outcome(peers_document(engine_.peers()))
                       : control::outcome(invitations_document(engine_.invitations()));
        }
        if (command == "status") {
            const std::string group = args.text_or("group", "");
            if (auto p = args.problem()) {
                return std::unexpected(*p);
            }
            auto groups = engine_.status();
            if (!keep_group(groups, group)) {
                return no_such_group(group);
            }
            return receiver_status_document(groups);
        }
        return unknown_command(command, "receiver");
    }

    control::outcome opened() {
        control::json list = control::json::array();
        for (const auto &o : engine_.opened()) {
            list.push_back(to_json(o));
        }
        return control::json{{"opened", std::move(list)}};
    }

    Engine &engine_;
    task_group &owner_;
};

} // namespace farshore
