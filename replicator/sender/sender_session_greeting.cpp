// A session of a sender begins: the control link, the hello and what the DR site answers.

#include "replicator/sender/sender_session.hpp"
#include "replicator/session/peer_clock.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {

error error_of(const wire::refusal &r) {
    const auto code = [&] {
        switch (static_cast<wire::refusal_code>(r.code)) {
        case wire::refusal_code::version:
            return errc::unsupported;
        case wire::refusal_code::unknown_group:
            return errc::not_found;
        case wire::refusal_code::not_paired:
            return errc::not_trusted;
        case wire::refusal_code::busy:
            return errc::busy;
        case wire::refusal_code::volumes:
            return errc::mismatch;
        case wire::refusal_code::failed:
            return errc::dead;
        case wire::refusal_code::full:
            return errc::full;
        case wire::refusal_code::stopping:
            return errc::closed;
        case wire::refusal_code::protocol:
            return errc::corrupt;
        case wire::refusal_code::role:
            return errc::refused;
        }
        return errc::corrupt;
    }();
    return {make_error_code(code), fmt::format("the DR site says: {}", r.text)};
}

error in_words(error e) {
    if (e.whose == fault::peer && !e.context.starts_with("the DR site")) {
        e.context = "the DR site broke the protocol: " + e.context;
    }
    return e;
}

task<result<wire::welcome>> sender_session::open(make_connector connect, wire::hello hello,
                                                 interval_id known) {
    connect_ = std::move(connect);
    begin(std::move(hello));
    FS_CO_TRY(connector, connect_(true));
    FS_CO_TRY(link, co_await connector->connect(connect_timeout));
    control_ = std::move(link);
    co_return co_await greet(known);
}

task<result<wire::welcome>> sender_session::open_on(std::unique_ptr<transport::link> control,
                                                    wire::hello hello, interval_id known) {
    begin(std::move(hello));
    control_ = std::move(control);
    co_return co_await greet(known);
}

void sender_session::begin(wire::hello hello) {
    hello_ = std::move(hello);
    std::vector<std::uint64_t> sizes;
    for (const wire::volume_entry &v : hello_.volumes) {
        sizes.push_back(v.size);
    }
    claims_ = receiver_claims(std::move(sizes));
}

task<result<wire::welcome>> sender_session::greet(interval_id known) {
    heard_ = run_.time->now();
    FS_CO_CHECK(co_await send_control(hello_));
    tasks_.spawn(beat()); // also ends a receiver that accepts and then says nothing
    auto reply = co_await answer_to_hello();
    if (!reply) {
        co_return std::unexpected(end_reason_.value_or(in_words(reply.error())));
    }
    if (is_a(*reply, wire::message_type::refusal)) {
        FS_CO_TRY(refusal, wire::parse<wire::refusal>(reply->payload.view()));
        co_return std::unexpected(error_of(refusal));
    }
    if (!is_a(*reply, wire::message_type::welcome)) {
        co_return fail_peer(
            errc::corrupt,
            fmt::format("the DR site answered hello with a message of type {}, not with a welcome",
                        reply->type));
    }
    auto parsed = wire::parse<wire::welcome>(reply->payload.view());
    if (!parsed) {
        co_return std::unexpected(in_words(parsed.error()));
    }
    const wire::welcome &welcome = *parsed;
    if (welcome.version != wire::protocol_version ||
        (welcome.features & ~hello_.features_offered) != 0) {
        co_return fail_peer(errc::unsupported,
                            "the DR site chose a protocol version or feature that this sender "
                            "did not offer");
    }
    FS_CO_CHECK(calls_.on_clock(welcome.clock_ms));
    window_bytes_ = std::clamp<std::uint64_t>(welcome.window_bytes, limits::frame_payload_bytes_max,
                                              limits::window_bytes_max);
    FS_CO_CHECK(check_welcome(welcome, known));
    claims_.greeted(welcome);
    tasks_.spawn(read_control());
    welcomed_at_ = run_.time->now();
    co_return welcome;
}

/// Welcome or refusal; before it the roles, when the DR site knows of them.
task<result<transport::message>> sender_session::answer_to_hello() {
    auto reply = co_await control_->receive();
    heard_ = run_.time->now();
    if (!reply || !is_a(*reply, wire::message_type::site_claim) ||
        (hello_.features_offered & wire::feature_roles) == 0) {
        co_return std::move(reply);
    }
    FS_CO_TRY(theirs, wire::parse<wire::site_claim>(reply->payload.view()));
    FS_CO_TRY(ours, co_await calls_.on_claim(std::move(theirs)));
    FS_CO_CHECK(co_await send_control(std::move(ours)));
    reply = co_await control_->receive();
    heard_ = run_.time->now();
    co_return reply;
}

} // namespace farshore
