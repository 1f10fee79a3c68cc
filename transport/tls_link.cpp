// Messages over an established connection.

#include "replicator/base/limits.hpp"
#include "transport/tls_connection.hpp"

#include <algorithm>

namespace farshore::transport {
namespace {

/// Plain bytes that are encrypted at a time: eight full records. More saves no more system calls'
/// worth of time, and each link holds about this much.
constexpr std::size_t step_bytes = 128 * 1024;
constexpr std::size_t record_bytes = 16 * 1024;
/// Of TLS's own answers, before they are sent without a message.
constexpr std::size_t answers_bytes_max = 4096;

/// Sets a flag while a coroutine is in a section, however it leaves it.
class while_inside {
  public:
    explicit while_inside(bool &flag) : flag_(flag) { flag_ = true; }
    ~while_inside() { flag_ = false; }
    while_inside(const while_inside &) = delete;
    while_inside &operator=(const while_inside &) = delete;

  private:
    bool &flag_;
};

} // namespace

/// Ends both directions for good and wakes whoever waits in one of them.
void tls_connection::end_both(const error &why) {
    if (!receive_end_) {
        receive_end_ = why;
    }
    if (!send_end_) {
        send_end_ = why;
    }
    for (const auto &gate : pace_) {
        gate->wake();
    }
    interrupt();
}

task<result<>> tls_connection::send(message m) {
    if (m.payload.size() > limits::message_bytes_max) {
        co_return fail(errc::limit, "a message of " + std::to_string(m.payload.size()) + " bytes");
    }
    REPL_ASSERT(m.type != 0 && m.type != transport_ready);
    const auto turn = co_await turn_.acquire();
    if (may_not_send()) {
        co_return why_not_send();
    }
    if (writing_) {
        // The sender before was cancelled within its message: what follows would be read as its
        // rest.
        send_end_ =
            error{errc::cancelled, "a message was cut short on the connection to " + address_};
        co_return std::unexpected(*send_end_);
    }
    writing_ = true;
    auto sent = co_await send_in_turn(std::move(m));
    if (!sent) {
        if (receive_end_ && !closed_) {
            sent = std::unexpected(*receive_end_); // says more than "cancelled"
        }
        send_end_ = sent.error();
        co_return sent;
    }
    writing_ = false;
    co_return sent;
}

task<result<>> tls_connection::send_in_turn(message m) {
    // The envelope and the first bytes of the payload share a record.
    std::array<std::byte, record_bytes> first;
    const envelope head{
        .length = static_cast<std::uint32_t>(m.payload.size()), .type = m.type, .reserved = 0};
    write_struct(bytes_span(first), head);
    const std::size_t with_head = std::min(m.payload.size(), record_bytes - envelope_bytes);
    if (with_head > 0) {
        std::memcpy(first.data() + envelope_bytes, m.payload.data(), with_head);
    }
    FS_CO_CHECK(session_.write(bytes_view(first).first(envelope_bytes + with_head)));
    bytes_view rest = m.payload.view().subspan(with_head);
    std::size_t room = step_bytes - record_bytes;
    do {
        const std::size_t step = std::min(rest.size(), room);
        FS_CO_CHECK(session_.write(rest.first(step)));
        FS_CO_CHECK(co_await flush(pacing::wait));
        rest = rest.subspan(step);
        room = step_bytes;
    } while (!rest.empty());
    co_return result<>();
}

/// True when `target` is full; false when the session needs more input.
result<bool> tls_connection::read_all_of(bytes_span target, std::size_t &done) {
    while (done < target.size()) {
        FS_TRY(count, session_.read(target.subspan(done)));
        if (count == 0) {
            return false;
        }
        done += count;
    }
    return true;
}

/// The next message, if all of it has come.
result<std::optional<message>> tls_connection::assemble() {
    if (!partial_) {
        FS_TRY(complete, read_all_of(head_, head_done_));
        if (!complete) {
            return std::nullopt;
        }
        FS_TRY(head,
               parse_envelope(head_, std::min(payload_bytes_max(application_), next_bytes_max_)));
        if (head.type == transport_ready) {
            return fail(errc::corrupt, "the type of a message from " + address_);
        }
        head_done_ = 0;
        payload_done_ = 0;
        partial_.emplace();
        partial_->type = head.type;
        if (head.length > 0) {
            partial_->payload = buffer(head.length);
        }
    }
    FS_TRY(complete, read_all_of(partial_->payload.span(), payload_done_));
    if (!complete) {
        return std::nullopt;
    }
    return std::exchange(partial_, std::nullopt);
}

/// What TLS itself has to say (answers to renewals of the key) goes with the next message; on a
/// link that sends none it must not gather.
task<result<>> tls_connection::carry_answers() {
    const auto turn = co_await turn_.acquire();
    if (may_not_send()) {
        co_return why_not_send();
    }
    co_return co_await flush(pacing::account_only);
}

task<result<message>> tls_connection::receive() {
    REPL_ASSERT(!receiving_);
    const while_inside guard(receiving_);
    for (;;) {
        if (closed_) {
            co_return std::unexpected(closed_here());
        }
        if (receive_end_) {
            co_return std::unexpected(*receive_end_);
        }
        auto next = assemble();
        if (!next) {
            end_both(next.error());
            continue;
        }
        if (*next) {
            next_bytes_max_ = SIZE_MAX;
            co_return std::move(**next);
        }
        if (session_.output_bytes() >= answers_bytes_max) {
            if (auto carried = co_await carry_answers(); !carried) {
                end_both(carried.error());
                continue;
            }
        }
        const auto filled = co_await fill(input_.size());
        if (!filled && !closed_) {
            if (is(filled.error(), errc::cancelled)) {
                co_return std::unexpected(receive_end_.value_or(filled.error()));
            }
            end_both(filled.error());
        }
    }
}

namespace {

// The calls hold the connection by value, so the link may be destroyed while they wait.
task<result<>> send_on(std::shared_ptr<tls_connection> c, message m) {
    co_return co_await c->send(std::move(m));
}
task<result<message>> receive_on(std::shared_ptr<tls_connection> c) {
    co_return co_await c->receive();
}

class tls_link final : public link {
  public:
    explicit tls_link(std::shared_ptr<tls_connection> c) : connection_(std::move(c)) {}
    ~tls_link() override { connection_->close(); }

    task<result<>> send(message m) override { return send_on(connection_, std::move(m)); }
    task<result<message>> receive() override { return receive_on(connection_); }
    void close() override { connection_->close(); }

    const std::string &peer_address() const override { return connection_->address(); }
    const std::string &peer_fingerprint() const override { return connection_->peer_fingerprint(); }
    bool peer_has_name(const std::string &name) const override {
        return connection_->peer_has_name(name);
    }
    const std::string &application() const override { return connection_->application(); }
    wire_count wire() const override { return connection_->wire(); }

  private:
    const std::shared_ptr<tls_connection> connection_;
};

} // namespace

std::unique_ptr<link> make_tls_link(std::shared_ptr<tls_connection> connection) {
    return std::make_unique<tls_link>(std::move(connection));
}

} // namespace farshore::transport
