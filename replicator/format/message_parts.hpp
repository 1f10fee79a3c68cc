#pragma once
// What the messages of a session are made of (format/messages.hpp): their numbers, and what `parse`
// demands of a field of each kind.

#include "replicator/base/limits.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace farshore::wire {

enum class message_type : std::uint16_t {
    hello = 1,
    welcome = 2,
    refusal = 3,
    frame = 4, ///< payload: one frame (format/frame.hpp)
    ack = 5,
    begin_stream = 6,
    stream_ready = 7,
    digest_request = 8,
    digest_reply = 9,
    nak = 10,
    heartbeat = 11,
    verify_result = 12,
    notice = 13,
    join_request = 14,
    join_reply = 15,
    loan_request = 16,
    loan_reply = 17,
    changed_request = 18,
    changed_reply = 19,
    extent_request = 20,
    extent_reply = 21,
    compare_request = 22,
    compare_reply = 23,
    site_claim = 24,
    role_offer = 25,
};

/// What `parse` demands of an integer; the name is for whoever has to mend the peer.
struct field {
    const char *name;
    std::uint64_t min = 0;
    std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t unit = 1; ///< a multiple of it
};
/// The same of a text, a list or bytes: their length.
struct length {
    const char *name;
    std::size_t max;
    std::size_t min = 0;
    std::size_t unit = 1;
    bool plain = false; ///< a text that is a name (base/plain_name.hpp)
};
constexpr length name_field(const char *name) { return {name, limits::name_bytes_max, 1, 1, true}; }
constexpr field id_field(const char *name) { return {name, 0, limits::interval_id_max}; }
constexpr field count_field(const char *name) { return {name, 0, limits::interval_id_max}; }
constexpr field volume_field(const char *name) {
    return {name, 0, limits::volumes_per_group_max - 1};
}
constexpr std::uint64_t block_unit = 4096;
constexpr field block_field(const char *name) {
    return {name, 0, limits::volume_bytes_max / block_unit - 1};
}
constexpr std::uint64_t loan_slots_max = limits::loan_bytes_max / block_unit;
constexpr length text_field(const char *name) { return {name, limits::peer_text_bytes_max}; }

/// A random number on the wire: always 8 bytes, little-endian, so that chance does not change
/// lengths.
struct random64 {
    std::uint64_t value = 0;
    constexpr random64() = default;
    constexpr random64(std::uint64_t v) : value(v) {}
    constexpr operator std::uint64_t() const { return value; }
};

using id16 = std::array<std::byte, 16>;
using key32 = std::array<std::byte, 32>;

} // namespace farshore::wire
