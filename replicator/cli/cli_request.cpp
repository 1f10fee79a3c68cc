#include "replicator/cli/cli_request.hpp"

#include "replicator/cli/carry_options.hpp"
#include "replicator/cli/retention_options.hpp"
#include "replicator/cli/role_options.hpp"
#include "replicator/config/units.hpp"
#include "replicator/control/exit_code.hpp"

#include <algorithm>
#include <filesystem>

namespace farshore {
namespace {

using control::json;

std::expected<control_request, control::failure> wait_request(const invocation &inv) {
    json args{{"group", inv.group}, {"durable", inv.durable}};
    if (!inv.timeout.empty()) {
        const auto ms = milliseconds_of("--timeout", inv.timeout);
        if (!ms) {
            return std::unexpected(ms.error());
        }
        args["timeout_ms"] = *ms;
    }
    return control_request{"wait", std::move(args)};
}

std::expected<control_request, control::failure> bookmark_request(const invocation &inv) {
    json args{{"group", inv.group},
              {"name", inv.bookmark.name},
              {"note", inv.bookmark.note},
              {"app", inv.bookmark.app}};
    const std::pair<const char *, const std::string &> times[] = {{"--keep", inv.bookmark.keep},
                                                                  {"--timeout", inv.timeout}};
    for (const auto &[option, text] : times) {
        if (text.empty()) {
            continue;
        }
        const auto ms = milliseconds_of(option, text);
        if (!ms) {
            return std::unexpected(ms.error());
        }
        args[std::string(option).substr(2) + "_ms"] = *ms;
    }
    return control_request{"bookmark", std::move(args)};
}

std::expected<control_request, control::failure> throttle_request(const invocation &inv) {
    const auto limit = parse_limit(inv.throttle.rate);
    if (!limit) {
        return std::unexpected(usage_failure(limit.error().context));
    }
    json args{{"bytes_per_second", *limit ? json(**limit) : json(nullptr)}};
    if (!inv.group.empty()) {
        args["group"] = inv.group;
    }
    if (!inv.throttle.lasts.empty()) {
        const auto ms = milliseconds_of("--for", inv.throttle.lasts);
        if (!ms) {
            return std::unexpected(ms.error());
        }
        args["for_ms"] = *ms;
    }
    return control_request{"throttle_set", std::move(args)};
}

std::expected<control_request, control::failure> report_request(const invocation &inv) {
    json args = json::object();
    if (!inv.group.empty()) {
        args["group"] = inv.group;
    }
    const auto ms = milliseconds_of("--since", inv.report.since);
    if (!ms) {
        return std::unexpected(ms.error());
    }
    args["since_ms"] = *ms;
    return control_request{"report", std::move(args)};
}

std::expected<control_request, control::failure> open_request(const invocation &inv) {
    json args{{"group", inv.group}, {"writable", inv.open.writable}};
    if (!inv.open.nbd.empty()) {
        args["nbd"] = inv.open.nbd;
    }
    if (!inv.open.mount.empty()) { // the daemon's working directory is not ours
        args["mount"] = std::filesystem::absolute(inv.open.mount).lexically_normal().string();
    }
    if (!inv.open.space.empty()) {
        const auto bytes = parse_size(inv.open.space);
        if (!bytes) {
            return std::unexpected(usage_failure("--space: " + bytes.error().context));
        }
        args["space_bytes"] = *bytes;
    }
    if (inv.applied) {
        args["applied"] = true;
    }
    if (inv.open.suspect) {
        args["suspect"] = true;
    }
    if (!inv.carry.since.empty()) {
        args["since"] = inv.carry.since;
    }
    if (!inv.point.empty()) {
        args["point"] = inv.point;
    }
    return control_request{"open", std::move(args)};
}

} // namespace

std::expected<std::int64_t, control::failure> milliseconds_of(const char *option,
                                                              const std::string &text) {
    const auto d = parse_duration(text);
    if (!d) {
        return std::unexpected(usage_failure(std::string(option) + ": " + d.error().context));
    }
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(*d).count();
    return std::max<std::int64_t>(1, ms);
}

std::expected<control_request, control::failure> request_of(const invocation &inv) {
    if (inv.command == "wait") {
        return wait_request(inv);
    }
    if (inv.command == "bookmark") {
        return bookmark_request(inv);
    }
    if (inv.command == "throttle set") {
        return throttle_request(inv);
    }
    if (inv.command == "open") {
        return open_request(inv);
    }
    if (inv.command == "report") {
        return report_request(inv);
    }
    if (inv.command == "points" && inv.plan.asked) {
        return plan_request(inv);
    }
    if (is_role_command(inv.command)) {
        return role_request(inv);
    }
    if (inv.command == "invite --list") {
        return control_request{"invitations", json::object()};
    }
    if (inv.command == "invite --revoke") {
        return control_request{"revoke", json{{"id", inv.invite.revoke}}};
    }
    json args = json::object();
    if (!inv.group.empty()) {
        args["group"] = inv.group;
    }
    if (inv.command == "points" && inv.applied) {
        args["applied"] = true;
    } else if (inv.command == "scrub") {
        args["wait"] = inv.wait;
    } else if (inv.command == "resync") {
        args["full"] = inv.full;
    } else if (inv.command == "pin" || inv.command == "unpin" || inv.command == "forget") {
        args["point"] = inv.point;
    } else if (inv.command == "close") {
        args["id"] = inv.id;
    } else if (inv.command == "join") {
        args["token"] = inv.token;
    } else if (inv.command == "invite") {
        args["address"] = inv.invite.address;
    }
    if (inv.command == "check") {
        return control_request{"status", std::move(args)};
    }
    std::string command = inv.command;
    std::ranges::replace(command, ' ', '_');
    return control_request{std::move(command), std::move(args)};
}

std::expected<control::call_limits, control::failure> call_limits_of(const invocation &inv) {
    control::call_limits limits;
    std::optional<duration> given;
    if (!inv.timeout.empty()) {
        const auto ms = milliseconds_of("--timeout", inv.timeout);
        if (!ms) {
            return std::unexpected(ms.error());
        }
        given = std::chrono::milliseconds(*ms);
    }
    const std::string &c = inv.command;
    if (c == "check" || inv.watch) {
        limits.total = given.value_or(std::chrono::seconds(10));
    } else if (c == "bookmark" || c == "switchover") { // the daemon's own limit ends it
        limits.total = std::nullopt;
    } else if (c == "wait") {
        limits.total = given ? std::optional(*given + wait_grace) : std::nullopt;
    } else if (c == "verify" || c == "open" || c == "close" || c == "join" || c == "pin" ||
               c == "unpin" || c == "forget" || c == "scrub" || is_carry_command(c) ||
               is_role_command(c)) {
        limits.total = given;
    } else {
        limits.total = given.value_or(std::chrono::seconds(30));
    }
    return limits;
}

std::expected<check_limits, control::failure> check_limits_of(const invocation &inv) {
    check_limits limits;
    const auto lag = parse_duration(inv.check.lag_max);
    if (!lag) {
        return std::unexpected(usage_failure("--max-lag: " + lag.error().context));
    }
    const auto age = parse_duration(inv.check.point_age_max);
    if (!age) {
        return std::unexpected(usage_failure("--max-point-age: " + age.error().context));
    }
    if (!inv.check.test_age_max.empty()) {
        const auto tests = parse_duration(inv.check.test_age_max);
        if (!tests) {
            return std::unexpected(usage_failure("--max-test-age: " + tests.error().context));
        }
        limits.test_age_max = *tests;
    }
    limits.lag_max = *lag;
    limits.point_age_max = *age;
    return limits;
}

} // namespace farshore
