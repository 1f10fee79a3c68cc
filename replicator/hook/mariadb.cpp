#include "replicator/hook/mariadb.hpp"

#include "replicator/hook/file_sync.hpp"
#include "replicator/hook/group_files.hpp"
#include "replicator/hook/refusal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

namespace farshore::hook {
namespace {

// Numbers of errors, the same in MariaDB and MySQL.
constexpr unsigned syntax_error = 1064;
constexpr unsigned no_such_session = 1094;
constexpr unsigned lock_wait_timeout = 1205;

result<std::uint64_t> uptime_of(mariadb_session &session, const tether &t) {
    FS_TRY(rows, session.query(t, "SHOW GLOBAL STATUS LIKE 'Uptime'"));
    std::uint64_t seconds = 0;
    if (rows.size() == 1 && rows[0].size() == 2) {
        std::from_chars(rows[0][1].data(), rows[0][1].data() + rows[0][1].size(), seconds);
    }
    return seconds;
}

std::string seconds_left(const tether &t) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(t.left()).count();
    return std::to_string(std::max<std::int64_t>(seconds, 1));
}

/// A directory of the server's variables: relative ones are in the data directory.
std::string full_path(const std::string &data, const std::string &path) {
    return path.starts_with('/') ? path : data + "/" + path;
}

} // namespace

result<> mariadb_freezer::check_files(const tether &t, const connect_words &words) {
    if (words.get("socket").empty() || asked_.outside) {
        return {};
    }
    FS_TRY(rows, session_->query(t, "SELECT @@datadir, @@innodb_data_home_dir, "
                                    "@@innodb_log_group_home_dir, @@innodb_undo_directory"));
    FS_TRY(files, group_files::look(asked_));
    const std::string &data = rows.at(0).at(0);
    constexpr const char *names[] = {"the data directory", "the InnoDB data", "the InnoDB log",
                                     "the InnoDB undo tablespaces"};
    for (std::size_t i = 0; i < rows[0].size(); ++i) {
        FS_CHECK(files.check(fmt::format("MariaDB: {}", names[i]), full_path(data, rows[0][i])));
    }
    return {};
}

result<> mariadb_freezer::lock(const tether &t, const connect_words &words) {
    at_work_ = true;
    stages_ = words.get("freeze") != "read-lock";
    if (stages_) {
        if (const auto begun = session_->query(t, "BACKUP STAGE START"); !begun) {
            if (session_->last_error() != syntax_error) {
                return std::unexpected(begun.error());
            }
            stages_ = false;
        }
    }
    if (stages_) {
        for (const char *stage : {"FLUSH", "BLOCK_DDL", "BLOCK_COMMIT"}) {
            FS_CHECK(session_->query(t, fmt::format("BACKUP STAGE {}", stage)));
        }
    } else {
        FS_CHECK(session_->query(t, "FLUSH TABLES WITH READ LOCK"));
    }
    at_work_ = false;
    return make_durable(t, words);
}

// No commit is under way: what was acknowledged stands in the logs, in the page cache or, with
// innodb_flush_log_at_trx_commit = 0, in the server's memory for up to its flush timeout.
result<> mariadb_freezer::make_durable(const tether &t, const connect_words &words) {
    FS_CHECK(session_->query(t, "FLUSH LOCAL ENGINE LOGS"));
    FS_TRY(rows,
           session_->query(t, "SELECT @@innodb_flush_log_at_trx_commit, @@sync_binlog, @@log_bin, "
                              "@@innodb_flush_log_at_timeout, @@datadir, "
                              "@@innodb_log_group_home_dir, IFNULL(@@log_bin_basename, '')"));
    const auto &told = rows.at(0);
    const bool binary_log = told.at(2) == "1" && !told.at(6).empty();
    const bool by_itself = told.at(0) == "1" && (!binary_log || told.at(1) == "1");
    if (words.get("socket").empty()) {
        return by_itself ? result<>()
                         : refusal("MariaDB: over TCP only the server can sync its logs: set "
                                   "innodb_flush_log_at_trx_commit = 1 and sync_binlog = 1, or "
                                   "connect by its socket");
    }
    if (told.at(0) == "0") {
        FS_CHECK(session_->query(t, fmt::format("DO SLEEP({} + 1)", told.at(3))));
    }
    if (by_itself) {
        return {};
    }
    const std::string &data = told.at(4);
    FS_CHECK(sync_files_in(data));
    FS_CHECK(sync_files_in(full_path(data, told.at(5))));
    if (binary_log) {
        FS_CHECK(sync_files_in(std::filesystem::path(told.at(6)).parent_path()));
    }
    return {};
}

result<facts> mariadb_freezer::ask_facts(const tether &t, const connect_words &words) {
    facts known;
    known.add("version", session_->server_version());
    known.add("method", stages_ ? "BACKUP STAGE BLOCK_COMMIT" : "FLUSH TABLES WITH READ LOCK");
    const auto position = session_->query(t, "SHOW MASTER STATUS");
    if (!position) {
        known.add("binlog", "not told: " + position.error().text());
    } else if (position->empty()) {
        known.add("binlog", "off");
    } else {
        known.add("binlog", position->front().at(0) + ":" + position->front().at(1));
    }
    auto gtid = session_->query(t, "SELECT @@GLOBAL.gtid_current_pos");
    if (!gtid) {
        gtid = session_->query(t, "SELECT @@GLOBAL.gtid_executed");
    }
    if (gtid && !gtid->empty() && !gtid->front().at(0).empty()) {
        known.add("gtid", gtid->front().at(0));
    }
    known.add("files", asked_.outside                ? "not checked: outside = true"
                       : words.get("socket").empty() ? "not checked: the server is reached by TCP"
                                                     : "on the group's volumes");
    return known;
}

result<facts> mariadb_freezer::freeze(tether &t) {
    FS_TRY(words, mariadb_session::words_of(asked_.where));
    if (const std::string how = words.get("freeze"); !how.empty() && how != "read-lock") {
        return refusal("connect: \"freeze\" can only be \"read-lock\"");
    }
    FS_TRY(session, mariadb_session::open(words, t));
    session_ = std::move(session);
    id_ = session_->id();
    FS_TRY(uptime, uptime_of(*session_, t));
    uptime_ = uptime;
    FS_CHECK(check_files(t, words));
    FS_CHECK(session_->query(t, "SET SESSION lock_wait_timeout = " + seconds_left(t)));
    FS_CHECK(t.arm(fmt::format("{} {}", id_, uptime_)));
    FS_CHECK(lock(t, words));
    return ask_facts(t, words);
}

result<> mariadb_freezer::prove(tether &t) {
    FS_TRY(words, mariadb_session::words_of(asked_.where));
    FS_TRY(second, mariadb_session::open(words, t));
    FS_TRY(uptime, uptime_of(second, t));
    FS_TRY(seen, second.query(t, fmt::format("SELECT COUNT(*) FROM information_schema.processlist "
                                             "WHERE id = {}",
                                             id_)));
    if (uptime < uptime_ || seen.at(0).at(0) != "1") {
        return refusal("the session that held the lock is gone");
    }
    // 0 is at once; MySQL takes it as the second that is its least.
    FS_CHECK(second.query(t, "SET SESSION lock_wait_timeout = 0"));
    const auto probe =
        second.query(t, stages_ ? "BACKUP STAGE START" : "CREATE DATABASE IF NOT EXISTS mysql");
    if (probe) {
        return refusal("another session got the lock that ours should exclude");
    }
    if (second.last_error() != lock_wait_timeout) {
        return std::unexpected(probe.error());
    }
    FS_TRY(own, session_->query(t, "SELECT CONNECTION_ID()"));
    if (own.at(0).at(0) != std::to_string(id_)) {
        return refusal("the session that held the lock is another one");
    }
    return {};
}

result<facts> mariadb_freezer::release(tether &t) {
    at_work_ = true;
    FS_CHECK(session_->query(t, stages_ ? "BACKUP STAGE END" : "UNLOCK TABLES"));
    at_work_ = false;
    session_.reset();
    return facts{};
}

result<> mariadb_freezer::let_go(tether &t) {
    session_.reset();
    return at_work_ ? end_session(t, id_, uptime_) : result<>{};
}

result<> mariadb_freezer::force_release(tether &t, const std::string &trace) {
    unsigned long id = 0;
    std::uint64_t uptime = 0;
    const char *end = trace.data() + trace.size();
    const auto [blank, wrong] = std::from_chars(trace.data(), end, id);
    if (wrong != std::errc{} || blank == end) {
        return {};
    }
    std::from_chars(blank + 1, end, uptime);
    return end_session(t, id, uptime);
}

result<> mariadb_freezer::end_session(const tether &t, unsigned long id,
                                      std::uint64_t uptime) const {
    FS_TRY(words, mariadb_session::words_of(asked_.where));
    auto session = mariadb_session::open(words, t);
    if (!session) {
        if (!words.get("socket").empty()) {
            return {}; // nobody listens on this host: the server is down, and its locks with it
        }
        return std::unexpected(session.error());
    }
    FS_TRY(now, uptime_of(*session, t));
    if (now < uptime) {
        return {}; // restarted: nothing of ours is there, and the number is another's
    }
    if (const auto ended = session->query(t, fmt::format("KILL CONNECTION {}", id));
        !ended && session->last_error() != no_such_session) {
        return std::unexpected(ended.error());
    }
    return {};
}

} // namespace farshore::hook
