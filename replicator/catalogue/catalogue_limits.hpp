#pragma once
// Bounds of what a catalogue keeps of a point; the others are in limits.hpp.

#include <cstddef>

namespace farshore::limits {

constexpr std::size_t tests_per_point_max = 16;      ///< results; the oldest go
constexpr std::size_t test_message_bytes_max = 2048; ///< of one result: its last lines
constexpr std::size_t test_name_bytes_max = 64;

} // namespace farshore::limits
