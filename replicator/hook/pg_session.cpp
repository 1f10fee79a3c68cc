#include "replicator/hook/pg_session.hpp"

#include "replicator/hook/refusal.hpp"

#include <array>
#include <poll.h>
#include <postgresql/libpq-fe.h>
#include <string_view>

namespace farshore::hook {
namespace {

using result_owner = std::unique_ptr<PGresult, decltype(&PQclear)>;

std::unexpected<error> server_says(PGconn *connection) {
    std::string text = PQerrorMessage(connection);
    while (text.ends_with('\n')) {
        text.pop_back();
    }
    return refusal(text.empty() ? "PostgreSQL: no memory" : "PostgreSQL: " + text);
}

void drop_notice(void *, const PGresult *) {}

/// Until what was asked is sent and its next result is whole.
result<> await_result(PGconn *connection, const tether &t) {
    for (bool sent = false; !sent || PQisBusy(connection) != 0;) {
        const int left = PQflush(connection);
        if (left < 0) {
            return server_says(connection);
        }
        sent = left == 0;
        if (sent && PQisBusy(connection) == 0) {
            break;
        }
        FS_CHECK(t.wait(PQsocket(connection), sent ? POLLIN : POLLIN | POLLOUT));
        if (PQconsumeInput(connection) == 0) {
            return server_says(connection);
        }
    }
    return {};
}

std::vector<pg_session::row> rows_of(const PGresult *got) {
    std::vector<pg_session::row> all;
    for (int i = 0; i < PQntuples(got); ++i) {
        auto &one = all.emplace_back();
        for (int column = 0; column < PQnfields(got); ++column) {
            one.emplace_back(PQgetvalue(got, i, column));
        }
    }
    return all;
}

} // namespace

void pg_session::closer::operator()(pg_conn *connection) const { PQfinish(connection); }

result<pg_session> pg_session::open(const std::string &connect, const tether &t) {
    // dbname is expanded as a connection string; what it does not say is from the others.
    const std::array<const char *, 3> keys{"fallback_application_name", "dbname", nullptr};
    const std::array<const char *, 3> values{"farshore-hook", connect.c_str(), nullptr};
    pg_session made;
    made.connection_.reset(PQconnectStartParams(keys.data(), values.data(), 1));
    PGconn *connection = made.connection_.get();
    if (connection == nullptr || PQstatus(connection) == CONNECTION_BAD) {
        return server_says(connection);
    }
    PQsetNoticeReceiver(connection, drop_notice, nullptr);
    auto next = PGRES_POLLING_WRITING;
    while (next != PGRES_POLLING_OK) {
        if (next == PGRES_POLLING_FAILED) {
            return server_says(connection);
        }
        const auto ready =
            t.wait(PQsocket(connection), next == PGRES_POLLING_READING ? POLLIN : POLLOUT);
        if (!ready) {
            return std::unexpected(waiting_for("a session of PostgreSQL", ready.error()));
        }
        next = PQconnectPoll(connection);
    }
    if (PQsetnonblocking(connection, 1) != 0) {
        return server_says(connection);
    }
    return made;
}

result<std::vector<pg_session::row>> pg_session::query(const tether &t,
                                                       const std::string &statement,
                                                       const std::vector<std::string> &parameters) {
    PGconn *connection = connection_.get();
    std::vector<const char *> values;
    for (const std::string &one : parameters) {
        values.push_back(one.c_str());
    }
    if (PQsendQueryParams(connection, statement.c_str(), int(values.size()), nullptr, values.data(),
                          nullptr, nullptr, 0) == 0) {
        return server_says(connection);
    }
    std::vector<row> all;
    for (;;) {
        if (const auto done = await_result(connection, t); !done) {
            return std::unexpected(waiting_for("PostgreSQL", done.error()));
        }
        const result_owner got(PQgetResult(connection), &PQclear);
        if (!got) {
            return all;
        }
        if (PQresultStatus(got.get()) != PGRES_TUPLES_OK &&
            PQresultStatus(got.get()) != PGRES_COMMAND_OK) {
            return server_says(connection);
        }
        all = rows_of(got.get());
    }
}

result<pg_session::row> pg_session::one_row(const tether &t, const std::string &statement,
                                            const std::vector<std::string> &parameters) {
    FS_TRY(rows, query(t, statement, parameters));
    if (rows.size() != 1) {
        return refusal("PostgreSQL answered with another number of rows than one");
    }
    return std::move(rows.front());
}

bool pg_session::local() const {
    const char *host = PQhost(connection_.get());
    return host != nullptr && (host[0] == '/' || host[0] == '@');
}

int pg_session::server_version() const { return PQserverVersion(connection_.get()); }
int pg_session::backend() const { return PQbackendPID(connection_.get()); }

} // namespace farshore::hook
