#pragma once
// SQLite's files by way of file_system: what the catalogue stores is on the same simulated or real
// disk as everything else of the group, with the same failures.
//
// Locks are none of SQLite's: the group's state file is locked by who opens the catalogue, and each
// database is opened in exclusive mode (which also does without shared memory for the WAL).
//
// Source: sqlite.org/vfs.html, "The OS Backend"; what a name's durability needs is our own: a file
// that was made here syncs its directory with its first sync.
//
// Threads: those of one database at a time.

#include "replicator/base/error.hpp"
#include "replicator/storage/file_system.hpp"

#include <memory>
#include <optional>
#include <string>

struct sqlite3_vfs;

namespace farshore {

/// Registers itself with SQLite under a name of its own for its life; outlives the databases that
/// are opened through it.
class sqlite_files {
  public:
    explicit sqlite_files(file_system &files);
    ~sqlite_files();
    sqlite_files(const sqlite_files &) = delete;
    sqlite_files &operator=(const sqlite_files &) = delete;

    const std::string &name() const { return name_; }
    file_system &files() { return files_; }
    /// Of the last call that failed, since SQLite's codes say little; taken: forgotten.
    std::optional<error> take_error() { return std::exchange(error_, std::nullopt); }
    /// For its files: notes the error, returns the code.
    int failed(const error &e, int code);

  private:
    file_system &files_;
    std::string name_;
    std::unique_ptr<sqlite3_vfs> vfs_;
    std::optional<error> error_;
};

} // namespace farshore
