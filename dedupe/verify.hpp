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
/// in both directions. A difference (errc::mismatch) is a bug of the codec or bad memory; the
/// caller lets no byte of it out. It is no reason to abort: the daemon that encodes is the storage.
result<> verify_payloads(std::span<const block_change> changes,
                         std::span<const std::uint64_t> volume_blocks, const source_reader &source,
                         std::span<const loan> loans, std::span<const encoded_payload> payloads);

} // namespace farshore::dedupe
