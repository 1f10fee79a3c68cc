#include "replicator/hook/postgresql.hpp"

#include "replicator/hook/group_files.hpp"
#include "replicator/hook/refusal.hpp"

#include <fmt/format.h>

namespace farshore::hook {
namespace {

constexpr int oldest_version = 90600;   ///< the first with backup mode in a session
constexpr int renamed_version = 150000; ///< pg_start_backup became pg_backup_start

/// Data directory, the log if it is a link to elsewhere, and the tablespaces.
constexpr const char *places_of_files =
    "SELECT 'the data directory', current_setting('data_directory') UNION ALL "
    "SELECT 'the WAL', current_setting('data_directory') || '/pg_wal' UNION ALL "
    "SELECT 'tablespace ' || spcname, pg_tablespace_location(oid) FROM pg_tablespace "
    "WHERE pg_tablespace_location(oid) <> ''";

/// Start of the server, of our backend, and whether it is a standby.
constexpr const char *who_we_are = "SELECT pg_postmaster_start_time()::text, backend_start::text, "
                                   "pg_is_in_recovery()::text, current_setting('server_version') "
                                   "FROM pg_stat_activity WHERE pid = pg_backend_pid()";

/// A backend that waits for something sees that its client is gone (14 and later); elsewhere the
/// release by force ends it.
constexpr const char *watch_client =
    "SELECT set_config('client_connection_check_interval', '200', false) "
    "FROM pg_settings WHERE name = 'client_connection_check_interval'";

} // namespace

result<> postgresql_freezer::check_files(const tether &t) {
    FS_TRY(places, session_->query(t, places_of_files));
    FS_TRY(files, group_files::look(asked_));
    for (const pg_session::row &one : places) {
        FS_CHECK(files.check("PostgreSQL: " + one[0], one[1]));
    }
    return {};
}

result<facts> postgresql_freezer::freeze(tether &t) {
    FS_TRY(session, pg_session::open(asked_.where, t));
    session_ = std::move(session);
    const int version = session_->server_version();
    if (version < oldest_version) {
        return refusal("PostgreSQL before 9.6 has no backup mode that ends with its session");
    }
    FS_TRY(us, session_->one_row(t, who_we_are));
    server_start_ = us[0];
    backend_start_ = us[1];
    backend_ = std::to_string(session_->backend());
    FS_CHECK(session_->query(t, watch_client));
    const bool local = session_->local();
    if (local && !asked_.outside) {
        FS_CHECK(check_files(t));
    }
    FS_CHECK(t.arm(backend_ + " " + backend_start_));
    const std::string label = fmt::format("farshore {} {}", asked_.group, asked_.bookmark);
    const char *begin = version >= renamed_version
                            ? "SELECT pg_backup_start($1, true)::text"
                            : "SELECT pg_start_backup($1, true, false)::text";
    FS_TRY(started, session_->one_row(t, begin, {label}));
    FS_TRY(line, session_->one_row(t, "SELECT timeline_id::text FROM pg_control_checkpoint()"));
    facts known;
    known.add("version", us[3]);
    known.add("lsn", started[0]);
    known.add("timeline", line[0]);
    known.add("label", label);
    known.add("role", us[2] == "true" ? "standby" : "primary");
    known.add("files", asked_.outside ? "not checked: outside = true"
                       : local        ? "on the group's volumes"
                                      : "not checked: the server is reached by TCP");
    return known;
}

result<> postgresql_freezer::prove(tether &t) {
    FS_TRY(second, pg_session::open(asked_.where, t));
    FS_TRY(seen, second.one_row(t,
                                "SELECT pg_postmaster_start_time()::text, (SELECT count(*) FROM "
                                "pg_stat_activity WHERE pid = $1::int AND backend_start::text = "
                                "$2)::text",
                                {backend_, backend_start_}));
    if (seen[0] != server_start_) {
        return refusal("PostgreSQL was restarted in between");
    }
    if (seen[1] != "1") {
        return refusal("the session that held backup mode is gone");
    }
    return {};
}

result<facts> postgresql_freezer::release(tether &t) {
    // Not waiting for the archive: the point has its WAL on its own volumes.
    const char *end = session_->server_version() >= renamed_version
                          ? "SELECT lsn::text FROM pg_backup_stop(false)"
                          : "SELECT lsn::text FROM pg_stop_backup(false, false)";
    FS_TRY(stopped, session_->one_row(t, end));
    session_.reset();
    facts known;
    known.add("stop_lsn", stopped[0]);
    return known;
}

result<> postgresql_freezer::let_go(tether &) {
    session_.reset();
    return {};
}

/// The server ends the bracket with the session. A backend that still works on it (a checkpoint)
/// stops nobody; it is ended all the same if it can be.
result<> postgresql_freezer::force_release(tether &t, const std::string &trace) {
    const auto blank = trace.find(' ');
    if (blank == std::string::npos) {
        return {};
    }
    auto session = pg_session::open(asked_.where, t);
    if (session) {
        static_cast<void>(session->query(t,
                                         "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                                         "WHERE pid = $1::int AND backend_start::text = $2",
                                         {trace.substr(0, blank), trace.substr(blank + 1)}));
    }
    return {};
}

} // namespace farshore::hook
