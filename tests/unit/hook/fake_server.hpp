#pragma once
// A server on a Unix socket for the hooks of applications that are reached by one: its words are
// the test's, its connections are threads. The destructor ends them all.

#include "tests/support/temp_directory.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace farshore::hook {

/// One client, on the server's side.
class fake_client {
  public:
    explicit fake_client(int fd) : fd_(fd) {}
    /// False: it is gone.
    bool say(std::string_view text) const {
        return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == ssize_t(text.size());
    }
    /// `count` bytes; no value when the client is gone.
    std::optional<std::string> take(std::size_t count) {
        return more([&] { return kept_.size() >= count ? count : std::string::npos; });
    }
    /// Through `end`, which is left out.
    std::optional<std::string> take_until(std::string_view end) {
        auto text = more([&] {
            const auto at = kept_.find(end);
            return at == std::string::npos ? at : at + end.size();
        });
        if (text) {
            text->resize(text->size() - end.size());
        }
        return text;
    }

  private:
    template <class Enough>
    std::optional<std::string> more(Enough enough) {
        for (;;) {
            if (const std::size_t count = enough(); count != std::string::npos) {
                std::string text = kept_.substr(0, count);
                kept_.erase(0, count);
                return text;
            }
            std::array<char, 4096> some{};
            const ssize_t got = ::recv(fd_, some.data(), some.size(), 0);
            if (got <= 0) {
                return std::nullopt;
            }
            kept_.append(some.data(), std::size_t(got));
        }
    }
    int fd_;
    std::string kept_;
};

class fake_server {
  public:
    /// `talk` returns when its client is gone, or is to be dropped.
    fake_server(const std::string &path, std::function<void(fake_client &)> talk)
        : talk_(std::move(talk)), listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        REQUIRE(path.size() < sizeof address.sun_path);
        std::memcpy(address.sun_path, path.c_str(), path.size());
        REQUIRE(::bind(listener_, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0);
        REQUIRE(::listen(listener_, 8) == 0);
        acceptor_ = std::thread([this] { accept_all(); });
    }
    ~fake_server() {
        ::shutdown(listener_, SHUT_RDWR);
        acceptor_.join();
        drop_clients();
        for (std::thread &one : threads_) {
            one.join();
        }
        for (const int one : clients_) {
            ::close(one);
        }
        ::close(listener_);
    }
    fake_server(const fake_server &) = delete;
    fake_server &operator=(const fake_server &) = delete;

    void drop_clients() {
        const std::scoped_lock lock(mutex_);
        for (const int one : clients_) {
            ::shutdown(one, SHUT_RDWR);
        }
    }

  private:
    void accept_all() {
        for (;;) {
            const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0) {
                return;
            }
            const std::scoped_lock lock(mutex_);
            clients_.push_back(fd);
            threads_.emplace_back([this, fd] {
                fake_client client(fd);
                talk_(client);
                ::shutdown(fd, SHUT_RDWR);
            });
        }
    }

    std::function<void(fake_client &)> talk_;
    int listener_;
    std::mutex mutex_;
    std::vector<int> clients_;         ///< closed at the end only: a number is not used twice
    std::vector<std::thread> threads_; ///< one for each
    std::thread acceptor_;
};

} // namespace farshore::hook
