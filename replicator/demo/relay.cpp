#include "replicator/demo/relay.hpp"

#include <asio/write.hpp>

#include <array>
#include <future>
#include <vector>

namespace farshore::demo {

using asio::ip::tcp;

struct relay::pipe {
    pipe(tcp::socket a, tcp::socket b, std::atomic<std::uint64_t> &count)
        : near(std::move(a)), far(std::move(b)), bytes(count) {}
    tcp::socket near;
    tcp::socket far;
    std::atomic<std::uint64_t> &bytes;

    void reset() {
        asio::error_code ignored;
        // A line that is cut delivers nothing more, not even an orderly end.
        near.set_option(asio::socket_base::linger(true, 0), ignored);
        far.set_option(asio::socket_base::linger(true, 0), ignored);
        near.close(ignored);
        far.close(ignored);
    }
};

relay::relay() = default;

relay::~relay() {
    io_.stop();
    if (thread_.joinable()) {
        thread_.join();
    }
}

result<std::uint16_t> relay::listen() {
    const tcp::endpoint where(asio::ip::address_v4::loopback(), 0);
    asio::error_code ec;
    acceptor_.open(where.protocol(), ec);
    if (!ec) {
        acceptor_.bind(where, ec);
    }
    if (!ec) {
        acceptor_.listen(asio::socket_base::max_listen_connections, ec);
    }
    if (ec) {
        return fail(ec, "the demo's relay");
    }
    const std::uint16_t port = acceptor_.local_endpoint(ec).port();
    asio::co_spawn(io_, accept(), asio::detached);
    thread_ = std::thread([this] { io_.run(); });
    return port;
}

task<void> relay::accept() {
    for (;;) {
        auto [ec, socket] = co_await acceptor_.async_accept(as_result);
        if (ec) {
            co_return;
        }
        if (!closed_) {
            asio::co_spawn(io_, connect(std::move(socket)), asio::detached);
        }
    }
}

task<void> relay::connect(tcp::socket accepted) {
    tcp::socket far(io_);
    const tcp::endpoint where(asio::ip::address_v4::loopback(), target_);
    const auto [ec] = co_await far.async_connect(where, as_result);
    if (ec || closed_) {
        co_return;
    }
    asio::error_code ignored;
    accepted.set_option(tcp::no_delay(true), ignored);
    far.set_option(tcp::no_delay(true), ignored);
    const auto p = std::make_shared<pipe>(std::move(accepted), std::move(far), bytes_);
    std::erase_if(pipes_, [](const std::weak_ptr<pipe> &w) { return w.expired(); });
    pipes_.push_back(p);
    asio::co_spawn(io_, copy(p, true), asio::detached);
    asio::co_spawn(io_, copy(p, false), asio::detached);
}

task<void> relay::copy(std::shared_ptr<pipe> p, bool forward) {
    tcp::socket &source = forward ? p->near : p->far;
    tcp::socket &target = forward ? p->far : p->near;
    std::vector<std::byte> piece(64 * 1024);
    for (;;) {
        const auto [read_error, n] =
            co_await source.async_read_some(asio::buffer(piece), as_result);
        if (read_error) {
            break;
        }
        const auto [write_error, written] =
            co_await asio::async_write(target, asio::buffer(piece, n), as_result);
        if (write_error) {
            break;
        }
        p->bytes += n;
    }
    asio::error_code ignored;
    p->near.close(ignored);
    p->far.close(ignored);
}

void relay::cut() {
    closed_ = true;
    std::promise<void> done;
    asio::post(io_, [&] {
        for (const auto &w : pipes_) {
            if (const auto p = w.lock()) {
                p->reset();
            }
        }
        pipes_.clear();
        done.set_value();
    });
    done.get_future().wait();
}

void relay::open() { closed_ = false; }

} // namespace farshore::demo
