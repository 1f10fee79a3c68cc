#pragma once
// The demo's dependent writes. Record n goes to volume A, and to volume B only after A's write of n
// was answered; n + 1 goes to A only after B's write of n was answered. So whatever prefix of the
// writes a copy shows, A's last record is B's last or one more, and no record before it is missing.
// A copy that mixes moments breaks that. Pure.

#include "replicator/base/bytes.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace farshore::demo {

constexpr std::size_t record_bytes = 4096;
/// Records stand in a ring of slots at the start of each volume: n in slot n % record_slots.
constexpr std::uint64_t record_slots = 1024;
constexpr std::uint64_t record_area_bytes = record_bytes * record_slots;

/// Fills one slot: magic, number, which volume, a checksum over all of it.
void encode_record(std::uint64_t number, char volume, bytes_span out);
/// The number, if the slot holds a whole record of that volume.
std::optional<std::uint64_t> parse_record(char volume, bytes_view slot);

struct ring_content {
    std::uint64_t last = 0; ///< highest number; 0 when there is none
    std::string problem;    ///< a torn or missing record; empty when there is none
};
/// All slots of one volume.
ring_content read_ring(char volume, bytes_view area);

struct dependency_result {
    bool holds = false;
    std::uint64_t last_a = 0;
    std::uint64_t last_b = 0;
    std::string text; ///< what was found, for people
};
dependency_result check_dependency(const ring_content &a, const ring_content &b);

} // namespace farshore::demo
