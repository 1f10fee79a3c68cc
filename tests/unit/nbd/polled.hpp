#pragma once
// One connection in one thread: what the client sends is worked off to the last byte before the
// test goes on, so a test can say "nothing was answered yet" without waiting for it not to come.

#include "replicator/nbd/connection.hpp"
#include "tests/unit/nbd/client.hpp"

#include <cerrno>

namespace farshore::nbd::test {

/// Client flags and options up to GO of the export "".
inline byte_vector opening(bool structured, std::vector<std::string_view> contexts = {}) {
    byte_vector script;
    append_struct(script, be32(client_flags_known));
    const auto option = [&](std::uint32_t number, const byte_vector &data) {
        option_header header;
        header.magic = option_magic;
        header.option = number;
        header.length = static_cast<std::uint32_t>(data.size());
        append_struct(script, header);
        append_bytes(script, data);
    };
    if (structured) {
        option(option_structured_reply, {});
    }
    if (!contexts.empty()) {
        option(option_set_meta_context, raw_client::meta_data("", std::move(contexts)));
    }
    option(option_go, raw_client::info_data(""));
    return script;
}

class polled_connection {
  public:
    explicit polled_connection(std::shared_ptr<block_device> device) {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
        ours_ = unique_fd(ends[0]);
        const auto exports = std::make_shared<const std::vector<export_entry>>(
            std::vector<export_entry>{{"data", "", std::move(device)}});
        talk_ = std::make_shared<connection>(unique_fd(ends[1]), exports, io_.get_executor(),
                                             io_.get_executor(), connection_options{});
        asio::co_spawn(io_, talk_->run(), [this](const std::exception_ptr &) { ended = true; });
        work();
    }
    ~polled_connection() {
        ours_.reset();
        talk_->abort();
        work();
        CHECK(ended);
    }
    polled_connection(const polled_connection &) = delete;
    polled_connection &operator=(const polled_connection &) = delete;

    /// All of it, while answers are taken; returns those that there are when all is worked off.
    byte_vector exchange(bytes_view bytes) {
        byte_vector answers;
        for (;;) {
            bytes = bytes.subspan(send_now(bytes));
            work();
            const std::size_t before = answers.size();
            take_into(answers);
            if (answers.size() == before && (bytes.empty() || ended)) {
                return answers;
            }
        }
    }
    byte_vector exchange(const request &r, bytes_view payload = {}) {
        byte_vector all;
        append_struct(all, encode_request(r));
        append_bytes(all, payload);
        return exchange(all);
    }
    /// What the socket takes, without taking answers; returns how much that was.
    std::size_t send_now(bytes_view bytes) {
        std::size_t sent = 0;
        while (sent < bytes.size()) {
            const bytes_view rest = bytes.subspan(sent);
            const ssize_t n = ::send(ours_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
            if (n <= 0) {
                break;
            }
            sent += static_cast<std::size_t>(n);
        }
        return sent;
    }
    void take_into(byte_vector &out) {
        std::array<std::byte, 65'536> room;
        for (;;) {
            const ssize_t n = ::recv(ours_.get(), room.data(), room.size(), 0);
            if (n <= 0) {
                return;
            }
            append_bytes(out, bytes_view(room).first(static_cast<std::size_t>(n)));
            work();
        }
    }
    void work() {
        io_.restart();
        io_.poll();
    }
    void hang_up() { ours_.reset(); }

    bool ended = false;

  private:
    asio::io_context io_;
    unique_fd ours_;
    std::shared_ptr<connection> talk_;
};

} // namespace farshore::nbd::test
