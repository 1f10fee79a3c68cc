// A group at the DR site: what keeps its points, and keeping them by hand.

#include "replicator/receiver/receiver_group.hpp"

#include <fmt/format.h>

#include <map>
#include <utility>

namespace farshore {
namespace {

/// A point of the last seconds can be pinned when it is committed, which is soon.
constexpr duration committed_within = std::chrono::seconds(30);
constexpr duration look_every = std::chrono::milliseconds(100);

std::vector<std::string> keepers_of(const point_keeping &k,
                                    const std::vector<retain_rule> &retain) {
    std::vector<std::string> by;
    for (std::size_t i = 0; i < retain.size(); ++i) {
        if ((k.rules >> i & 1U) != 0) {
            by.push_back(retain[i].text);
        }
    }
    if (retain.empty()) {
        by.emplace_back("all"); // as long as there is space
    }
    if (k.bookmark) {
        by.emplace_back("bookmark");
    }
    if (k.point.pinned) {
        by.emplace_back("pin");
    }
    if (k.open) {
        by.emplace_back("open");
    }
    if (k.newest) {
        by.emplace_back("newest");
    }
    if (k.rebuilt) {
        by.emplace_back("rebuilt");
    }
    return by;
}

std::map<interval_id, std::vector<test_info>>
tests_of_points(const std::vector<catalogued_test> &all) {
    std::map<interval_id, std::vector<test_info>> of;
    for (const catalogued_test &t : all) {
        of[t.point].push_back({t.time, t.name, t.passed, t.took, t.message});
    }
    return of;
}

} // namespace

task<result<std::vector<point_info>>> receiver_group::points() {
    FS_CO_CHECK(check_served());
    std::vector<point_info> out;
    if (copy_) {
        using listed = std::pair<std::vector<point_keeping>, result<std::vector<catalogued_test>>>;
        const auto [all, tests] =
            co_await run_on(run_.disk, [copy = copy_, now = retention_time()]() -> listed {
                return {copy->points_and_keepers(now), copy->facts().tests()};
            });
        FS_CO_CHECK(tests);
        auto of_points = tests_of_points(*tests);
        for (const point_keeping &k : all) {
            point_info i = info_of(k.point);
            i.tests = std::move(of_points[k.point.id]);
            i.size_bytes = k.undo_bytes;
            i.kept_by = keepers_of(k, options_.config.retain);
            i.until = k.until;
            out.push_back(std::move(i));
        }
    }
    co_return out;
}

task<result<point_info>>
receiver_group::change_point(std::string point,
                             std::function<result<>(replica_group &, interval_id)> how) {
    FS_CO_TRY(p, resolve_point(point));
    const commands_under_way::mark here(commands_);
    const time_point until = run_.time->now() + committed_within;
    for (;;) {
        const auto copy = copy_;
        if (!copy) {
            co_return fail(errc::dead,
                           fmt::format("group \"{}\": its copy is being opened anew; try "
                                       "again in some seconds",
                                       name()));
        }
        const bool uncommitted = !copy->committed(p.id);
        if (!uncommitted) {
            FS_CO_CHECK(
                co_await run_on(run_.disk, [copy, how, id = p.id] { return how(*copy, id); }));
            co_return info_of(p);
        }
        if (commands_.ending() || run_.time->now() >= until) {
            co_return fail(
                errc::timeout,
                fmt::format("group \"{}\": point {} is not committed yet: {}", name(), p.id.value,
                            stage_.words().empty() ? "its disks are slow" : stage_.words()));
        }
        stage_.commit_soon();
        co_await run_.time->sleep_for(look_every);
    }
}

task<result<point_info>> receiver_group::pin(std::string point, bool pinned) {
    FS_CO_TRY(
        p, co_await change_point(std::move(point), [pinned](replica_group &copy, interval_id id) {
            return copy.pin(id, pinned);
        }));
    p.pinned = pinned;
    log_.tell(log::level::info,
              fmt::format("point {} is {}", p.id, pinned ? "pinned" : "unpinned"));
    co_return p;
}

task<result<point_info>> receiver_group::forget(std::string point) {
    FS_CO_TRY(p, co_await change_point(std::move(point), [](replica_group &copy, interval_id id) {
                  return copy.forget(id);
              }));
    log_.tell(log::level::info, fmt::format("point {} is forgotten", p.id));
    co_return p;
}

task<result<retention_outlook>> receiver_group::plan(retention_trial trial) {
    FS_CO_CHECK(check_served());
    retention_outlook out;
    out.group = name();
    const auto copy = copy_;
    if (!copy) {
        out.limit_bytes = trial.journal_bytes.value_or(options_.config.journal_bytes_max);
        co_return out;
    }
    retention_wish wish;
    wish.journal_bytes_max = trial.journal_bytes;
    if (trial.retain) {
        wish.retain.emplace();
        for (const retain_rule &r : *trial.retain) {
            wish.retain->push_back({r.spacing, r.age});
        }
    }
    const retention_plan p = co_await run_on(
        run_.disk, [copy, wish, now = retention_time()] { return copy->plan(wish, now); });
    const points_overview seen = copy->overview();
    const std::vector<replica_point> all = copy->points();
    out.points_now = seen.points;
    out.points = p.points;
    if (!all.empty()) {
        out.oldest_now = info_of(all.front());
    }
    if (p.oldest) {
        out.oldest = info_of(*p.oldest);
    }
    out.used_bytes_now = copy->used_bytes();
    out.used_bytes = p.used_bytes;
    out.limit_bytes = p.limit_bytes;
    out.fits = p.fits;
    co_return out;
}

} // namespace farshore
