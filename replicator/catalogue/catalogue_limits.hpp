#pragma once
// Bounds of what a catalogue keeps; the others are in limits.hpp.

#include <cstddef>

namespace farshore::limits {

constexpr std::size_t tests_per_point_max = 16;      ///< results; the oldest go
constexpr std::size_t test_message_bytes_max = 2048; ///< of one result: its last lines
constexpr std::size_t test_name_bytes_max = 64;
constexpr std::size_t exposure_hours_max = 400 * 24;  ///< of a group; the oldest go
constexpr std::size_t rehearsals_recorded_max = 4000; ///< of a group; the oldest go

} // namespace farshore::limits
