#include "replicator/hook/channel.hpp"

#include "replicator/control/json_guard.hpp"
#include "replicator/hook/hook_limits.hpp"

#include <array>
#include <cerrno>
#include <sys/socket.h>

namespace farshore::hook {
namespace {

using nlohmann::json;

/// Facts, each with its bounds, and a message fit four lines of the protocol.
constexpr std::size_t word_bytes_max = 4 * limits::line_bytes_max;

bool send_text(int channel, std::string_view text) {
    for (;;) {
        const ssize_t sent = ::send(channel, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            return true;
        }
        if (errno != EINTR) {
            return false;
        }
    }
}

result<std::optional<std::string>> next_text(int channel) {
    std::string text(word_bytes_max, '\0');
    for (;;) {
        const ssize_t got = ::recv(channel, text.data(), text.size(), MSG_DONTWAIT);
        if (got > 0) {
            text.resize(static_cast<std::size_t>(got));
            return text;
        }
        // ECONNRESET: the other end closed with a word of ours unread. It is told once, and before
        // the other's last word.
        if (got < 0 && (errno == EINTR || errno == ECONNRESET)) {
            continue;
        }
        if (got < 0 && errno == EAGAIN) {
            return std::nullopt;
        }
        return fail(errc::closed, "the other process");
    }
}

} // namespace

result<std::pair<unique_fd, unique_fd>> make_channel() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        return fail_errno(errno, "a socket pair");
    }
    return std::pair(unique_fd(ends[0]), unique_fd(ends[1]));
}

bool send_word(int channel, const worker_word &word) {
    json known = json::array();
    for (const auto &[key, value] : word.known.all()) {
        known.push_back({key, value});
    }
    return send_text(channel, control::to_line({{"what", static_cast<int>(word.what)},
                                                {"text", word.text},
                                                {"freeze", word.freeze.count()},
                                                {"proved", word.proved},
                                                {"facts", std::move(known)}}));
}

bool send_word(int channel, guard_says word) {
    return send_text(channel, word == guard_says::release ? "release" : "let_go");
}

result<std::optional<worker_word>> next_worker_word(int channel) {
    FS_TRY(text, next_text(channel));
    if (!text) {
        return std::nullopt;
    }
    FS_TRY(document, control::parse_json(*text));
    // The other end is this program: what has another form was never sent by it.
    try {
        worker_word word;
        const int what = document.at("what").get<int>();
        if (what < 0 || what > static_cast<int>(worker_says::stuck)) {
            return fail(errc::corrupt, "a message of the worker");
        }
        word.what = static_cast<worker_says>(what);
        word.text = document.at("text").get<std::string>();
        word.freeze = std::chrono::milliseconds(document.at("freeze").get<std::int64_t>());
        word.proved = document.at("proved").get<bool>();
        for (const json &pair : document.at("facts")) {
            word.known.add(pair.at(0).get<std::string>(), pair.at(1).get<std::string>());
        }
        return word;
    } catch (const json::exception &) {
        return fail(errc::corrupt, "a message of the worker");
    }
}

result<std::optional<guard_says>> next_guard_word(int channel) {
    FS_TRY(text, next_text(channel));
    if (!text) {
        return std::nullopt;
    }
    return *text == "release" ? guard_says::release : guard_says::let_go;
}

} // namespace farshore::hook
