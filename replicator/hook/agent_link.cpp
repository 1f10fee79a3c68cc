#include "replicator/hook/agent_link.hpp"

#include "replicator/control/json_guard.hpp"
#include "replicator/hook/hook_limits.hpp"
#include "replicator/hook/refusal.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace farshore::hook {
namespace {

constexpr char delimiter = '\xFF'; ///< never in JSON

std::string words_of(const std::string &command) {
    return fmt::format("{{\"execute\":\"{}\"}}\n", command);
}

} // namespace

result<agent_link> agent_link::connect(const std::string &socket, const tether &t) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (socket.size() >= sizeof address.sun_path) {
        return fail(errc::limit, "the path of the socket " + socket);
    }
    std::memcpy(address.sun_path, socket.c_str(), socket.size());
    agent_link made;
    made.fd_ = unique_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    while (::connect(made.fd_.get(), reinterpret_cast<sockaddr *>(&address), sizeof address) != 0) {
        if (errno != EAGAIN && errno != EINTR) {
            return fail_errno(errno, "the guest agent's socket " + socket);
        }
        FS_CHECK(t.sleep(limits::look_every)); // its queue of clients is full
    }
    std::uint32_t number = 1;
    static_cast<void>(!::getrandom(&number, sizeof number, 0));
    made.step_ = number;
    FS_CHECK(made.send(t, fmt::format("{}{{\"execute\":\"guest-sync-delimited\",\"arguments\":"
                                      "{{\"id\":{}}}}}\n",
                                      delimiter, number)));
    return made;
}

result<agent_link> agent_link::open(const std::string &socket, const tether &t) {
    FS_TRY(made, connect(socket, t));
    FS_CHECK(made.await_step(t));
    return made;
}

result<nlohmann::json> agent_link::open_with(const std::string &socket, const tether &t,
                                             const std::string &command) {
    FS_TRY(made, connect(socket, t));
    FS_CHECK(made.send(t, words_of(command)));
    FS_CHECK(made.await_step(t));
    return made.reply(t, command);
}

result<> agent_link::await_step(const tether &t) {
    for (;;) {
        FS_TRY(text, line(t));
        if (agent_in_step(text, step_)) {
            return {};
        }
    }
}

result<nlohmann::json> agent_link::command(const tether &t, const std::string &name) {
    FS_CHECK(send(t, words_of(name)));
    return reply(t, name);
}

result<> agent_link::send(const tether &t, const std::string &text) {
    for (std::size_t done = 0; done < text.size();) {
        const ssize_t sent =
            ::send(fd_.get(), text.data() + done, text.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            done += std::size_t(sent);
        } else if (errno == EAGAIN) {
            FS_CHECK(t.wait(fd_.get(), POLLOUT));
        } else if (errno != EINTR) {
            return fail_errno(errno, "the guest agent");
        }
    }
    return {};
}

result<std::string> agent_link::line(const tether &t) {
    for (;;) {
        if (const auto end = kept_.find('\n'); end != std::string::npos) {
            std::string one = kept_.substr(0, end);
            kept_.erase(0, end + 1);
            return one;
        }
        if (kept_.size() > limits::reply_bytes_max) {
            return refusal("the guest agent's reply is too long");
        }
        const auto ready = t.wait(fd_.get(), POLLIN);
        if (!ready) {
            return std::unexpected(waiting_for(
                "the guest agent; is it running, and does nobody else (libvirt) have its socket?",
                ready.error()));
        }
        std::array<char, 4096> some{};
        const ssize_t got = ::recv(fd_.get(), some.data(), some.size(), MSG_DONTWAIT);
        if (got > 0) {
            kept_.append(some.data(), std::size_t(got));
        } else if (got == 0) {
            return refusal("the guest agent's connection was closed");
        } else if (errno != EAGAIN && errno != EINTR) {
            return fail_errno(errno, "the guest agent");
        }
    }
}

result<nlohmann::json> agent_link::reply(const tether &t, const std::string &name) {
    FS_TRY(text, line(t));
    return agent_value(text, name);
}

bool agent_in_step(const std::string &line, std::int64_t step) {
    const auto mark = line.rfind(delimiter);
    if (mark == std::string::npos) {
        return false;
    }
    const auto document = control::parse_json(std::string_view(line).substr(mark + 1));
    return document && document->is_object() && document->value("return", nlohmann::json()) == step;
}

result<nlohmann::json> agent_value(const std::string &line, const std::string &command) {
    const auto document = control::parse_json(line);
    if (!document || !document->is_object()) {
        return refusal("the guest agent's reply to " + command + " is no JSON object");
    }
    if (const auto value = document->find("return"); value != document->end()) {
        return *value;
    }
    const auto wrong = document->find("error");
    const bool told = wrong != document->end() && wrong->is_object() && wrong->contains("desc") &&
                      (*wrong)["desc"].is_string();
    return refusal(fmt::format("the guest agent: {}: {}", command,
                               told ? (*wrong)["desc"].get<std::string>() : "no reason given"));
}

} // namespace farshore::hook
