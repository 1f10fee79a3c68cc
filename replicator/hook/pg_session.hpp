#pragma once
// One session of PostgreSQL (libpq), without a wait of its own: all of them are the tether's.

#include "replicator/base/error.hpp"
#include "replicator/hook/tether.hpp"

#include <memory>
#include <string>
#include <vector>

struct pg_conn;

namespace farshore::hook {

class pg_session {
  public:
    using row = std::vector<std::string>; ///< NULL is empty

    /// `connect`: a connection string of libpq. Errors have the server's words.
    static result<pg_session> open(const std::string &connect, const tether &t);

    /// Rows of one statement; `parameters` are $1, $2, ...
    result<std::vector<row>> query(const tether &t, const std::string &statement,
                                   const std::vector<std::string> &parameters = {});
    /// The only row of a statement that has one.
    result<row> one_row(const tether &t, const std::string &statement,
                        const std::vector<std::string> &parameters = {});

    /// Connected by a Unix socket, so the server is on this host.
    bool local() const;
    int server_version() const; ///< 150018
    int backend() const;        ///< its process

  private:
    struct closer {
        void operator()(pg_conn *connection) const;
    };
    std::unique_ptr<pg_conn, closer> connection_;
};

} // namespace farshore::hook
