// The CLI's side of the control socket: one request, progress lines, one answer.

#include "replicator/base/limits.hpp"
#include "replicator/control/control.hpp"
#include "replicator/control/json_guard.hpp"
#include "replicator/control/unix_socket.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <poll.h>

namespace farshore::control {
namespace {

/// An answer may be far longer than a request (a list of points), but not endless.
constexpr std::size_t answer_bytes_max = 64 * limits::MiB;

failure broken(std::string message) { return {"failed", std::move(message), 1}; }

failure unreachable(const error &e) {
    if (is(e, errc::invalid)) {
        return {"usage", e.context, 2};
    }
    if (is_errno(e, EACCES) || is_errno(e, EPERM)) {
        return {"no_daemon", e.text() + " (are you root, or the daemon's user?)", 1};
    }
    return {"no_daemon", "no daemon answers on " + e.text(), 1};
}

using steady = std::chrono::steady_clock;

/// The moments at which a call gives up.
class patience {
  public:
    explicit patience(const call_limits &limits)
        : limits_(limits), began_(steady::now()), heard_(began_) {}

    void heard() { heard_ = steady::now(); }
    /// What is left for connecting, sending, or the next piece of an answer.
    duration left() const {
        const duration silence = limits_.silence - (steady::now() - heard_);
        return limits_.total
                   ? std::min<duration>(silence, *limits_.total - (steady::now() - began_))
                   : silence;
    }
    /// Waits until the socket is ready; false when the patience ended first.
    bool wait(int fd, short events) const {
        for (;;) {
            const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left()).count();
            if (ms <= 0) {
                return false;
            }
            pollfd ready{fd, events, 0};
            const int n = ::poll(&ready, 1, static_cast<int>(std::min<std::int64_t>(ms, 1000)));
            if (n > 0 || (n < 0 && errno != EINTR)) {
                return true; // an error shows in the next call
            }
        }
    }
    failure timed_out(const std::string &socket_path) const {
        const bool whole = limits_.total && steady::now() - began_ >= *limits_.total;
        const double seconds = seconds_of(whole ? *limits_.total : limits_.silence);
        return {"timed_out",
                fmt::format("the daemon at {} does not answer within {:g} s; is it stopped, or "
                            "does its disk hang? "
                            "Look at its log and at `systemctl status`",
                            socket_path, seconds),
                15};
    }

  private:
    call_limits limits_;
    steady::time_point began_;
    steady::time_point heard_;
};

enum class sent : unsigned char { all, closed, too_late };

sent send_all(int fd, std::string_view text, const patience &left) {
    while (!text.empty()) {
        if (!left.wait(fd, POLLOUT)) {
            return sent::too_late;
        }
        const ssize_t n = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (n <= 0) {
            return sent::closed;
        }
        text.remove_prefix(static_cast<std::size_t>(n));
    }
    return sent::all;
}

/// Lines of a socket; nothing at the end of the stream, beyond the bound, or when it took too long.
class line_reader {
  public:
    line_reader(int fd, patience &left) : fd_(fd), left_(left) {}

    bool late() const { return late_; }
    std::optional<std::string> next() {
        for (;;) {
            if (const auto end = text_.find('\n', searched_); end != std::string::npos) {
                std::string line = text_.substr(0, end);
                text_.erase(0, end + 1);
                searched_ = 0;
                return line;
            }
            searched_ = text_.size();
            if (!left_.wait(fd_, POLLIN)) {
                late_ = true;
                return std::nullopt;
            }
            std::array<char, 64 * 1024> piece{};
            const ssize_t n = ::recv(fd_, piece.data(), piece.size(), MSG_DONTWAIT);
            if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
                continue;
            }
            left_.heard();
            if (n <= 0 || text_.size() > answer_bytes_max) {
                return std::nullopt;
            }
            text_.append(piece.data(), static_cast<std::size_t>(n));
        }
    }

  private:
    int fd_;
    patience &left_;
    bool late_ = false;
    std::string text_;
    std::size_t searched_ = 0;
};

std::string text_of(const json &object, const char *key, std::string otherwise) {
    const auto it = object.find(key);
    return it != object.end() && it->is_string() ? it->get<std::string>() : otherwise;
}

failure failure_of(const json &document) {
    const json &e = document["error"];
    failure f{"failed", "the daemon refused without a reason", 1};
    if (e.is_object()) {
        f.code = text_of(e, "code", f.code);
        f.message = text_of(e, "message", f.message);
    }
    if (const auto it = document.find("exit"); it != document.end() && it->is_number_integer()) {
        f.exit = it->get<int>();
    }
    return f;
}

} // namespace

outcome call(const std::string &socket_path, const std::string &command, const json &arguments,
             const std::function<void(const json &)> &on_progress, const call_limits &limits) {
    const auto all = [&](const json &document) {
        if (on_progress) {
            on_progress(document);
        }
        return call_goes_on::yes;
    };
    return call_while(socket_path, command, arguments, all, limits);
}

outcome call_while(const std::string &socket_path, const std::string &command,
                   const json &arguments,
                   const std::function<call_goes_on(const json &)> &on_progress,
                   const call_limits &limits) {
    patience left(limits);
    auto fd = connect_to(socket_path, left.left());
    if (!fd && is(fd.error(), errc::timeout)) {
        return std::unexpected(left.timed_out(socket_path));
    }
    if (!fd) {
        return std::unexpected(unreachable(fd.error()));
    }
    const json request{{"command", command}, {"arguments", arguments}};
    const sent gone = send_all(fd->get(), to_line(request) + "\n", left);
    if (gone == sent::too_late) {
        return std::unexpected(left.timed_out(socket_path));
    }
    if (gone == sent::closed) {
        return std::unexpected(broken("the daemon closed the connection at " + socket_path));
    }
    line_reader lines(fd->get(), left);
    while (auto line = lines.next()) {
        auto document = parse_json(*line);
        if (!document || !document->is_object()) {
            return std::unexpected(broken("the daemon's answer can't be read: " + socket_path));
        }
        if (document->contains("result")) {
            return std::move((*document)["result"]);
        }
        if (document->contains("error")) {
            return std::unexpected(failure_of(*document));
        }
        if (document->contains("progress") && !(*document)["progress"].empty() &&
            on_progress((*document)["progress"]) == call_goes_on::no) {
            return nullptr;
        }
    }
    if (lines.late()) {
        return std::unexpected(left.timed_out(socket_path));
    }
    return std::unexpected(broken("the daemon ended before it answered: " + socket_path));
}

} // namespace farshore::control
