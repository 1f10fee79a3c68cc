#pragma once
// Hook type `sqlite`: a checkpoint that empties the write-ahead log, if there is one, and BEGIN
// IMMEDIATE, which keeps all other writers out; then database, log and directory are synced. The
// write-ahead log is not empty in the point when readers were at it or a writer came in between:
// that is correct, and a fact says so.
//
// Proof: a second connection is refused the same lock, the kernel tells another process that the
// lock is this process's, and the file is still the one of its name.

#include "replicator/base/unique_fd.hpp"
#include "replicator/hook/freezer.hpp"

#include <memory>

struct sqlite3;

namespace farshore::hook {

class sqlite_freezer final : public freezer {
  public:
    explicit sqlite_freezer(const request &asked) : asked_(asked) {}
    result<facts> freeze(tether &t) override;
    result<> prove(tether &t) override;
    result<facts> release(tether &t) override;
    result<> let_go(tether &t) override;
    result<> force_release(tether &t, const std::string &trace) override;

  private:
    struct closer {
        void operator()(sqlite3 *connection) const;
    };
    using connection = std::unique_ptr<sqlite3, closer>;
    result<connection> open() const;
    result<> run(sqlite3 *on, const std::string &statement) const;
    result<std::string> ask(const std::string &statement) const;
    result<> open_files();
    result<> sync() const;

    const request &asked_;
    std::string path_; ///< without links
    /// A process that closes any descriptor of a file loses its locks on it: this one is opened
    /// before SQLite's, and closed after (in the order of these fields).
    unique_fd file_;
    connection connection_;
    bool log_ = false; ///< a write-ahead log
};

} // namespace farshore::hook
