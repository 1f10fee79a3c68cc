#pragma once
// The file `events` of a trace: what clients did to the volumes, in the order in which it took
// effect. Written by record_nbd, read by replay_nbd and bench/traces/recorded.py. A tool's format,
// on one machine: little-endian, no checksums; a file that ends within a record is refused.
//
//   header  0  8  magic "FSTRACE1"
//           8  4  version, 1
//          12  4  volumes, 1..255
//   record  0  8  time, microseconds since the recording began
//           8  1  kind: 1 write, 2 zeroes, 3 trim, 4 flush
//           9  1  volume, from 0, in the order of meta.json
//          10  2  0
//          12  4  length in bytes; 0 for a flush
//          16  8  offset in bytes; 0 for a flush
//          24  length bytes of content, for a write only
// A write with FUA is recorded as a write and a flush.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace farshore::trace {

static_assert(std::endian::native == std::endian::little, "structs are written as they are");

enum class event_kind : std::uint8_t { write = 1, zeroes = 2, trim = 3, flush = 4 };

inline constexpr std::array<char, 8> events_magic{'F', 'S', 'T', 'R', 'A', 'C', 'E', '1'};
inline constexpr std::uint32_t events_version = 1;

struct events_header {
    std::array<char, 8> magic = events_magic;
    std::uint32_t version = events_version;
    std::uint32_t volumes = 0;
};
static_assert(sizeof(events_header) == 16);

struct event_record {
    std::uint64_t time_us = 0;
    event_kind kind = event_kind::write;
    std::uint8_t volume = 0;
    std::uint16_t zero = 0;
    std::uint32_t length = 0;
    std::uint64_t offset = 0;
};
static_assert(sizeof(event_record) == 24 && offsetof(event_record, offset) == 16);

} // namespace farshore::trace
