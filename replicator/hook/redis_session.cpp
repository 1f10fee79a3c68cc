#include "replicator/hook/redis_session.hpp"

#include "replicator/hook/refusal.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <sys/socket.h>

namespace farshore::hook {
namespace {

constexpr int default_port = 6379;

using reply_owner = std::unique_ptr<redisReply, void (*)(void *)>;

std::unexpected<error> library_says(const redisContext *connection) {
    return refusal(
        fmt::format("Redis: {}", connection == nullptr ? "no memory" : connection->errstr));
}

std::string text_of(const redisReply *reply) {
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        return std::to_string(reply->integer);
    case REDIS_REPLY_NIL:
        return "";
    default:
        return reply->str == nullptr ? "" : std::string(reply->str, std::size_t(reply->len));
    }
}

} // namespace

void redis_session::closer::operator()(redisContext *connection) const { redisFree(connection); }

result<connect_words> redis_session::words_of(const std::string &connect) {
    return connect_words::parse(connect,
                                {"host", "port", "socket", "user", "password", "password_file"});
}

result<redis_session> redis_session::open(const connect_words &words, const tether &t) {
    FS_TRY(port, words.port(default_port));
    FS_TRY(password, words.password());
    const std::string host = words.get("host");
    const std::string socket = words.get("socket");
    if (host.empty() == socket.empty()) {
        return refusal("connect: one of \"host\" and \"socket\" is needed");
    }
    redis_session made;
    made.connection_.reset(socket.empty() ? redisConnectNonBlock(host.c_str(), port)
                                          : redisConnectUnixNonBlock(socket.c_str()));
    const redisContext *connection = made.connection_.get();
    if (connection == nullptr || connection->err != 0) {
        return refusal(fmt::format("Redis at {}: {}", socket.empty() ? host : socket,
                                   connection == nullptr ? "no memory" : connection->errstr));
    }
    if (const auto ready = t.wait(connection->fd, POLLOUT); !ready) {
        return std::unexpected(waiting_for("a session of Redis", ready.error()));
    }
    int number = 0;
    socklen_t size = sizeof number;
    ::getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &number, &size);
    if (number != 0) {
        return fail_errno(number, "Redis at " + (socket.empty() ? host : socket));
    }
    if (!password.empty()) {
        redis_session::words login{"AUTH"};
        if (const std::string user = words.get("user"); !user.empty()) {
            login.push_back(user);
        }
        login.push_back(password);
        FS_CHECK(made.command(t, login));
    }
    return made;
}

result<> redis_session::send(const tether &t, const words &command) {
    std::vector<const char *> texts;
    std::vector<std::size_t> sizes;
    for (const std::string &one : command) {
        texts.push_back(one.data());
        sizes.push_back(one.size());
    }
    redisContext *connection = connection_.get();
    if (redisAppendCommandArgv(connection, int(texts.size()), texts.data(), sizes.data()) !=
        REDIS_OK) {
        return library_says(connection);
    }
    for (int done = 0; done == 0;) {
        FS_CHECK(t.wait(connection->fd, POLLOUT));
        if (redisBufferWrite(connection, &done) != REDIS_OK) {
            return library_says(connection);
        }
    }
    return {};
}

result<redis_session::words> redis_session::command(const tether &t, const words &command) {
    FS_CHECK(send(t, command));
    auto got = reply(t);
    if (!got && !got.error().code) {
        return refusal(fmt::format("{}: {}", command.front(), got.error().context));
    }
    return got;
}

result<redis_session::words> redis_session::reply(const tether &t) {
    redisContext *connection = connection_.get();
    void *got = nullptr;
    while (redisGetReplyFromReader(connection, &got) == REDIS_OK && got == nullptr) {
        if (const auto ready = t.wait(connection->fd, POLLIN); !ready) {
            return std::unexpected(waiting_for("Redis", ready.error()));
        }
        if (redisBufferRead(connection) != REDIS_OK) {
            return library_says(connection);
        }
    }
    if (got == nullptr) {
        return library_says(connection);
    }
    const reply_owner one(static_cast<redisReply *>(got), &freeReplyObject);
    if (one->type == REDIS_REPLY_ERROR) {
        return refusal("Redis: " + text_of(one.get()));
    }
    words all;
    if (one->type != REDIS_REPLY_ARRAY) {
        all.push_back(text_of(one.get()));
        return all;
    }
    for (std::size_t i = 0; i < one->elements; ++i) {
        all.push_back(text_of(one->element[i]));
    }
    return all;
}

result<bool> redis_session::stirs(const tether &t, std::chrono::milliseconds most) {
    FS_TRY(seen, t.wait(connection_->fd, POLLIN, most));
    return seen != 0;
}

result<std::map<std::string, std::string>> redis_session::info(const tether &t,
                                                               const std::string &section) {
    FS_TRY(text, command(t, {"INFO", section}));
    return info_fields(text.at(0));
}

result<std::string> redis_session::setting(const tether &t, const std::string &name) {
    FS_TRY(found, command(t, {"CONFIG", "GET", name}));
    return found.size() == 2 ? found[1] : "";
}

std::map<std::string, std::string> info_fields(const std::string &text) {
    std::map<std::string, std::string> all;
    for (std::size_t at = 0; at < text.size();) {
        auto end = text.find_first_of("\r\n", at);
        end = end == std::string::npos ? text.size() : end;
        const std::string line = text.substr(at, end - at);
        if (const auto colon = line.find(':'); colon != std::string::npos && line[0] != '#') {
            all[line.substr(0, colon)] = line.substr(colon + 1);
        }
        at = end + 1;
    }
    return all;
}

} // namespace farshore::hook
