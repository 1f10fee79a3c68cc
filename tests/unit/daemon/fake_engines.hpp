#pragma once
// The engines as far as the control socket's commands see them, and what runs a command on one.

#include "replicator/daemon/daemon_commands.hpp"
#include "replicator/sender/sender.hpp"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace farshore::fakes {

using control::json;

/// The sender's engine as far as commands see it.
struct fake_sender {
    std::vector<std::string> calls;
    std::optional<std::uint64_t> rate;
    std::optional<std::uint64_t> daemon_rate;
    std::optional<duration> lasts;
    duration timeout{};
    condition release_verify;
    bool hold_verify = false;
    int verified = 0;

    task<result<>> told(std::string group, std::string call) { co_return known(group, call); }
    result<> known(const std::string &group, const std::string &call) {
        calls.push_back(call + " " + group);
        if (group != "shop" && !group.empty()) {
            return fail(errc::not_found, "group \"" + group + "\"");
        }
        return {};
    }
    std::vector<sender_group_status> status() const {
        sender_group_status g;
        g.name = "shop";
        g.limit_bytes_per_second = rate;
        g.limit_source = rate ? "set" : "none";
        sender_group_status h;
        h.name = "mail";
        return {g, h};
    }
    task<result<wait_outcome>> wait(std::string group, bool durable, duration t) {
        timeout = t;
        FS_CO_CHECK(known(group, durable ? "wait-durable" : "wait"));
        co_return wait_outcome{group, "17", interval_id{17}, {}, !durable};
    }
    task<result<bookmark_outcome>> bookmark(std::string group, bookmark_request r) {
        timeout = r.timeout;
        FS_CO_CHECK(known(group, "bookmark"));
        bookmark_outcome out;
        out.point = {group, "18", interval_id{18}, {}, true};
        out.label.name = r.name;
        out.label.kind = r.app ? label_kind::app : label_kind::crash;
        out.label.hooks.push_back({"db", "redis", true, std::chrono::milliseconds(3), "", {}});
        co_return out;
    }
    task<result<>> pause(std::string g) { return told(g, "pause"); }
    task<result<>> resume(std::string g) { return told(g, "resume"); }
    task<result<>> resync(std::string g, bool full) {
        return told(g, full ? "resync-full" : "resync");
    }
    task<result<verify_outcome>> verify(std::string group, progress_report progress) {
        FS_CO_CHECK(known(group, "verify"));
        progress(1, 2);
        if (hold_verify) {
            co_await release_verify.wait();
        }
        ++verified;
        co_return verify_outcome{group, interval_id{9}, true, {}};
    }
    task<result<>> throttle_set(std::string g, std::optional<std::uint64_t> r,
                                std::optional<duration> l) {
        (g.empty() ? daemon_rate : rate) = r;
        lasts = l;
        return told(g, "throttle_set");
    }
    task<result<>> throttle_clear(std::string g) {
        (g.empty() ? daemon_rate : rate).reset();
        return told(g, "throttle_clear");
    }
    throttle_view throttle() const {
        return {daemon_rate, daemon_rate ? "set" : "none", std::nullopt};
    }
    task<result<peer_status>> join(std::string token) {
        if (token != "good") {
            co_return fail(errc::not_trusted, "the token");
        }
        co_return peer_status{"shop", "dr:7420", "ab", true};
    }
    std::vector<peer_status> peers() const { return {{"shop", "dr:7420", "ab", true}}; }
    task<result<>> unpair(std::string g) { return told(g, "unpair"); }
};

struct fake_receiver {
    std::vector<std::string> calls;
    std::vector<receiver_group_status> status() const {
        receiver_group_status g;
        g.name = "shop";
        return {g};
    }
    task<result<std::vector<point_info>>> points(std::string group) {
        if (group != "shop") {
            co_return fail(errc::not_found, "group \"" + group + "\"");
        }
        point_info p;
        p.id = "17";
        co_return std::vector{p};
    }
    bool reachable = true;
    task<result<>> reach(std::string group, std::string point, progress_report progress) {
        calls.push_back("reach " + group + " " + point);
        progress(1, 2);
        co_return reachable ? result<>{} : fail(errc::not_in_sync, "it can't be applied now");
    }
    task<result<point_info>> pin(std::string group, std::string point, bool pinned) {
        calls.push_back((pinned ? "pin " : "unpin ") + group + " " + point);
        point_info p;
        p.id = "17";
        co_return p;
    }
    task<result<point_info>> forget(std::string group, std::string point) {
        calls.push_back("forget " + group + " " + point);
        co_return fail(errc::refused, "point 17 is pinned");
    }
    wall_time asked_since{};
    bool report_fails = false;
    task<result<recovery_report>> report(std::string group, wall_time since) {
        asked_since = since;
        if (report_fails) {
            co_return fail(errc::dead, "its disk");
        }
        if (group != "shop") {
            co_return fail(errc::not_found, "group \"" + group + "\"");
        }
        recovery_report r;
        r.group = group;
        point_info named;
        named.id = "17";
        named.kind = "app";
        named.name = "monday";
        r.points = {named, point_info{}};
        r.hours = {{wall_time(std::chrono::hours(5)), std::chrono::milliseconds(2500)},
                   {wall_time(std::chrono::hours(6))}};
        recorded_rehearsal one;
        one.point = interval_id{1};
        one.point_name = "monday";
        one.passed = true;
        one.took = std::chrono::seconds(30);
        r.rehearsals = {one};
        co_return r;
    }
    task<result<retention_outlook>> plan(std::string group, retention_trial trial) {
        retention_outlook o;
        o.group = group;
        o.points_now = 9;
        o.points = trial.retain ? trial.retain->size() : 5;
        o.limit_bytes = trial.journal_bytes.value_or(100);
        co_return o;
    }
    task<result<std::optional<scrub_outcome>>> scrub(std::string group, bool wait,
                                                     progress_report) {
        if (!wait) {
            co_return std::nullopt;
        }
        scrub_outcome s;
        s.group = group;
        s.read_bytes = 77;
        s.compared = true;
        s.findings = 1;
        s.damaged.push_back({"history", "data", {4096, 8192}, interval_id{9}, 2, {"7", "8"}});
        co_return s;
    }
    std::optional<std::string> held_back(const std::string &) const { return "it differs"; }
    task<result<opened_point>> open(std::string group, open_request wanted) {
        const std::string &point = wanted.point;
        calls.push_back("open " + group + " " + point + " " + wanted.nbd +
                        (wanted.suspect ? " suspect" : ""));
        asked = wanted;
        opened_point o = opened().front();
        o.point = point;
        o.exports = {{"data", "uri"}};
        co_return o;
    }
    open_request asked;
    std::vector<opened_point> opened() const {
        opened_point o;
        o.id = "1";
        o.group = "shop";
        o.point = "17";
        return {o};
    }
    condition release_open;
    bool hold_open = false;
    task<result<opened_point>> open_attached(std::string group, open_request wanted) {
        calls.push_back("open_attached " + group + " " + wanted.point);
        asked = wanted;
        if (hold_open) {
            co_await release_open.wait();
        }
        opened_point o = opened().front();
        o.exports = {{"data", "uri"}};
        co_return group == "shop" ? result<opened_point>(o)
                                  : fail(errc::not_found, "group \"" + group + "\"");
    }
    std::vector<start_step> start_steps(const std::string &) const {
        return {{"db", {"/bin/db"}, {"/bin/probe", "-q"}, std::chrono::seconds(90)}};
    }
    test_info noted;
    task<result<point_info>> note_test(std::string group, std::string point, test_info test) {
        calls.push_back("note_test " + group + " " + point);
        noted = std::move(test);
        if (point != "17") {
            co_return fail(errc::not_found, "no point " + point);
        }
        point_info p;
        p.id = point;
        co_return p;
    }
    result<farshore::seed_target> seed_target(const std::string &group) const {
        return farshore::seed_target{group, "empty", false, false, "/srv/replica", {}};
    }
    task<result<>> close(std::string id) {
        calls.push_back("close " + id);
        if (id != "1") {
            co_return fail(errc::not_found, "opened point " + id);
        }
        co_return result<>{};
    }
    task<result<invitation>> invite(std::string, std::string address) {
        co_return invitation{"token-for-" + address, {}};
    }
    std::vector<open_invitation> invitations() const { return {{"0123456789ab", "shop", {}}}; }
    task<result<>> revoke(std::string id) {
        co_return id == "0123456789ab" ? result<>()
                                       : fail(errc::not_found, "there is no open invitation");
    }
    std::vector<peer_status> peers() const { return {}; }
    task<result<>> unpair(std::string) { co_return result<>{}; }
};

template <class Engine, class Commands>
struct rig {
    asio::io_context io{1};
    task_group owner{io.get_executor()};
    Engine engine;
    Commands commands{engine, owner};
    std::vector<json> progress;

    control::outcome run(std::string command, json arguments) {
        std::optional<control::outcome> answer;
        asio::co_spawn(io,
                       commands.run(std::move(command), std::move(arguments),
                                    [this](json p) { progress.push_back(std::move(p)); }),
                       [&](std::exception_ptr thrown, control::outcome o) {
                           REQUIRE(!thrown);
                           answer = std::move(o);
                       });
        io.restart();
        io.run();
        REQUIRE(answer);
        return *answer;
    }
    void refuses(const std::string &command, const json &arguments, const char *code, int exit) {
        CAPTURE(command);
        const auto o = run(command, arguments);
        REQUIRE(!o);
        CHECK(o.error().code == code);
        CHECK(o.error().exit == exit);
    }
};

using sender_rig = rig<fake_sender, sender_commands<fake_sender>>;
using receiver_rig = rig<fake_receiver, receiver_commands<fake_receiver>>;
inline const json shop{{"group", "shop"}};

} // namespace farshore::fakes
