#include "replicator/hook/sqlite.hpp"

#include "replicator/hook/file_sync.hpp"
#include "replicator/hook/group_files.hpp"
#include "replicator/hook/lock_holder.hpp"
#include "replicator/hook/refusal.hpp"

#include <climits>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <sqlite3.h>
#include <sys/stat.h>

namespace farshore::hook {
namespace {

/// For the checkpoint, which keeps writers out while it waits for readers.
constexpr std::chrono::milliseconds checkpoint_patience{500};
constexpr std::chrono::milliseconds between_tries{5};

// Where SQLite locks (its pages "Database File Format" and "WAL-mode File Format"): the reserved
// byte of the database, the write lock of the index of the log.
constexpr off_t reserved_byte = 0x40000001;
constexpr off_t log_write_byte = 120;

struct patience {
    const tether *tied;
    tether::clock::time_point end;
};

/// SQLite asks whether to try again for a lock that another one has.
int try_again(void *of, int) {
    const auto *p = static_cast<const patience *>(of);
    return tether::clock::now() < p->end && p->tied->sleep(between_tries).has_value() ? 1 : 0;
}

std::unexpected<error> sqlite_says(sqlite3 *of, const std::string &path) {
    return refusal(
        fmt::format("SQLite: {}: {}", path, of == nullptr ? "no memory" : sqlite3_errmsg(of)));
}

} // namespace

void sqlite_freezer::closer::operator()(sqlite3 *one) const { sqlite3_close_v2(one); }

result<sqlite_freezer::connection> sqlite_freezer::open() const {
    sqlite3 *made = nullptr;
    const int code = sqlite3_open_v2(path_.c_str(), &made,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, nullptr);
    connection owner(made);
    if (code != SQLITE_OK) {
        return sqlite_says(made, path_);
    }
    // The application's log is its own to empty.
    sqlite3_db_config(made, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    return owner;
}

result<> sqlite_freezer::run(sqlite3 *on, const std::string &statement) const {
    if (sqlite3_exec(on, statement.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
        return sqlite_says(on, path_);
    }
    return {};
}

result<std::string> sqlite_freezer::ask(const std::string &statement) const {
    std::string text;
    const auto take = [](void *into, int count, char **values, char **) {
        if (count > 0 && values[0] != nullptr) {
            *static_cast<std::string *>(into) = values[0];
        }
        return 0;
    };
    if (sqlite3_exec(connection_.get(), statement.c_str(), take, &text, nullptr) != SQLITE_OK) {
        return sqlite_says(connection_.get(), path_);
    }
    return text;
}

result<> sqlite_freezer::open_files() {
    std::error_code wrong;
    path_ = std::filesystem::canonical(asked_.where, wrong);
    if (wrong) {
        return fail(wrong, asked_.where);
    }
    if (!asked_.outside) {
        FS_TRY(files, group_files::look(asked_));
        FS_CHECK(files.check("SQLite: the database", path_));
    }
    file_ = unique_fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file_) {
        return fail_errno(errno, path_);
    }
    FS_TRY(opened, open());
    connection_ = std::move(opened);
    return {};
}

result<> sqlite_freezer::sync() const {
    if (::fsync(file_.get()) != 0) {
        return fail_errno(errno, "fsync of " + path_);
    }
    if (log_) {
        if (const auto done = sync_path(path_ + "-wal"); !done && !is_errno(done.error(), ENOENT)) {
            return done;
        }
    }
    return sync_path(std::filesystem::path(path_).parent_path());
}

result<facts> sqlite_freezer::freeze(tether &t) {
    FS_CHECK(open_files());
    sqlite3 *on = connection_.get();
    patience waits{&t, tether::clock::now() + checkpoint_patience};
    sqlite3_busy_handler(on, try_again, &waits);
    FS_TRY(mode, ask("PRAGMA journal_mode"));
    log_ = mode == "wal";
    FS_CHECK(t.arm(path_));
    if (log_) {
        // Busy: readers keep it from the end. The log stays then, and is good.
        const int code =
            sqlite3_wal_checkpoint_v2(on, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
        if (code != SQLITE_OK && code != SQLITE_BUSY && code != SQLITE_LOCKED) {
            return sqlite_says(on, path_);
        }
    }
    waits.end = tether::clock::time_point::max();
    const auto begun = run(on, "BEGIN IMMEDIATE");
    sqlite3_busy_handler(on, nullptr, nullptr);
    FS_CHECK(t.check());
    FS_CHECK(begun);
    FS_CHECK(sync());
    facts known;
    known.add("library", sqlite3_libversion());
    known.add("journal_mode", mode);
    if (log_) {
        std::error_code none;
        const auto bytes = std::filesystem::file_size(path_ + "-wal", none);
        known.add("wal_bytes", std::to_string(none ? 0 : bytes));
    }
    known.add("files", asked_.outside ? "not checked: outside = true" : "on the group's volumes");
    return known;
}

result<> sqlite_freezer::prove(tether &t) {
    FS_CHECK(t.check());
    struct stat named{};
    struct stat held{};
    if (::stat(path_.c_str(), &named) != 0 || ::fstat(file_.get(), &held) != 0 ||
        named.st_ino != held.st_ino || named.st_dev != held.st_dev) {
        return refusal(path_ + " was replaced by another file");
    }
    FS_TRY(second, open());
    const int code = sqlite3_exec(second.get(), "BEGIN IMMEDIATE", nullptr, nullptr, nullptr);
    if ((code & 0xFF) != SQLITE_BUSY) {
        return refusal(path_ + ": another connection could begin to write");
    }
    FS_TRY(holder,
           log_ ? lock_holder(path_ + "-shm", log_write_byte) : lock_holder(path_, reserved_byte));
    if (holder != ::getpid()) {
        return refusal(path_ + ": the lock against writers is no longer ours");
    }
    return {};
}

result<facts> sqlite_freezer::release(tether &) {
    FS_CHECK(run(connection_.get(), "ROLLBACK"));
    connection_.reset();
    return facts{};
}

result<> sqlite_freezer::let_go(tether &) {
    connection_.reset();
    return {};
}

/// Locks end with their process.
result<> sqlite_freezer::force_release(tether &, const std::string &) { return {}; }

} // namespace farshore::hook
