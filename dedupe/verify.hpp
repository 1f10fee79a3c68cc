#pragma once
// The encoder's self-check (encoder_options::verify): decodes what was just encoded and compares.

#include "dedupe/codec.hpp"

namespace farshore::dedupe {

/// Decodes the payloads against the changes' own `before` and compares the outcome with the
/// changes, in both directions. A difference is a bug of the codec (or bad memory) and aborts the
/// process before a wrong byte leaves it.
void verify_payloads(std::span<const block_change> changes,
                     std::span<const encoded_payload> payloads);

} // namespace farshore::dedupe
