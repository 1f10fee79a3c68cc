#include "replicator/sender/bookmark_desk.hpp"

#include "replicator/base/clean_text.hpp"
#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

constexpr duration try_again_after = std::chrono::milliseconds(100);

std::string names_path(const std::string &directory) {
    return join_path(directory, "bookmarks.json");
}

std::string first_failure(const point_label &label) {
    if (label.hooks.empty()) {
        return "the group has no [[group.hook]]";
    }
    const auto bad = std::ranges::find(label.hooks, false, &hook_result::ok);
    return bad == label.hooks.end() ? "" : fmt::format("hook {}: {}", bad->name, bad->message);
}

} // namespace

point_label settle_label(const std::string &name, const bookmark_request &wanted,
                         std::vector<hook_result> results) {
    point_label label;
    label.name = name;
    label.note = wanted.note;
    label.keep = std::chrono::duration_cast<std::chrono::seconds>(wanted.keep);
    const bool proved = !results.empty() && std::ranges::all_of(results, &hook_result::ok);
    label.kind = wanted.app && proved ? label_kind::app : label_kind::crash;
    label.hooks = std::move(results);
    return label;
}

bookmark_desk::bookmark_desk(bookmark_options options, runtime run, file_system &files,
                             pipeline &stream, site_link &site, condition &progress)
    : options_(std::move(options)), run_(std::move(run)), stream_(stream), site_(site),
      progress_(progress), names_(files, run_.disk, names_path(options_.state_directory)),
      tasks_(run_.home) {}

task<result<>> bookmark_desk::open(file_system &files) {
    FS_CO_TRY(found, co_await run_on(run_.disk, [&files, path = names_.path()] {
                  return read_bookmark_names(files, path);
              }));
    names_.found(std::move(found));
    co_return result<>{};
}

result<std::string> bookmark_desk::check(const bookmark_request &wanted) const {
    std::string name = expand_bookmark_name(wanted.name, run_.time->wall());
    if (!is_bookmark_name(name)) {
        return fail(errc::invalid, fmt::format("\"{}\" can't name a bookmark: {}",
                                               clean_text(name, 100), bookmark_name_rule));
    }
    if (wanted.note.size() > label_note_bytes_max ||
        clean_text(wanted.note, label_note_bytes_max) != wanted.note) {
        return fail(errc::invalid, fmt::format("the note of a bookmark is one line of plain text, "
                                               "at most {} bytes",
                                               label_note_bytes_max));
    }
    if (wanted.keep < duration::zero() ||
        wanted.keep > std::chrono::seconds(label_keep_seconds_max)) {
        return fail(errc::invalid, "a bookmark is kept for 0s to 36600d");
    }
    if (!site_.known()) {
        return fail(errc::not_in_sync,
                    fmt::format("group \"{}\" is not paired with a DR site; run `farshore invite "
                                "{}` there and `farshore join TOKEN` here",
                                options_.group, options_.group));
    }
    if (site_.connected() && !site_.takes_labels()) {
        return fail(errc::unsupported,
                    fmt::format("the DR site of group \"{}\" is of a version without bookmarks; "
                                "upgrade it first",
                                options_.group));
    }
    return name;
}

task<result<bookmark_outcome>> bookmark_desk::make(bookmark_request wanted) {
    const time_point deadline = run_.time->now() + wanted.timeout;
    FS_CO_TRY(name, check(wanted));
    FS_CO_CHECK(co_await names_.change(
        [name, now = run_.time->wall()](bookmark_names &b) { return b.reserve(name, now); }));
    auto made = co_await cut(std::move(wanted), name, deadline);
    const auto settled = co_await names_.change([&](bookmark_names &b) -> result<> {
        if (made) {
            b.settle(name, made->barrier.id, made->barrier.time);
        } else {
            b.drop(name);
        }
        return {};
    });
    if (!settled) { // the name stays taken, which is the safe side
        log::warning("group {}: {}", options_.group, settled.error().text());
    }
    if (!made) {
        co_return std::unexpected(made.error());
    }
    auto there = co_await until_there(std::move(*made), deadline);
    if (!there && is(there.error(), errc::not_in_sync)) { // lost: nobody has it, and nobody will
        names_.change_now([name](bookmark_names &b) { b.drop(name); }, tasks_,
                          "group " + options_.group);
    }
    co_return there;
}

bool bookmark_desk::possible() const {
    return stream_.ledger().recorded() && stream_.capture().pending_bytes() == 0;
}

// Before anything is frozen: an application must not be held while a catch-up goes on.
task<result<>> bookmark_desk::until_possible(time_point deadline) {
    site_.kick(); // a catch-up is not held any longer
    while (!possible() || !stream_.may_cut()) {
        const time_point now = run_.time->now();
        if (ending_) {
            co_return fail(errc::closed, "the sender stops");
        }
        if (now >= deadline) {
            co_return fail(
                errc::not_in_sync,
                fmt::format("group \"{}\" keeps no order of writes now, so no barrier of it is a "
                            "point; nothing was frozen and nothing is bookmarked. `farshore "
                            "status` says what it does: when it is streaming or spooling, try "
                            "again",
                            options_.group));
        }
        co_await progress_.wait_until(*run_.time, std::min(deadline, now + try_again_after));
    }
    co_return result<>{};
}

task<bookmark_desk::frozen> bookmark_desk::freeze(std::string name) {
    frozen still;
    for (const hook_config &hook : options_.hooks) {
        if (!still.failed.empty()) {
            still.results.push_back({.name = hook.name,
                                     .type = hook.type,
                                     .message = "not tried, since another hook failed"});
            continue;
        }
        if (!options_.applications) {
            still.failed = "this build runs no hooks";
            still.results.push_back(
                {.name = hook.name, .type = hook.type, .message = still.failed});
            continue;
        }
        auto outcome =
            co_await options_.applications->freeze(hook, {options_.group, name, options_.volumes});
        if (outcome.held) {
            still.held.push_back(std::move(outcome.held));
        } else {
            still.failed = fmt::format("hook {}: {}", hook.name, outcome.result.message);
        }
        still.results.push_back(std::move(outcome.result));
    }
    co_return still;
}

/// In reverse; results come back in the order of freezing.
task<std::vector<hook_result>> bookmark_desk::release(frozen &still) {
    std::vector<hook_result> results = std::move(still.results);
    while (!still.held.empty()) {
        const std::size_t at = still.held.size() - 1;
        results[at] = co_await still.held.back()->release();
        still.held.pop_back();
    }
    co_return results;
}

task<result<bookmark_desk::cut_point>> bookmark_desk::cut(bookmark_request wanted, std::string name,
                                                          time_point deadline) {
    const auto turn = co_await turn_.acquire();
    FS_CO_CHECK(co_await until_possible(deadline));
    frozen still;
    if (wanted.app) {
        still = co_await freeze(name);
    }
    std::vector<hook_result> results;
    if (!still.failed.empty()) { // it will be as after a power cut: nobody is held for that
        results = co_await release(still);
    }
    const auto made = possible() ? stream_.cut_bookmark() : std::nullopt;
    const std::uint64_t epoch = stream_.ledger().epoch();
    if (still.failed.empty()) {
        results = co_await release(still);
    }
    if (!made || !made->consistent) {
        co_return fail(errc::not_in_sync,
                       fmt::format("group \"{}\" lost the order of writes before the barrier could "
                                   "be cut; nothing is frozen any more, and nothing is "
                                   "bookmarked. Try again when `farshore status` shows it "
                                   "streaming",
                                   options_.group));
    }
    cut_point point{made->barrier, epoch, settle_label(name, wanted, std::move(results)), {}};
    if (point.label.kind != label_kind::app) { // what failed first, not what followed from it
        point.why_not_app = still.failed.empty() ? first_failure(point.label) : still.failed;
    }
    stream_.label(made->barrier.id, point.label);
    log::info("group {}: bookmark \"{}\" ({}) is barrier {}", options_.group, name,
              name_of(point.label.kind), made->barrier.id.value);
    co_return point;
}

// Ids go up over streams, so a later point of another stream must not be taken for this one.
task<result<bookmark_outcome>> bookmark_desk::until_there(cut_point made, time_point deadline) {
    const interval_id id = made.barrier.id;
    const site_ledger &site = site_.ledger();
    bool durable = false;
    for (;;) {
        const bool same_stream = stream_.ledger().epoch() == made.epoch;
        durable = durable || (same_stream && site.durable_point() >= id);
        if (durable && site.applied_point() >= id) {
            break;
        }
        if (!durable && !same_stream) {
            co_return fail(errc::not_in_sync,
                           fmt::format("bookmark \"{}\" is lost: group \"{}\" lost the order of "
                                       "writes before the DR site held barrier {}. Make another "
                                       "one when `farshore status` shows it streaming",
                                       made.label.name, options_.group, id.value));
        }
        if (!durable && !site_.connected()) {
            break; // it waits in the spool
        }
        if (ending_) {
            co_return fail(errc::closed, "the sender stops");
        }
        if (run_.time->now() >= deadline) {
            co_return fail(errc::timeout,
                           fmt::format("bookmark \"{}\" is barrier {}, and {}; group \"{}\" ships "
                                       "it with its backlog. `farshore points {}` at the DR site "
                                       "lists it then",
                                       made.label.name, id.value,
                                       durable ? "the DR site holds it and does not show it yet"
                                               : "the DR site does not have it yet",
                                       options_.group, options_.group));
        }
        co_await progress_.wait_until(*run_.time,
                                      std::min(deadline, run_.time->now() + try_again_after));
    }
    bookmark_outcome out;
    out.point.group = options_.group;
    out.point.point = std::to_string(id.value);
    out.point.barrier = id;
    out.point.time = made.barrier.time;
    out.point.applied = durable;
    out.durable = durable;
    out.why_not_app = std::move(made.why_not_app);
    out.label = std::move(made.label);
    co_return out;
}

} // namespace farshore
