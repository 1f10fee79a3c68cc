// The record of a catalogue: exposure and rehearsals, for longer than points are kept.

#include "replicator/catalogue/catalogue_impl.hpp"
#include "replicator/catalogue/catalogue_limits.hpp"

namespace farshore {

result<> catalogue::impl::record(const catalogued_test &test) {
    FS_TRY(add, database->prepare(
                    "INSERT INTO rehearsals(point, point_time, point_kind, point_name, time, name,"
                    " passed, took_ns, message) SELECT ?1, time, kind, name, ?2, ?3, ?4, ?5, ?6"
                    " FROM points WHERE id = ?1"));
    FS_CHECK(add.number(to_sql(test.point))
                 .number(to_ns(test.time))
                 .text(test.name)
                 .number(test.passed ? 1 : 0)
                 .number(test.took.count())
                 .text(test.message)
                 .run());
    return drop_oldest_rehearsals();
}

result<> catalogue::add_unrun(const catalogued_test &test) {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->transact(true, [&]() -> result<> {
        FS_TRY(add, impl_->database->prepare(
                        "INSERT INTO rehearsals(point, point_time, point_kind, point_name, time,"
                        " name, passed, took_ns, message) VALUES(0, 0, '', '', ?, ?, 0, 0, ?)"));
        FS_CHECK(add.number(to_ns(test.time)).text(test.name).text(test.message).run());
        return impl_->drop_oldest_rehearsals();
    });
}

result<> catalogue::impl::drop_oldest_rehearsals() {
    FS_TRY(drop, database->prepare("DELETE FROM rehearsals WHERE id <= (SELECT id FROM rehearsals"
                                   " ORDER BY id DESC LIMIT 1 OFFSET ?)"));
    return drop.number(static_cast<std::int64_t>(limits::rehearsals_recorded_max)).run();
}

result<std::vector<recorded_rehearsal>> catalogue::rehearsals(wall_time since) {
    const std::scoped_lock lock(impl_->mutex);
    std::vector<recorded_rehearsal> all;
    FS_TRY(rows, impl_->database->prepare("SELECT point, point_time, point_kind, point_name, time,"
                                          " name, passed, took_ns, message FROM rehearsals"
                                          " WHERE time >= ? ORDER BY id"));
    rows.number(to_ns(since));
    for (;;) {
        FS_TRY(there, rows.step());
        if (!there) {
            return all;
        }
        all.push_back({from_sql(rows.number_at(0)), from_ns(rows.number_at(1)), rows.text_at(2),
                       rows.text_at(3), from_ns(rows.number_at(4)), rows.text_at(5),
                       rows.number_at(6) != 0, duration(rows.number_at(7)), rows.text_at(8)});
    }
}

result<std::vector<exposure_hour>> catalogue::exposure(wall_time since) {
    const std::scoped_lock lock(impl_->mutex);
    std::vector<exposure_hour> all;
    FS_TRY(rows, impl_->database->prepare("SELECT hour, worst_ns, worst_at, watched_ns,"
                                          " connected_ns, without_ns FROM exposure"
                                          " WHERE hour > ? ORDER BY hour"));
    rows.number(to_ns(since - std::chrono::hours(1)));
    for (;;) {
        FS_TRY(there, rows.step());
        if (!there) {
            return all;
        }
        all.push_back({from_ns(rows.number_at(0)), duration(rows.number_at(1)),
                       from_ns(rows.number_at(2)), duration(rows.number_at(3)),
                       duration(rows.number_at(4)), duration(rows.number_at(5))});
    }
}

result<> catalogue::add_exposure(std::span<const exposure_hour> seen) {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->transact(false, [&]() -> result<> {
        for (const exposure_hour &h : seen) {
            FS_TRY(add,
                   impl_->database->prepare(
                       "INSERT INTO exposure(hour, worst_ns, worst_at, watched_ns, connected_ns,"
                       " without_ns) VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(hour) DO UPDATE SET"
                       " worst_at = CASE WHEN excluded.worst_ns > worst_ns THEN excluded.worst_at"
                       " ELSE worst_at END, worst_ns = max(worst_ns, excluded.worst_ns),"
                       " watched_ns = watched_ns + excluded.watched_ns,"
                       " connected_ns = connected_ns + excluded.connected_ns,"
                       " without_ns = without_ns + excluded.without_ns"));
            FS_CHECK(add.number(to_ns(h.begin))
                         .number(h.worst.count())
                         .number(to_ns(h.worst_at))
                         .number(h.watched.count())
                         .number(h.connected.count())
                         .number(h.without.count())
                         .run());
        }
        // By their number: a clock that once was years ahead must not take the others with it.
        FS_TRY(drop,
               impl_->database->prepare("DELETE FROM exposure WHERE hour <= (SELECT hour"
                                        " FROM exposure ORDER BY hour DESC LIMIT 1 OFFSET ?)"));
        return drop.number(static_cast<std::int64_t>(limits::exposure_hours_max)).run();
    });
}

} // namespace farshore
