#include "replicator/catalogue/catalogue.hpp"

#include "replicator/base/log.hpp"
#include "replicator/catalogue/catalogue_impl.hpp"
#include "replicator/catalogue/catalogue_limits.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

/// Of the layout below, in the database's user_version.
// Version 1: points, openings, facts. Version 2: damages. Version 3: tests, and of points keep_ns
// and hooks. Version 4: exposure, rehearsals.
constexpr std::int64_t layout_version = 4;
constexpr const char *tables =
    "CREATE TABLE IF NOT EXISTS points(id INTEGER PRIMARY KEY, time INTEGER NOT NULL,"
    " arrival INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, note TEXT NOT NULL,"
    " pinned INTEGER NOT NULL, keep_ns INTEGER NOT NULL DEFAULT 0,"
    " hooks TEXT NOT NULL DEFAULT '') STRICT;"
    "CREATE TABLE IF NOT EXISTS openings(id TEXT PRIMARY KEY, point INTEGER NOT NULL,"
    " writable INTEGER NOT NULL, suspect INTEGER NOT NULL, space INTEGER NOT NULL,"
    " nbd TEXT NOT NULL, mount TEXT NOT NULL, since INTEGER NOT NULL,"
    " changed_since INTEGER NOT NULL) STRICT;"
    "CREATE TABLE IF NOT EXISTS facts(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;"
    "CREATE TABLE IF NOT EXISTS damages(id INTEGER PRIMARY KEY, what TEXT NOT NULL,"
    " volume INTEGER NOT NULL, block INTEGER NOT NULL, count INTEGER NOT NULL,"
    " from_id INTEGER NOT NULL, to_id INTEGER NOT NULL, found INTEGER NOT NULL) STRICT;"
    "CREATE TABLE IF NOT EXISTS tests(id INTEGER PRIMARY KEY, point INTEGER NOT NULL,"
    " time INTEGER NOT NULL, name TEXT NOT NULL, passed INTEGER NOT NULL,"
    " took_ns INTEGER NOT NULL, message TEXT NOT NULL) STRICT;"
    "CREATE INDEX IF NOT EXISTS tests_of ON tests(point, id);"
    "CREATE TABLE IF NOT EXISTS exposure(hour INTEGER PRIMARY KEY, worst_ns INTEGER NOT NULL,"
    " worst_at INTEGER NOT NULL, watched_ns INTEGER NOT NULL, connected_ns INTEGER NOT NULL,"
    " without_ns INTEGER NOT NULL) STRICT;"
    "CREATE TABLE IF NOT EXISTS rehearsals(id INTEGER PRIMARY KEY, point INTEGER NOT NULL,"
    " point_time INTEGER NOT NULL, point_kind TEXT NOT NULL, point_name TEXT NOT NULL,"
    " time INTEGER NOT NULL, name TEXT NOT NULL, passed INTEGER NOT NULL,"
    " took_ns INTEGER NOT NULL, message TEXT NOT NULL) STRICT;";
/// What tables of versions 1 and 2 lack in columns.
constexpr const char *columns_of_3 =
    "ALTER TABLE points ADD COLUMN keep_ns INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE points ADD COLUMN hooks TEXT NOT NULL DEFAULT '';";

/// What tables of version 3 know of rehearsals.
constexpr const char *rehearsals_of_3 =
    "INSERT INTO rehearsals(point, point_time, point_kind, point_name, time, name, passed, took_ns,"
    " message) SELECT t.point, p.time, p.kind, p.name, t.time, t.name, t.passed, t.took_ns,"
    " t.message FROM tests t JOIN points p ON p.id = t.point ORDER BY t.id;";

/// From `version` (0: nothing is there) to ours, in one transaction.
std::string steps_to_layout(std::int64_t version) {
    return fmt::format("BEGIN IMMEDIATE;{}{}{}PRAGMA user_version = {};COMMIT;",
                       version == 1 || version == 2 ? columns_of_3 : "", tables,
                       version == 3 ? rehearsals_of_3 : "", layout_version);
}

/// A database with our tables in it; errc::corrupt, errc::unsupported: another one is to be made.
result<std::unique_ptr<sqlite_database>> open_layout(sqlite_files &files, const std::string &path,
                                                     bool &fresh) {
    FS_TRY(database, sqlite_database::open(files, path));
    FS_TRY(version, database->number("PRAGMA user_version"));
    if (version > layout_version) {
        return fail(errc::unsupported,
                    fmt::format("{}: layout {} of a newer version", path, version));
    }
    fresh = version == 0;
    if (version < layout_version) {
        FS_CHECK(database->execute("PRAGMA synchronous = FULL"));
        FS_CHECK(database->execute(steps_to_layout(version).c_str()));
        FS_CHECK(database->execute("PRAGMA synchronous = NORMAL"));
    }
    return database;
}

/// Kept for who wants to look at it; one of them.
result<> move_aside(file_system &files, const std::string &path) {
    FS_CHECK(files.remove(path + "-wal"));
    FS_CHECK(files.rename(path, path + ".damaged"));
    return files.sync_directory(parent_path(path));
}

} // namespace

/// What failed inside leaves nothing behind; a roll-back that fails as well leaves it to the next
/// open.
result<> catalogue::impl::rolled_back(result<> done) {
    if (!done) {
        static_cast<void>(database->execute("ROLLBACK").has_value());
    }
    return done;
}

result<> catalogue::impl::set_fact(const char *name, std::int64_t value) {
    FS_TRY(set, database->prepare("INSERT OR REPLACE INTO facts(name, value) VALUES(?, ?)"));
    return set.text(name).number(value).run();
}

result<std::int64_t> catalogue::impl::fact(const char *name) {
    FS_TRY(get, database->prepare("SELECT value FROM facts WHERE name = ?"));
    FS_TRY(there, get.text(name).step());
    return there ? get.number_at(0) : 0;
}

result<> catalogue::impl::must_have(interval_id point) {
    FS_TRY(there, database->prepare("SELECT id FROM points WHERE id = ?"));
    FS_TRY(row, there.number(to_sql(point)).step());
    return row ? result<>() : fail(errc::not_found, fmt::format("no point {}", point.value));
}

catalogue::catalogue(std::unique_ptr<impl> inner) : impl_(std::move(inner)) {}
catalogue::~catalogue() = default;

result<std::unique_ptr<catalogue>> catalogue::open(file_system &files, const std::string &path) {
    auto inner = std::make_unique<impl>(files);
    auto database = open_layout(inner->files, path, inner->begun_anew);
    if (!database &&
        (is(database.error(), errc::corrupt) || is(database.error(), errc::unsupported))) {
        log::error("{}: it is moved aside as {}.damaged, and a new catalogue is begun",
                   database.error().text(), path);
        FS_CHECK(move_aside(files, path));
        database = open_layout(inner->files, path, inner->begun_anew);
    }
    if (!database) {
        return std::unexpected(database.error());
    }
    inner->database = std::move(*database);
    return std::unique_ptr<catalogue>(new catalogue(std::move(inner)));
}

result<> catalogue::checkpoint() {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->database->execute("PRAGMA wal_checkpoint(TRUNCATE)");
}

bool catalogue::begun_anew() const { return impl_->begun_anew; }

// ---- points
// ----------------------------------------------------------------------------------------

result<std::vector<catalogued_point>> catalogue::points() {
    const std::scoped_lock lock(impl_->mutex);
    std::vector<catalogued_point> all;
    FS_TRY(rows, impl_->database->prepare("SELECT id, time, arrival, kind, name, note, pinned,"
                                          " keep_ns, hooks FROM points ORDER BY id"));
    for (;;) {
        FS_TRY(there, rows.step());
        if (!there) {
            return all;
        }
        all.push_back({from_sql(rows.number_at(0)), from_ns(rows.number_at(1)),
                       from_ns(rows.number_at(2)), rows.text_at(3), rows.text_at(4),
                       rows.text_at(5), rows.number_at(6) != 0, duration(rows.number_at(7)),
                       rows.text_at(8)});
    }
}

result<interval_id> catalogue::noted_through() {
    const std::scoped_lock lock(impl_->mutex);
    FS_TRY(through, impl_->fact("noted_through"));
    return from_sql(through);
}

result<> catalogue::note_points(std::span<const catalogued_point> points, interval_id through,
                                bool durably) {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->transact(durably, [&]() -> result<> {
        for (const catalogued_point &p : points) {
            FS_TRY(add, impl_->database->prepare(
                            "INSERT OR IGNORE INTO points(id, time, arrival, kind, name, note,"
                            " pinned, keep_ns, hooks) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)"));
            FS_CHECK(add.number(to_sql(p.id))
                         .number(to_ns(p.time))
                         .number(to_ns(p.arrival))
                         .text(p.kind)
                         .text(p.name)
                         .text(p.note)
                         .number(p.pinned ? 1 : 0)
                         .number(p.keep.count())
                         .text(p.hooks)
                         .run());
        }
        return impl_->set_fact("noted_through", to_sql(through));
    });
}

result<> catalogue::drop_points(std::span<const interval_id> ids, bool durably) {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->transact(durably, [&]() -> result<> {
        for (const interval_id id : ids) {
            FS_TRY(drop, impl_->database->prepare("DELETE FROM points WHERE id = ?"));
            FS_CHECK(drop.number(to_sql(id)).run());
            FS_TRY(tests, impl_->database->prepare("DELETE FROM tests WHERE point = ?"));
            FS_CHECK(tests.number(to_sql(id)).run());
        }
        return {};
    });
}

result<> catalogue::cut_after(interval_id id) {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->transact(true, [&]() -> result<> {
        FS_TRY(drop, impl_->database->prepare("DELETE FROM points WHERE id > ?"));
        FS_CHECK(drop.number(to_sql(id)).run());
        FS_TRY(tests, impl_->database->prepare("DELETE FROM tests WHERE point > ?"));
        FS_CHECK(tests.number(to_sql(id)).run());
        FS_TRY(marks, impl_->database->prepare("DELETE FROM damages WHERE from_id > ?"));
        FS_CHECK(marks.number(to_sql(id)).run());
        FS_TRY(through, impl_->fact("noted_through"));
        return impl_->set_fact("noted_through", std::min(through, to_sql(id)));
    });
}

result<> catalogue::pin(interval_id id, bool pinned) {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->transact(true, [&]() -> result<> {
        FS_CHECK(impl_->must_have(id));
        FS_TRY(set, impl_->database->prepare("UPDATE points SET pinned = ? WHERE id = ?"));
        return set.number(pinned ? 1 : 0).number(to_sql(id)).run();
    });
}

result<std::optional<rebuilt_points>> catalogue::rebuilt() {
    const std::scoped_lock lock(impl_->mutex);
    FS_TRY(through, impl_->fact("rebuilt_through"));
    FS_TRY(at, impl_->fact("rebuilt_at"));
    return through == 0 ? std::nullopt
                        : std::optional(rebuilt_points{from_sql(through), from_ns(at)});
}

result<> catalogue::set_rebuilt(const std::optional<rebuilt_points> &what) {
    const std::scoped_lock lock(impl_->mutex);
    const rebuilt_points r = what.value_or(rebuilt_points{});
    return impl_->transact(true, [&]() -> result<> {
        FS_CHECK(impl_->set_fact("rebuilt_through", to_sql(r.through)));
        return impl_->set_fact("rebuilt_at", to_ns(r.at));
    });
}

// ---- tests
// -----------------------------------------------------------------------------------------

result<std::vector<catalogued_test>> catalogue::tests() {
    const std::scoped_lock lock(impl_->mutex);
    std::vector<catalogued_test> all;
    FS_TRY(rows, impl_->database->prepare("SELECT point, time, name, passed, took_ns, message"
                                          " FROM tests ORDER BY id"));
    for (;;) {
        FS_TRY(there, rows.step());
        if (!there) {
            return all;
        }
        all.push_back({from_sql(rows.number_at(0)), from_ns(rows.number_at(1)), rows.text_at(2),
                       rows.number_at(3) != 0, duration(rows.number_at(4)), rows.text_at(5)});
    }
}

result<> catalogue::add_test(const catalogued_test &test) {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->transact(true, [&]() -> result<> {
        FS_CHECK(impl_->must_have(test.point));
        FS_TRY(add, impl_->database->prepare("INSERT INTO tests(point, time, name, passed,"
                                             " took_ns, message) VALUES(?, ?, ?, ?, ?, ?)"));
        FS_CHECK(add.number(to_sql(test.point))
                     .number(to_ns(test.time))
                     .text(test.name)
                     .number(test.passed ? 1 : 0)
                     .number(test.took.count())
                     .text(test.message)
                     .run());
        FS_TRY(drop, impl_->database->prepare(
                         "DELETE FROM tests WHERE point = ?1 AND id NOT IN (SELECT id FROM tests"
                         " WHERE point = ?1 ORDER BY id DESC LIMIT ?2)"));
        FS_CHECK(drop.number(to_sql(test.point))
                     .number(static_cast<std::int64_t>(limits::tests_per_point_max))
                     .run());
        FS_CHECK(impl_->record(test));
        FS_CHECK(impl_->set_fact("test_last", to_ns(test.time)));
        FS_CHECK(impl_->set_fact("test_last_point", to_sql(test.point)));
        FS_CHECK(impl_->set_fact("test_last_passed", test.passed ? 1 : 0));
        if (!test.passed) {
            return {};
        }
        FS_CHECK(impl_->set_fact("test_passed", to_ns(test.time)));
        return impl_->set_fact("test_passed_point", to_sql(test.point));
    });
}

result<test_record> catalogue::tested() {
    const std::scoped_lock lock(impl_->mutex);
    FS_TRY(last, impl_->fact("test_last"));
    FS_TRY(last_point, impl_->fact("test_last_point"));
    FS_TRY(last_passed, impl_->fact("test_last_passed"));
    FS_TRY(passed, impl_->fact("test_passed"));
    FS_TRY(passed_point, impl_->fact("test_passed_point"));
    return test_record{from_ns(last), from_sql(last_point), last_passed != 0, from_ns(passed),
                       from_sql(passed_point)};
}

result<wall_time> catalogue::begun(const std::string &what) {
    const std::scoped_lock lock(impl_->mutex);
    FS_TRY(at, impl_->fact(("begun " + what).c_str()));
    return from_ns(at);
}

result<> catalogue::set_begun(const std::string &what, wall_time at) {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->transact(
        true, [&]() -> result<> { return impl_->set_fact(("begun " + what).c_str(), to_ns(at)); });
}

// ---- damage
// ----------------------------------------------------------------------------------------

result<std::vector<catalogued_damage>> catalogue::damages() {
    const std::scoped_lock lock(impl_->mutex);
    std::vector<catalogued_damage> all;
    FS_TRY(rows, impl_->database->prepare("SELECT id, what, volume, block, count, from_id, to_id,"
                                          " found FROM damages ORDER BY id"));
    const auto unsigned_at = [&rows](int column) {
        return static_cast<std::uint64_t>(rows.number_at(column));
    };
    for (;;) {
        FS_TRY(there, rows.step());
        if (!there) {
            return all;
        }
        all.push_back({unsigned_at(0), rows.text_at(1),
                       volume_index{static_cast<std::uint16_t>(rows.number_at(2))}, unsigned_at(3),
                       unsigned_at(4), from_sql(rows.number_at(5)), from_sql(rows.number_at(6)),
                       from_ns(rows.number_at(7))});
    }
}

result<> catalogue::add_damages(std::span<const catalogued_damage> found) {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->transact(true, [&]() -> result<> {
        for (const catalogued_damage &d : found) {
            FS_TRY(add, impl_->database->prepare(
                            "INSERT OR REPLACE INTO damages(id, what, volume, block, count,"
                            " from_id, to_id, found) VALUES(?, ?, ?, ?, ?, ?, ?, ?)"));
            FS_CHECK(add.number(static_cast<std::int64_t>(d.id))
                         .text(d.what)
                         .number(d.volume.value)
                         .number(static_cast<std::int64_t>(d.block))
                         .number(static_cast<std::int64_t>(d.count))
                         .number(to_sql(d.from))
                         .number(to_sql(d.to))
                         .number(to_ns(d.found))
                         .run());
        }
        return {};
    });
}

result<> catalogue::drop_damages(std::span<const std::uint64_t> ids) {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->transact(false, [&]() -> result<> {
        for (const std::uint64_t id : ids) {
            FS_TRY(drop, impl_->database->prepare("DELETE FROM damages WHERE id = ?"));
            FS_CHECK(drop.number(static_cast<std::int64_t>(id)).run());
        }
        return {};
    });
}

result<scrub_record> catalogue::scrubbed() {
    const std::scoped_lock lock(impl_->mutex);
    FS_TRY(began, impl_->fact("scrub_began"));
    FS_TRY(finished, impl_->fact("scrub_finished"));
    FS_TRY(under_way, impl_->fact("scrub_under_way"));
    FS_TRY(part, impl_->fact("scrub_part"));
    FS_TRY(place, impl_->fact("scrub_place"));
    FS_TRY(bytes, impl_->fact("scrub_bytes"));
    return scrub_record{from_ns(began),
                        from_ns(finished),
                        under_way != 0,
                        static_cast<std::uint64_t>(part),
                        static_cast<std::uint64_t>(place),
                        static_cast<std::uint64_t>(bytes)};
}

result<> catalogue::set_scrubbed(const scrub_record &what) {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->transact(true, [&]() -> result<> {
        FS_CHECK(impl_->set_fact("scrub_began", to_ns(what.began)));
        FS_CHECK(impl_->set_fact("scrub_finished", to_ns(what.finished)));
        FS_CHECK(impl_->set_fact("scrub_under_way", what.under_way ? 1 : 0));
        FS_CHECK(impl_->set_fact("scrub_part", static_cast<std::int64_t>(what.part)));
        FS_CHECK(impl_->set_fact("scrub_place", static_cast<std::int64_t>(what.place)));
        return impl_->set_fact("scrub_bytes", static_cast<std::int64_t>(what.bytes));
    });
}

// ---- openings
// --------------------------------------------------------------------------------------

result<std::vector<catalogued_opening>> catalogue::openings() {
    const std::scoped_lock lock(impl_->mutex);
    std::vector<catalogued_opening> all;
    FS_TRY(rows, impl_->database->prepare("SELECT id, point, writable, suspect, space, nbd, mount,"
                                          " since, changed_since FROM openings ORDER BY rowid"));
    for (;;) {
        FS_TRY(there, rows.step());
        if (!there) {
            return all;
        }
        all.push_back({rows.text_at(0), from_sql(rows.number_at(1)), rows.number_at(2) != 0,
                       rows.number_at(3) != 0, static_cast<std::uint64_t>(rows.number_at(4)),
                       rows.text_at(5), rows.text_at(6), from_ns(rows.number_at(7)),
                       from_sql(rows.number_at(8))});
    }
}

result<std::uint64_t> catalogue::next_opening() {
    const std::scoped_lock lock(impl_->mutex);
    std::int64_t number = 0;
    FS_CHECK(impl_->transact(true, [&]() -> result<> {
        FS_TRY(used, impl_->fact("openings_made"));
        number = used + 1;
        return impl_->set_fact("openings_made", number);
    }));
    return static_cast<std::uint64_t>(number);
}

result<> catalogue::add_opening(const catalogued_opening &o) {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->transact(true, [&]() -> result<> {
        FS_TRY(add, impl_->database->prepare(
                        "INSERT OR REPLACE INTO openings(id, point, writable, suspect, space, nbd,"
                        " mount, since, changed_since) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)"));
        return add.text(o.id)
            .number(to_sql(o.point))
            .number(o.writable ? 1 : 0)
            .number(o.suspect ? 1 : 0)
            .number(static_cast<std::int64_t>(o.space_bytes))
            .text(o.nbd)
            .text(o.mount)
            .number(to_ns(o.since))
            .number(to_sql(o.changed_since))
            .run();
    });
}

result<> catalogue::remove_opening(const std::string &id) {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->transact(true, [&]() -> result<> {
        FS_TRY(drop, impl_->database->prepare("DELETE FROM openings WHERE id = ?"));
        return drop.text(id).run();
    });
}

} // namespace farshore
