#pragma once
// A raw NBD client for tests: says exactly the bytes it is told to, and a server to say them to.

#include "replicator/base/unique_fd.hpp"
#include "replicator/format/nbd_protocol.hpp"
#include "replicator/nbd/server.hpp"
#include "tests/support/memory_device.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <thread>

namespace farshore::nbd::test {

using farshore::test::memory_device;

struct option_reply {
    std::uint32_t type = 0;
    byte_vector data;
};

struct chunk {
    std::uint16_t type = 0;
    std::uint16_t flags = 0;
    std::uint64_t cookie = 0;
    byte_vector payload;
};

/// Blocking; gives up after a minute, so that a server that owes an answer fails the test, and a
/// machine that is merely busy (or runs a sanitizer) does not.
class raw_client {
  public:
    explicit raw_client(const std::string &path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        const timeval limit{.tv_sec = 60, .tv_usec = 0};
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        connected = ::connect(fd_.get(), static_cast<sockaddr *>(static_cast<void *>(&address)),
                              sizeof address) == 0;
    }

    bool connected = false;

    /// False when the server closed; a test that doesn't expect that checks it.
    bool send(bytes_view bytes) {
        while (!bytes.empty()) {
            const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n <= 0) {
                return false;
            }
            bytes = bytes.subspan(static_cast<std::size_t>(n));
        }
        return true;
    }
    template <wire_struct T>
    bool send_struct(const T &value) {
        return send(struct_bytes(value));
    }
    /// Exactly n bytes, or fewer when the server closed or owes them for too long.
    byte_vector receive(std::size_t n) {
        byte_vector out(n);
        std::size_t got = 0;
        while (got < n) {
            const ssize_t part = ::recv(fd_.get(), out.data() + got, n - got, 0);
            if (part <= 0) {
                break;
            }
            got += static_cast<std::size_t>(part);
        }
        out.resize(got);
        return out;
    }
    template <wire_struct T>
    T receive_struct() {
        const auto value = read_struct<T>(receive(sizeof(T)));
        REQUIRE(value);
        return *value;
    }
    /// True when the server ended the connection (and sent nothing before).
    bool closed_by_server() {
        std::byte one{};
        const ssize_t n = ::recv(fd_.get(), &one, 1, 0);
        return n == 0 || (n < 0 && errno == ECONNRESET);
    }
    void half_close() { ::shutdown(fd_.get(), SHUT_WR); }
    void close() { fd_.reset(); }

    /// Greeting and client flags.
    void begin(std::uint32_t flags = client_flags_known) {
        const auto hello = receive_struct<greeting>();
        REQUIRE(hello.magic == greeting_magic);
        REQUIRE(hello.style == option_magic);
        REQUIRE(hello.flags == (handshake_fixed_newstyle | handshake_no_zeroes));
        REQUIRE(send_struct(be32(flags)));
    }
    bool send_option(std::uint32_t option, bytes_view data = {}) {
        option_header header;
        header.magic = option_magic;
        header.option = option;
        header.length = static_cast<std::uint32_t>(data.size());
        byte_vector all;
        append_struct(all, header);
        append_bytes(all, data);
        return send(all);
    }
    option_reply receive_option_reply(std::uint32_t option) {
        const auto header = receive_struct<option_reply_header>();
        REQUIRE(header.magic == option_reply_magic);
        REQUIRE(header.option == option);
        REQUIRE(header.length < 1 << 20);
        return {header.type, receive(header.length)};
    }
    /// All replies up to the final one.
    std::vector<option_reply> ask(std::uint32_t option, bytes_view data = {}) {
        REQUIRE(send_option(option, data));
        std::vector<option_reply> replies;
        do {
            replies.push_back(receive_option_reply(option));
        } while (replies.back().type != reply_ack && (replies.back().type & reply_error_bit) == 0);
        return replies;
    }

    static byte_vector info_data(std::string_view name, std::vector<std::uint16_t> requests = {}) {
        byte_vector data;
        append_struct(data, be32(static_cast<std::uint32_t>(name.size())));
        append_bytes(data, as_bytes(name));
        append_struct(data, be16(static_cast<std::uint16_t>(requests.size())));
        for (const std::uint16_t r : requests) {
            append_struct(data, be16(r));
        }
        return data;
    }
    static byte_vector meta_data(std::string_view name, std::vector<std::string_view> queries) {
        byte_vector data;
        append_struct(data, be32(static_cast<std::uint32_t>(name.size())));
        append_bytes(data, as_bytes(name));
        append_struct(data, be32(static_cast<std::uint32_t>(queries.size())));
        for (const std::string_view q : queries) {
            append_struct(data, be32(static_cast<std::uint32_t>(q.size())));
            append_bytes(data, as_bytes(q));
        }
        return data;
    }
    /// To the transmission phase.
    void go(bool structured = false, std::vector<std::string_view> contexts = {},
            std::string_view name = "data") {
        begin();
        if (structured) {
            REQUIRE(ask(option_structured_reply).back().type == reply_ack);
        }
        if (!contexts.empty()) {
            const auto replies = ask(option_set_meta_context, meta_data(name, contexts));
            REQUIRE(replies.size() == contexts.size() + 1);
        }
        REQUIRE(ask(option_go, info_data(name)).back().type == reply_ack);
    }

    bool request_(const request &r, bytes_view payload = {}) {
        byte_vector all;
        append_struct(all, encode_request(r));
        append_bytes(all, payload);
        return send(all);
    }
    simple_reply receive_simple() {
        const auto reply = receive_struct<simple_reply>();
        REQUIRE(reply.magic == simple_reply_magic);
        return reply;
    }
    chunk receive_chunk() {
        const auto header = receive_struct<chunk_header>();
        REQUIRE(header.magic == structured_reply_magic);
        chunk c{header.type, header.flags, header.cookie, {}};
        c.payload = receive(header.length);
        REQUIRE(c.payload.size() == header.length);
        return c;
    }
    /// Sends and returns the error of the simple reply.
    std::uint32_t simple(const request &r, bytes_view payload = {}) {
        REQUIRE(request_(r, payload));
        const auto reply = receive_simple();
        CHECK(reply.cookie == r.cookie);
        return reply.error;
    }
    std::uint32_t write(std::uint64_t offset, bytes_view data, std::uint16_t flags = 0) {
        return simple({.flags = flags,
                       .type = command_write,
                       .cookie = 77,
                       .offset = offset,
                       .length = static_cast<std::uint32_t>(data.size())},
                      data);
    }
    /// Simple replies only.
    byte_vector read(std::uint64_t offset, std::uint32_t length) {
        const request r{.type = command_read, .cookie = 78, .offset = offset, .length = length};
        REQUIRE(simple(r) == 0);
        return receive(length);
    }

  private:
    unique_fd fd_;
};

/// A server on a Unix socket, two loops, a disk pool of four.
class test_server {
  public:
    static constexpr std::uint64_t size = 1 << 20;

    test_server() : test_server(std::make_shared<memory_device>(size)) {}
    explicit test_server(std::shared_ptr<block_device> device)
        : test_server({{"data", "first", std::move(device)},
                       {"second", "", std::make_shared<memory_device>(4096)}}) {}
    explicit test_server(std::vector<export_entry> exports,
                         client_bounds bounds = default_client_bounds()) {
        char name[] = "/tmp/farshore-nbd-XXXXXX";
        directory = ::mkdtemp(name);
        path = directory + "/socket";
        std::vector<executor> executors;
        for (auto &context : contexts_) {
            executors.emplace_back(
                asio::require(context.get_executor(), asio::execution::outstanding_work.tracked));
            threads_.emplace_back([&context] { context.run(); });
        }
        memory = dynamic_cast<memory_device *>(exports.front().device.get());
        server_ = std::make_unique<server>(std::move(exports), executors, pool_.get_executor(),
                                           std::move(bounds));
        const auto listening = server_->listen({.unix_path = path});
        REQUIRE_MESSAGE(listening, listening.error().text());
        executors_ = std::move(executors);
    }
    ~test_server() {
        close(std::chrono::seconds(60));
        server_.reset();
        executors_.clear();
        threads_.clear();
        pool_.join();
        std::filesystem::remove_all(directory);
    }

    /// From a thread of its own, as a daemon's home executor would.
    void close(duration grace) {
        if (closed_) {
            return;
        }
        closed_ = true;
        asio::io_context home;
        asio::co_spawn(home, server_->close(grace), asio::detached);
        home.run();
    }
    server &get() { return *server_; }

    std::string directory;
    std::string path;
    memory_device *memory = nullptr; ///< the first export's, if it is one

  private:
    std::array<asio::io_context, 2> contexts_;
    asio::thread_pool pool_{4};
    std::vector<std::jthread> threads_;
    std::vector<executor> executors_;
    std::unique_ptr<server> server_;
    bool closed_ = false;
};

inline byte_vector pattern(std::size_t n, unsigned seed) {
    byte_vector out(n);
    for (std::size_t i = 0; i < n; ++i) {
        out[i] = static_cast<std::byte>((i * 31 + seed * 17 + i / 251) & 0xff);
    }
    return out;
}

inline bool equal(bytes_view a, bytes_view b) { return std::ranges::equal(a, b); }

} // namespace farshore::nbd::test
