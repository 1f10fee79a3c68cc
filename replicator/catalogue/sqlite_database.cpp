#include "replicator/catalogue/sqlite_database.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <map>
#include <sqlite3.h>

namespace farshore {
namespace {

/// A database of some thousand points is below it; pages beyond are read again.
constexpr const char *set_up = "PRAGMA locking_mode = EXCLUSIVE;"
                               "PRAGMA journal_mode = WAL;"
                               "PRAGMA synchronous = NORMAL;"
                               "PRAGMA temp_store = MEMORY;"
                               "PRAGMA cache_size = -256;"
                               "PRAGMA wal_autocheckpoint = 64;";

} // namespace

struct sqlite_database::statements {
    std::map<const char *, sqlite3_stmt *> by_text;
    ~statements() {
        for (const auto &[text, statement] : by_text) {
            sqlite3_finalize(statement);
        }
    }
};

sqlite_run::~sqlite_run() {
    if (statement_ != nullptr) {
        sqlite3_reset(statement_);
        sqlite3_clear_bindings(statement_);
    }
}

sqlite_run &sqlite_run::number(std::int64_t value) {
    sqlite3_bind_int64(statement_, ++bound_, value);
    return *this;
}

sqlite_run &sqlite_run::text(std::string_view value) {
    sqlite3_bind_text(statement_, ++bound_, value.data(), static_cast<int>(value.size()),
                      SQLITE_TRANSIENT);
    return *this;
}

result<bool> sqlite_run::step() {
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW || code == SQLITE_DONE) {
        return code == SQLITE_ROW;
    }
    return database_->failure(code, sqlite3_sql(statement_));
}

result<> sqlite_run::run() {
    FS_TRY(row, step());
    static_cast<void>(row);
    return {};
}

std::int64_t sqlite_run::number_at(int column) const {
    return sqlite3_column_int64(statement_, column);
}

std::string sqlite_run::text_at(int column) const {
    const auto *text = reinterpret_cast<const char *>(sqlite3_column_text(statement_, column));
    const auto bytes = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
    return text == nullptr ? "" : std::string(text, bytes);
}

sqlite_database::sqlite_database(sqlite_files &files, std::string path)
    : files_(files), path_(std::move(path)), compiled_(std::make_unique<statements>()) {}

sqlite_database::~sqlite_database() {
    compiled_.reset();
    sqlite3_close(handle_);
}

result<std::unique_ptr<sqlite_database>> sqlite_database::open(sqlite_files &files,
                                                               const std::string &path) {
    std::unique_ptr<sqlite_database> database(new sqlite_database(files, path));
    constexpr int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    const int code = sqlite3_open_v2(path.c_str(), &database->handle_, flags, files.name().c_str());
    if (code != SQLITE_OK) {
        return database->failure(code, "open");
    }
    // What closes it may be a thread that must not wait for a disk.
    sqlite3_db_config(database->handle_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    FS_CHECK(database->execute(set_up));
    FS_TRY(check, database->prepare("PRAGMA quick_check(1)"));
    FS_TRY(row, check.step());
    if (!row || check.text_at(0) != "ok") {
        return fail(errc::corrupt, fmt::format("{}: {}", path, check.text_at(0)));
    }
    if (sqlite3_db_readonly(database->handle_, "main") != 0) { // the header says so
        return fail(errc::corrupt, path + ": of a format that can only be read");
    }
    return database;
}

result<> sqlite_database::execute(const char *sql) {
    const int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
    return code == SQLITE_OK ? result<>() : failure(code, sql);
}

result<std::int64_t> sqlite_database::number(const char *sql) {
    FS_TRY(asked, prepare(sql));
    FS_TRY(row, asked.step());
    return row ? asked.number_at(0) : 0;
}

result<sqlite_run> sqlite_database::prepare(const char *sql) {
    sqlite3_stmt *&statement = compiled_->by_text[sql];
    if (statement == nullptr) {
        const int code =
            sqlite3_prepare_v3(handle_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
        if (code != SQLITE_OK) {
            return failure(code, sql);
        }
    }
    return sqlite_run(*this, statement);
}

std::unexpected<error> sqlite_database::failure(int code, const char *what) {
    const int kind = code & 0xff;
    const std::string said = handle_ != nullptr ? sqlite3_errmsg(handle_) : sqlite3_errstr(code);
    const auto disk = files_.take_error();
    if (disk) {
        return std::unexpected(*disk);
    }
    if (kind == SQLITE_FULL) {
        return fail_errno(ENOSPC, path_);
    }
    if (kind == SQLITE_NOMEM) {
        return fail(errc::dead, fmt::format("{}: {} ({})", path_, said, what));
    }
    // The disk did what it was asked, and the texts are ours: what is left is the file's content. A
    // spoilt header has many codes (a format of the future, a file that is read-only by its word).
    return fail(errc::corrupt, fmt::format("{}: {} ({})", path_, said, what));
}

} // namespace farshore
