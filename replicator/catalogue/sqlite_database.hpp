#pragma once
// A SQLite database and its prepared statements, as values of ours.
//
// Errors: what the disk said, where it said something; no space is the disk's ENOSPC; all else is a
// database that can't be read: errc::corrupt.
//
// Threads: one at a time; the owner locks.

#include "replicator/base/error.hpp"
#include "replicator/catalogue/sqlite_files.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

struct sqlite3;
struct sqlite3_stmt;

namespace farshore {

class sqlite_database;

/// One run of one SQL text: bind, then step. At the end of its life it is ready for the next.
class sqlite_run {
  public:
    sqlite_run(sqlite_database &database, sqlite3_stmt *statement)
        : database_(&database), statement_(statement) {}
    ~sqlite_run();
    sqlite_run(sqlite_run &&other) noexcept
        : database_(other.database_), statement_(std::exchange(other.statement_, nullptr)),
          bound_(other.bound_) {}
    sqlite_run &operator=(sqlite_run &&) = delete;

    sqlite_run &number(std::int64_t value); ///< the next parameter
    sqlite_run &text(std::string_view value);
    /// The next row is there; false: no more.
    result<bool> step();
    /// For what has no rows.
    result<> run();
    std::int64_t number_at(int column) const;
    std::string text_at(int column) const;

  private:
    sqlite_database *database_;
    sqlite3_stmt *statement_;
    int bound_ = 0;
};

class sqlite_database {
  public:
    /// Made if absent; in exclusive mode with a WAL. errc::corrupt: no database, or damaged.
    static result<std::unique_ptr<sqlite_database>> open(sqlite_files &files,
                                                         const std::string &path);
    ~sqlite_database();
    sqlite_database(const sqlite_database &) = delete;
    sqlite_database &operator=(const sqlite_database &) = delete;

    /// Statements without parameters and rows.
    result<> execute(const char *sql);
    result<std::int64_t> number(const char *sql);
    /// The text is compiled once. It must live as long as the database.
    result<sqlite_run> prepare(const char *sql);
    std::unexpected<error> failure(int code, const char *what);

  private:
    struct statements;
    sqlite_database(sqlite_files &files, std::string path);
    sqlite_files &files_;
    std::string path_;
    sqlite3 *handle_ = nullptr;
    std::unique_ptr<statements> compiled_;
};

} // namespace farshore
