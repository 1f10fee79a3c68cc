#pragma once
// The encoder's self-check (encoder_options::verify): decodes what was just encoded and compares.

#include "dedupe/codec.hpp"

#include <map>
#include <utility>

namespace farshore::dedupe {

/// Remembers what a source answered: later it may know less, or something newer.
class remembering_source {
  public:
    explicit remembering_source(const source_reader &source);
    const source_reader &reader() const { return ask_; }
    const source_reader &answers() const { return recall_; }

  private:
    std::map<std::pair<volume_index, block_index>, buffer> seen_;
    source_reader ask_;
    source_reader recall_;
};

/// Decodes the payloads against the same reference space and compares the outcome with the changes,
/// in both directions. A difference is a bug of the codec (or bad memory) and aborts the process
/// before a wrong byte leaves it.
void verify_payloads(std::span<const block_change> changes,
                     std::span<const std::uint64_t> volume_blocks, const source_reader &source,
                     std::span<const loan> loans, std::span<const encoded_payload> payloads);

} // namespace farshore::dedupe
