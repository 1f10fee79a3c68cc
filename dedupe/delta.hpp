#pragma once
// The difference of a block to its old version, as runs of new bytes. Pure functions, no state.

#include "replicator/format/codec_payload.hpp"

#include <vector>

namespace farshore::dedupe {

/// Differences closer than this become one run: a run of its own costs two to four bytes of
/// commands.
constexpr std::size_t run_gap_bytes = 8;
/// A delta that costs more than this is not worth reading the base for: the block is sent in full.
constexpr std::size_t delta_cost_max = block_bytes * 6 / 10;

/// Finds the runs in which `after` differs from `before` (both 4096 bytes), into `runs` (cleared
/// first). Returns false, `runs` then unspecified, when literal bytes and commands together would
/// exceed delta_cost_max. Equal blocks give no runs and true.
bool find_runs(bytes_view before, bytes_view after, std::vector<codec_format::delta_run> &runs);

/// Appends the runs' bytes of `after` to `literals`.
void append_literals(bytes_view after, std::span<const codec_format::delta_run> runs,
                     byte_vector &literals);

/// Writes literal bytes over the runs of `block` (the base, 4096 bytes). Returns how many literals
/// were taken; `literals` holds at least as many as the runs are long (checked by parse_commands).
std::size_t apply_runs(std::span<const codec_format::delta_run> runs, bytes_view literals,
                       bytes_span block);

/// Appends `after` minus `before`, byte by byte modulo 256; both of one length.
void append_differences(bytes_view before, bytes_view after, byte_vector &literals);
/// Adds such differences to the bytes that they were taken from.
void add_differences(bytes_span bytes, bytes_view differences);

} // namespace farshore::dedupe
