// The CLI's side of the control socket: one request, progress lines, one answer.

#include "replicator/base/limits.hpp"
#include "replicator/control/control.hpp"
#include "replicator/control/json_guard.hpp"
#include "replicator/control/unix_socket.hpp"

#include <array>
#include <cerrno>
#include <optional>

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

bool send_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

/// Lines of a blocking socket; nothing at the end of the stream or beyond the bound.
class line_reader {
  public:
    explicit line_reader(int fd) : fd_(fd) {}

    std::optional<std::string> next() {
        for (;;) {
            if (const auto end = text_.find('\n', searched_); end != std::string::npos) {
                std::string line = text_.substr(0, end);
                text_.erase(0, end + 1);
                searched_ = 0;
                return line;
            }
            searched_ = text_.size();
            std::array<char, 64 * 1024> piece{};
            const ssize_t n = ::recv(fd_, piece.data(), piece.size(), 0);
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n <= 0 || text_.size() > answer_bytes_max) {
                return std::nullopt;
            }
            text_.append(piece.data(), static_cast<std::size_t>(n));
        }
    }

  private:
    int fd_;
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
             const std::function<void(const json &)> &on_progress) {
    auto fd = connect_to(socket_path);
    if (!fd) {
        return std::unexpected(unreachable(fd.error()));
    }
    const json request{{"command", command}, {"arguments", arguments}};
    if (!send_all(fd->get(), to_line(request) + "\n")) {
        return std::unexpected(broken("the daemon closed the connection at " + socket_path));
    }
    line_reader lines(fd->get());
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
        if (document->contains("progress") && on_progress) {
            on_progress((*document)["progress"]);
        }
    }
    return std::unexpected(broken("the daemon ended before it answered: " + socket_path));
}

} // namespace farshore::control
