#include "replicator/hook/mariadb_session.hpp"

#include "replicator/hook/refusal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <mariadb/mysql.h>
#include <poll.h>

namespace farshore::hook {
namespace {

std::unexpected<error> mariadb_says(MYSQL *connection) {
    return refusal(fmt::format("MariaDB: {}", mysql_error(connection)));
}

/// Carries a call of the library that was begun on: waits for what it names, goes on with `more`.
template <class Continue>
result<> drive(MYSQL *connection, const tether &t, int wants, Continue more) {
    while (wants != 0) {
        short events = 0;
        events |= (wants & MYSQL_WAIT_READ) != 0 ? POLLIN : 0;
        events |= (wants & MYSQL_WAIT_WRITE) != 0 ? POLLOUT : 0;
        events |= (wants & MYSQL_WAIT_EXCEPT) != 0 ? POLLPRI : 0;
        const auto most = (wants & MYSQL_WAIT_TIMEOUT) != 0
                              ? std::chrono::milliseconds(mysql_get_timeout_value_ms(connection))
                              : std::chrono::ceil<std::chrono::milliseconds>(std::chrono::hours(1));
        const auto seen = t.wait(static_cast<int>(mysql_get_socket(connection)), events, most);
        if (!seen) {
            return std::unexpected(waiting_for("MariaDB", seen.error()));
        }
        int ready = *seen == 0 ? MYSQL_WAIT_TIMEOUT : 0;
        ready |= (*seen & (POLLIN | POLLHUP | POLLERR)) != 0 ? wants & MYSQL_WAIT_READ : 0;
        ready |= (*seen & (POLLOUT | POLLERR)) != 0 ? wants & MYSQL_WAIT_WRITE : 0;
        ready |= (*seen & POLLPRI) != 0 ? wants & MYSQL_WAIT_EXCEPT : 0;
        wants = more(ready);
    }
    return {};
}

const char *or_null(const std::string &text) { return text.empty() ? nullptr : text.c_str(); }

} // namespace

void mariadb_session::closer::operator()(st_mysql *connection) const { mysql_close(connection); }

result<connect_words> mariadb_session::words_of(const std::string &connect) {
    return connect_words::parse(connect, {"host", "port", "socket", "user", "password",
                                          "password_file", "tls", "tls_ca", "freeze"});
}

result<mariadb_session> mariadb_session::open(const connect_words &words, const tether &t) {
    FS_TRY(port, words.port(3306));
    FS_TRY(password, words.password());
    const std::string host = words.get("host");
    const std::string socket = words.get("socket");
    const std::string user = words.get("user");
    const std::string tls = words.get("tls");
    if (host.empty() == socket.empty()) {
        return refusal("connect: one of \"host\" and \"socket\" is needed");
    }
    if (!tls.empty() && tls != "verify") {
        return refusal("connect: \"tls\" can only be \"verify\"");
    }
    mariadb_session made;
    made.connection_.reset(mysql_init(nullptr));
    MYSQL *connection = made.connection_.get();
    if (connection == nullptr) {
        return refusal("MariaDB: no memory");
    }
    mysql_options(connection, MYSQL_OPT_NONBLOCK, nullptr);
    my_bool no = 0;
    mysql_options(connection, MYSQL_OPT_RECONNECT, &no); // another session holds nothing
    mysql_options(connection, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    mysql_optionsv(connection, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "farshore-hook");
    if (!tls.empty()) {
        my_bool yes = 1;
        const std::string authority = words.get("tls_ca");
        mysql_ssl_set(connection, nullptr, nullptr, or_null(authority), nullptr, nullptr);
        mysql_options(connection, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
    }
    MYSQL *done = nullptr;
    const int wants =
        mysql_real_connect_start(&done, connection, or_null(host), or_null(user), password.c_str(),
                                 nullptr, unsigned(port), or_null(socket), 0);
    FS_CHECK(drive(connection, t, wants,
                   [&](int ready) { return mysql_real_connect_cont(&done, connection, ready); }));
    if (done == nullptr) {
        return mariadb_says(connection);
    }
    return made;
}

result<std::vector<mariadb_session::row>> mariadb_session::query(const tether &t,
                                                                 const std::string &statement) {
    MYSQL *connection = connection_.get();
    int wrong = 0;
    const int wants =
        mysql_real_query_start(&wrong, connection, statement.data(), statement.size());
    FS_CHECK(drive(connection, t, wants,
                   [&](int ready) { return mysql_real_query_cont(&wrong, connection, ready); }));
    if (wrong != 0) {
        return mariadb_says(connection);
    }
    std::vector<row> all;
    if (mysql_field_count(connection) == 0) {
        return all;
    }
    MYSQL_RES *got = nullptr;
    const int more = mysql_store_result_start(&got, connection);
    FS_CHECK(drive(connection, t, more,
                   [&](int ready) { return mysql_store_result_cont(&got, connection, ready); }));
    const std::unique_ptr<MYSQL_RES, decltype(&mysql_free_result)> owner(got, &mysql_free_result);
    if (!owner) {
        return mariadb_says(connection);
    }
    while (MYSQL_ROW one = mysql_fetch_row(got)) {
        auto &into = all.emplace_back();
        for (unsigned i = 0; i < mysql_num_fields(got); ++i) {
            into.emplace_back(one[i] == nullptr ? "" : one[i]);
        }
    }
    return all;
}

unsigned mariadb_session::last_error() const { return mysql_errno(connection_.get()); }
unsigned long mariadb_session::id() const { return mysql_thread_id(connection_.get()); }
std::string mariadb_session::server_version() const {
    return mysql_get_server_info(connection_.get());
}

} // namespace farshore::hook
