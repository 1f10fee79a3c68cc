#pragma once
// Messages of the wire in the envelopes that links carry.

#include "replicator/base/async.hpp"
#include "replicator/format/messages.hpp"
#include "transport/link.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace farshore {

template <class Message>
transport::message envelope_of(const Message &m) {
    transport::message out;
    out.type = static_cast<std::uint16_t>(Message::type);
    out.payload = wire::encode(m);
    return out;
}

inline bool is_a(const transport::message &m, wire::message_type type) {
    return m.type == static_cast<std::uint16_t>(type);
}

/// Says why, and closes the link.
inline task<void> refuse_link(std::unique_ptr<transport::link> link, wire::refusal_code code,
                              std::string text) {
    wire::refusal r;
    r.code = static_cast<std::uint8_t>(code);
    r.text = std::move(text);
    co_await link->send(envelope_of(r));
    link->close();
}

} // namespace farshore
