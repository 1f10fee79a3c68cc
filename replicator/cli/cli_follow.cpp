#include "replicator/cli/cli_follow.hpp"

#include "replicator/base/async.hpp"
#include "replicator/cli/json_fields.hpp"
#include "replicator/cli/progress.hpp"
#include "replicator/cli/render.hpp"
#include "replicator/config/units.hpp"
#include "replicator/control/json_guard.hpp"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <thread>

namespace farshore {
namespace {

constexpr auto refresh_every = std::chrono::seconds(1);

/// How far a group is, for a line: its sync while one runs, else what is behind.
std::string group_progress(const json &status) {
    const json &groups = list_field(status, "/groups");
    if (groups.empty()) {
        return "";
    }
    const json &g = groups.front();
    const std::string what =
        fmt::format("{} {}", text_field(g, "/name"), text_field(g, "/state", "-"));
    const std::uint64_t total = count_field(g, "/sync/total_bytes");
    if (total > 0 && count_field(g, "/sync/done_bytes") < total) {
        const double eta = number_field(g, "/sync/eta_seconds", -1);
        return progress_text(what, count_field(g, "/sync/done_bytes"), total,
                             number_field(g, "/sync/bytes_per_second"),
                             eta >= 0 ? std::optional(eta) : std::nullopt);
    }
    return fmt::format("{}  {} behind, lag {}{}", what, format_bytes(count_field(g, "/lag/bytes")),
                       format_seconds(number_field(g, "/lag/seconds")),
                       flag_field(g, "/connected") ? "" : ", link down");
}

/// A look at the status beside something else: never longer than a look of --watch.
constexpr duration look_max = std::chrono::seconds(10);

control::call_limits limits_of(const invocation &inv) {
    return call_limits_of(inv).value_or(control::call_limits{look_max});
}

control::outcome ask_status(const invocation &inv) {
    control::json args = control::json::object();
    if (!inv.group.empty()) {
        args["group"] = inv.group;
    }
    control::call_limits limits;
    limits.total = inv.watch ? limits_of(inv).total : look_max;
    return control::call(inv.socket, "status", args, nullptr, limits);
}

} // namespace

control::failure watch_status(const invocation &inv, const terminal &term) {
    json before = nullptr;
    time_point before_at{};
    for (;;) {
        const time_point now = system_clock().now();
        auto status = ask_status(inv);
        if (!status) {
            return status.error();
        }
        if (inv.as_json) {
            term.out(control::to_line(*status) + "\n");
        } else {
            const std::string text = render_status(*status, before, seconds_of(now - before_at));
            term.out(term.out_is_tty ? "\x1b[H\x1b[J" + text : text + "\n");
        }
        before = std::move(*status);
        before_at = now;
        std::this_thread::sleep_for(refresh_every);
    }
}

control::outcome call_with_progress(const invocation &inv, const control_request &request,
                                    const terminal &term) {
    progress_line line(term);
    const auto show = [&](const json &p) {
        if (!inv.as_json) {
            line.show_bytes(inv.group + " " + inv.command, count_field(p, "/done_bytes"),
                            count_field(p, "/total_bytes"), system_clock().now());
        }
    };
    return control::call(inv.socket, request.command, request.arguments, show, limits_of(inv));
}

control::outcome call_beside_status(const invocation &inv, const control_request &request,
                                    const terminal &term) {
    // A lock, because the call blocks this thread and there is no loop to hand things over to.
    std::mutex lock;
    std::condition_variable changed;
    bool done = false;
    std::thread watcher([&] {
        progress_line line(term);
        std::unique_lock held(lock);
        while (!changed.wait_for(held, refresh_every, [&] { return done; })) {
            held.unlock();
            if (const auto status = ask_status(inv)) {
                line.show(group_progress(*status));
            }
            held.lock();
        }
    });
    auto answer =
        control::call(inv.socket, request.command, request.arguments, nullptr, limits_of(inv));
    {
        const std::lock_guard held(lock);
        done = true;
    }
    changed.notify_all();
    watcher.join();
    return answer;
}

void follow_sync(const invocation &inv, const terminal &term) {
    progress_line line(term);
    for (;;) {
        std::this_thread::sleep_for(refresh_every);
        const auto status = ask_status(inv);
        if (!status || list_field(*status, "/groups").empty()) {
            return;
        }
        const json &g = list_field(*status, "/groups").front();
        const std::string state = text_field(g, "/state");
        if (state == "streaming" || state == "failed" || state == "paused") {
            line.clear();
            term.err(fmt::format("{}: {}\n", inv.group, state));
            return;
        }
        line.show(group_progress(*status));
    }
}

} // namespace farshore
