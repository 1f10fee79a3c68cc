#pragma once
// One session of MariaDB or MySQL (libmariadb), without a wait of its own: all of them are the
// tether's.

#include "replicator/base/error.hpp"
#include "replicator/hook/connect_words.hpp"
#include "replicator/hook/tether.hpp"

#include <memory>
#include <string>
#include <vector>

struct st_mysql;

namespace farshore::hook {

class mariadb_session {
  public:
    using row = std::vector<std::string>; ///< NULL is empty

    /// The words of `connect` of this type.
    static result<connect_words> words_of(const std::string &connect);
    static result<mariadb_session> open(const connect_words &words, const tether &t);

    /// Rows of one statement. Errors: the server's words; last_error() has its number.
    result<std::vector<row>> query(const tether &t, const std::string &statement);
    unsigned last_error() const;
    unsigned long id() const; ///< of the connection
    std::string server_version() const;

  private:
    struct closer {
        void operator()(st_mysql *connection) const;
    };
    std::unique_ptr<st_mysql, closer> connection_;
};

} // namespace farshore::hook
