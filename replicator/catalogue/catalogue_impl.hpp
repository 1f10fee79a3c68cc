#pragma once
// The inside of a catalogue, for the files that its methods are in.

#include "replicator/catalogue/catalogue.hpp"
#include "replicator/catalogue/sqlite_database.hpp"
#include "replicator/catalogue/sqlite_files.hpp"

#include <cstdint>
#include <memory>
#include <mutex>

namespace farshore {

inline std::int64_t to_ns(wall_time t) { return t.time_since_epoch().count(); }
inline wall_time from_ns(std::int64_t ns) { return wall_time(duration(ns)); }
inline std::int64_t to_sql(interval_id id) { return static_cast<std::int64_t>(id.value); }
inline interval_id from_sql(std::int64_t id) { return interval_id{static_cast<std::uint64_t>(id)}; }

struct catalogue::impl {
    explicit impl(file_system &f) : files(f) {}

    sqlite_files files;
    std::unique_ptr<sqlite_database> database;
    bool begun_anew = false;
    std::mutex mutex;

    result<> set_fact(const char *name, std::int64_t value);
    result<std::int64_t> fact(const char *name);
    result<> must_have(interval_id point);
    /// A rehearsal, into the record.
    result<> record(const catalogued_test &test);
    result<> drop_oldest_rehearsals();
    result<> rolled_back(result<> done);
    template <class Change>
    result<> transact(bool durably, Change change);
};

template <class Change>
result<> catalogue::impl::transact(bool durably, Change change) {
    FS_CHECK(
        database->execute(durably ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL"));
    FS_CHECK(database->execute("BEGIN IMMEDIATE"));
    FS_CHECK(rolled_back(change()));
    return rolled_back(database->execute("COMMIT"));
}

} // namespace farshore
