#include "replicator/nbd/connection.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"

#include <algorithm>

namespace farshore::nbd {

namespace {

/// Longer options than we take are skipped and refused, up to this; beyond it the client is
/// dropped.
constexpr std::uint64_t option_skip_max = 32 * limits::MiB;
/// A payload from here on is received straight into its own buffer.
constexpr std::size_t direct_bytes_min = 32 * limits::KiB;
/// A write of this size with others behind it is worth another thread.
constexpr std::size_t overlap_bytes_min = 128 * limits::KiB;
/// Credit is asked for in such steps: a chunk of replies, a payload, and some to spare.
constexpr std::size_t credit_step = limits::MiB;
/// Replies are sent after so many requests: early enough that the client works while we do.
constexpr std::size_t requests_per_send = 8;
/// Requests in a row before other clients of the loop get their turn.
constexpr std::size_t requests_per_turn = 64;
/// Polls for the rest of a request at most so long; a context switch there and back takes about it.
constexpr duration rest_spin_time = std::chrono::microseconds(20);
/// Reads of the socket in a row before other clients of the loop get their turn.
constexpr std::size_t receives_in_a_row = 4;

} // namespace

connection::connection(unique_fd fd, export_list exports, const executor &loop, executor disk,
                       connection_options options, std::shared_ptr<memory_account::share> memory,
                       std::string peer)
    : loop_(loop), disk_(std::move(disk)), exports_(std::move(exports)), peer_(std::move(peer)),
      options_(options), stream_(std::move(fd), loop, changed_), deadline_(loop),
      credit_(std::move(memory), credit_step) {
    stream_.set_lean(true);
    stream_.set_on_sent([this] { rest_credit(); });
}

task<void> connection::run() {
    const auto self = shared_from_this();
    const bool agreed = co_await negotiate();
    negotiating_ = false;
    deadline_.cancel();
    if (agreed) {
        co_await transmit();
    }
    incoming_.reset(); // its rest never comes; jobs under way leave as they end
    leave_at_rest();
    co_await drain();
    credit_.release(0);
}

void connection::stop() {
    leaving_ = true;
    stream_.cancel_receive();
    changed_.notify_all();
}

void connection::abort() {
    leaving_ = true;
    stream_.fail(); // notifies changed_
}

/// Waits for jobs, gives the client a while to take the last replies, then lets go of it.
task<void> connection::drain() {
    while (jobs_ > 0) {
        co_await changed_.wait();
    }
    stream_.send();
    const time_point until = clock_.now() + options_.linger;
    while (stream_.unsent_bytes() > 0 && co_await changed_.wait_until(clock_, until)) {
    }
    stream_.fail();
    while (stream_.busy()) {
        co_await changed_.wait();
    }
}

// Negotiation

void connection::arm_deadline() {
    deadline_.expires_after(options_.option_timeout);
    deadline_.async_wait([weak = weak_from_this()](asio::error_code ec) {
        const auto self = weak.lock();
        if (!ec && self && self->negotiating_) {
            self->abort();
        }
    });
}

task<bool> connection::receive_exactly(std::size_t n) {
    while (stream_.input().size() < n && !stream_.ended()) {
        co_await stream_.receive(n, {});
    }
    co_return stream_.input().size() >= n;
}

task<bool> connection::skip(std::uint64_t n) {
    while (n > 0 && co_await receive_exactly(1)) {
        const std::uint64_t part = std::min<std::uint64_t>(n, stream_.input().size());
        stream_.consume(part);
        n -= part;
    }
    co_return n == 0;
}

void connection::send_bytes(bytes_view bytes) {
    if (!bytes.empty()) {
        stream_.push(buffer::copy_of(bytes));
        stream_.send();
    }
}

/// Nothing when the client is gone or out of step.
task<std::optional<negotiation::outcome>> connection::read_option(negotiation *state) {
    if (!co_await receive_exactly(sizeof(option_header))) {
        co_return std::nullopt;
    }
    const auto header = read_struct<option_header>(stream_.input());
    if (!header || header->magic != option_magic) {
        co_return std::nullopt;
    }
    stream_.consume(sizeof(option_header));
    byte_vector replies;
    auto outcome = negotiation::outcome::more;
    const bool fits = header->length <= stream_.input_max();
    if (header->length > limits::nbd_option_bytes_max || (!fits && !credit_.ensure(chunk_bytes))) {
        // EXPORT_NAME has no reply that refuses.
        if (header->length > option_skip_max || header->option == option_export_name ||
            !co_await skip(header->length)) {
            co_return std::nullopt;
        }
        negotiation::refuse_size(header->option, replies);
    } else if (!fits) {
        buffer data(header->length);
        for (std::size_t filled = 0; filled < data.size();) {
            const std::size_t ahead = std::min(stream_.input().size(), data.size() - filled);
            std::copy_n(stream_.input().data(), ahead, data.data() + filled);
            stream_.consume(ahead);
            filled += ahead;
            if (filled < data.size() && stream_.ended()) {
                co_return std::nullopt;
            }
            filled +=
                filled < data.size() ? co_await stream_.receive(1, data.span().subspan(filled)) : 0;
        }
        outcome = state->handle_option(header->option, data.view(), replies);
        credit_.release(0);
    } else {
        if (!co_await receive_exactly(header->length)) {
            co_return std::nullopt;
        }
        outcome =
            state->handle_option(header->option, stream_.input().first(header->length), replies);
        stream_.consume(header->length);
    }
    send_bytes(replies);
    co_return outcome;
}

task<bool> connection::negotiate() {
    arm_deadline();
    negotiation state(*exports_);
    send_bytes(struct_bytes(greeting{}));
    if (!co_await receive_exactly(sizeof(be32))) {
        co_return false;
    }
    const auto flags = read_struct<be32>(stream_.input());
    if (!flags || !state.accept_client_flags(*flags)) {
        co_return false;
    }
    stream_.consume(sizeof(be32));
    auto outcome = negotiation::outcome::more;
    while (outcome == negotiation::outcome::more) {
        arm_deadline();
        // A client that asks and asks and takes no answers must not fill our memory.
        while (stream_.unsent_replies() > 0 && !leaving_) {
            co_await changed_.wait();
        }
        if (leaving_) {
            co_return false;
        }
        const auto next = co_await read_option(&state);
        if (!next) {
            co_return false;
        }
        outcome = *next;
    }
    if (outcome != negotiation::outcome::transmit) {
        co_return false;
    }
    facts_ = state.facts();
    device_ = state.chosen().device.get();
    co_return true;
}

// Transmission

task<void> connection::transmit() {
    std::size_t in_a_row = 0;
    while (!leaving_) {
        const progress p = handle_requests();
        stream_.send();
        if (p == progress::leave || stream_.failed()) {
            break;
        }
        if (p == progress::needs_turn) {
            co_await asio::post(loop_, asio::use_awaitable);
            continue;
        }
        if (p == progress::held) {
            leave_at_rest();
            co_await changed_.wait_until(clock_, clock_.now() + held_look_every);
            continue;
        }
        if (p == progress::needs_room) {
            if (!has_room()) { // sending may have made some
                waits_for_room_ = true;
                co_await changed_.wait();
                waits_for_room_ = false;
            }
            continue;
        }
        if (stream_.ended()) {
            break;
        }
        // A read that filled all its room, or a crowd of requests, promises more; a lone request
        // is better waited for.
        if ((crowd_ || !stream_.drained()) && in_a_row < receives_in_a_row) {
            ++in_a_row;
            receive_now();
            continue;
        }
        in_a_row = 0;
        if (receive_spinning()) {
            continue;
        }
        rest_credit();
        leave_at_rest();
        const std::size_t filled = co_await stream_.receive(wanted_, payload_rest());
        received_ += filled;
        if (incoming_) {
            incoming_->filled += filled;
        }
    }
}

/// True when something came.
bool connection::receive_now() {
    const std::size_t before = stream_.input().size();
    const std::size_t filled = stream_.try_receive(wanted_, payload_rest());
    received_ += filled;
    if (incoming_) {
        incoming_->filled += filled;
    }
    return filled > 0 || stream_.input().size() > before;
}

/// The rest of a request that has begun is on its way: a local client is copying it right now. To
/// sleep meanwhile costs two context switches and lets both copies run one after the other. Not
/// while jobs run: they are the better use of the processor.
bool connection::receive_spinning() {
    const bool begun = incoming_ || !stream_.input().empty();
    if (jobs_ > 0 || !begun || !rest_spin_.turn()) {
        return false;
    }
    const time_point until = clock_.now() + rest_spin_time;
    do {
        if (receive_now() || stream_.ended()) {
            rest_spin_.paid();
            return true;
        }
    } while (clock_.now() < until);
    rest_spin_.missed();
    return false;
}

bytes_span connection::payload_rest() {
    return incoming_ ? incoming_->payload.span().subspan(
                           incoming_->filled, incoming_->header.length - incoming_->filled)
                     : bytes_span{};
}

bool connection::has_room() {
    if (jobs_ + stream_.unsent_replies() >= limits::nbd_inflight_max) {
        return false;
    }
    const std::size_t held = job_bytes_ + stream_.unsent_bytes();
    return (held == 0 || held + room_wanted_ <= limits::nbd_inflight_bytes_max) && admitted();
}

/// A device that is held begins no more requests, and ends those that are under way.
bool connection::may_begin() {
    if (entered_) {
        return !device_->held();
    }
    entered_ = device_->enter();
    return entered_;
}

void connection::leave_at_rest() {
    if (entered_ && jobs_ == 0 && !incoming_) {
        entered_ = false;
        device_->leave();
    }
}

connection::progress connection::handle_requests() {
    for (std::size_t handled = 0; handled < requests_per_turn; ++handled) {
        if (const progress p = handle_one(); p != progress::done) {
            crowd_ = handled > 1;
            return p;
        }
        if (handled % requests_per_send == requests_per_send - 1) {
            stream_.send();
        }
    }
    return progress::needs_turn;
}

connection::progress connection::handle_one() {
    if (incoming_) {
        return continue_payload(*incoming_);
    }
    if (refused_) {
        return drop_payload(*refused_);
    }
    const bytes_view input = stream_.input();
    if (input.size() < sizeof(request_header)) {
        wanted_ = sizeof(request_header);
        return progress::needs_input;
    }
    const auto parsed = parse_request(input);
    if (!parsed || parsed->type == command_disconnect) {
        return progress::leave;
    }
    const request r = *parsed;
    const wire_error verdict = validate_request(r, facts_);
    const bool moves_data = r.type == command_read || r.type == command_write;
    const bool data = moves_data && verdict == wire_error::none;
    room_wanted_ = data ? r.length : 0;
    memory_wanted_ = memory_of(r, data);
    lean_wanted_ = r.type == command_block_status ? lean_bytes_max + 1 : room_wanted_;
    if (!has_room()) {
        return progress::needs_room;
    }
    if (!may_begin()) {
        return progress::held;
    }
    ++handled_;
    watch();
    if (verdict != wire_error::none) {
        return refuse(r, verdict);
    }
    if (r.type == command_write) {
        return handle_write(r, input.subspan(sizeof(request_header)));
    }
    stream_.consume(sizeof(request_header));
    if (r.type == command_read) {
        handle_read(r);
    } else if (!zero_at_once(r)) {
        start_job(r, {});
    }
    return progress::done;
}

connection::progress connection::refuse(const request &r, wire_error verdict) {
    if (r.type == command_write && r.length > limits::nbd_refused_payload_bytes_max) {
        return progress::leave;
    }
    stream_.consume(sizeof(request_header));
    if (r.type == command_write) {
        refused_ = refused_write{r, verdict, r.length};
        return drop_payload(*refused_);
    }
    reply_error(r, verdict);
    return progress::done;
}

connection::progress connection::drop_payload(refused_write &write) {
    const std::size_t part = std::min(write.left, stream_.input().size());
    stream_.consume(part);
    write.left -= part;
    if (write.left > 0) {
        wanted_ = sizeof(request_header);
        return progress::needs_input;
    }
    reply_error(write.header, write.verdict);
    refused_.reset();
    return progress::done;
}

/// `available`: what has come of the payload, perhaps with later requests behind it.
connection::progress connection::handle_write(const request &r, bytes_view available) {
    if (available.size() >= r.length) {
        const bytes_view data = available.first(r.length);
        if (!write_at_once(r, data)) {
            start_job(r, buffer::copy_of(data));
        }
        stream_.consume(sizeof(request_header) + r.length);
        return progress::done;
    }
    if (r.length < direct_bytes_min && sizeof(request_header) + r.length <= stream_.input_max()) {
        wanted_ = sizeof(request_header) + r.length;
        return progress::needs_input;
    }
    incoming_ = incoming_write{r, r.length <= chunk_bytes ? take_chunk() : buffer(r.length),
                               available.size()};
    std::ranges::copy(available, incoming_->payload.data());
    stream_.consume(sizeof(request_header) + available.size());
    return continue_payload(*incoming_);
}

connection::progress connection::continue_payload(incoming_write &write) {
    if (write.filled < write.header.length) {
        wanted_ = sizeof(request_header);
        return progress::needs_input;
    }
    const request r = write.header;
    buffer payload = std::move(write.payload);
    incoming_.reset();
    // With the next request already behind it, the disk's copying and the socket's overlap on two
    // threads; a lone write is faster here.
    const bool more_behind = r.length >= overlap_bytes_min && !stream_.input().empty();
    if (more_behind && !r.fua()) {
        start_in_lane(r, std::move(payload));
    } else if (!write_at_once(r, payload.view().first(r.length))) {
        start_job(r, std::move(payload));
    } else if (payload.size() == chunk_bytes) {
        give_chunk(std::move(payload));
    }
    return progress::done;
}

/// False when it has to be a job.
bool connection::write_at_once(const request &r, bytes_view data) {
    if (r.fua() || data.size() > inline_bytes_max) {
        return false;
    }
    const auto written = device_->try_write(r.offset, data);
    if (!written) {
        reply_error(r, wire_error_of(written.error()));
        return true;
    }
    if (*written) {
        reply_success(r);
    }
    return *written;
}

/// False when it has to be a job.
bool connection::zero_at_once(const request &r) {
    if (r.type != command_trim && r.type != command_write_zeroes) {
        return false;
    }
    const auto zeroed = device_->try_zero({r.offset, r.length}, zero_options_of(r));
    if (!zeroed) {
        reply_error(r, wire_error_of(zeroed.error()));
    } else if (*zeroed) {
        reply_success(r);
    }
    return !zeroed || *zeroed;
}

void connection::handle_read(const request &r) {
    if (r.length > inline_bytes_max) {
        start_job(r, {});
        return;
    }
    const std::size_t prefix = read_prefix_bytes(facts_.structured);
    const bytes_span out = stream_.reserve(prefix + r.length);
    const auto read = device_->try_read(r.offset, out.subspan(prefix));
    if (!read) {
        reply_error(r, wire_error_of(read.error()));
    } else if (*read) {
        stream_.commit(write_read_reply(out, r, facts_.structured));
    } else {
        start_job(r, {});
    }
}

void connection::reply_success(const request &r) {
    write_struct(stream_.reserve(sizeof(simple_reply)), success_reply(r));
    stream_.commit(sizeof(simple_reply));
}

void connection::reply_error(const request &r, wire_error e) {
    stream_.commit(
        write_error_reply(stream_.reserve(error_reply_bytes_max), r, facts_.structured, e));
}

} // namespace farshore::nbd
