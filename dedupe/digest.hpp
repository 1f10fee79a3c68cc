#pragma once
// Digests that decide identity across the line: catch-up and verify compare ranges of both sides by
// them. SHA-256 over (32-byte key, range bytes), truncated to 128 bits; the key is the
// receiver's, one a group and life of the daemon, told to the sender over TLS and secret to the
// pair, so that hostile guest data can't be built to collide. Birthday bound at 1 PiB of 4 KiB
// blocks: 9e-17. Own choice of construction; SHA-NI makes it about 0.5
// core-s per GB.

#include "replicator/base/bytes.hpp"

#include <array>
#include <cstdint>
#include <memory>

namespace farshore::dedupe {

using digest_key = std::array<std::byte, 32>;

struct range_digest {
    std::array<std::byte, 16> bytes{};
    bool operator==(const range_digest &) const = default;
    /// The value that stands for "all bytes are zero", whatever the key and length: all-zero bits.
    bool is_zero_content() const { return *this == range_digest{}; }
};

/// Reusable hasher (one EVP context); not thread-safe, cheap to make one per thread.
class digester {
  public:
    explicit digester(const digest_key &key);
    ~digester();
    digester(digester &&) noexcept;
    /// Digest of the bytes; the zero-content value when all are zero.
    range_digest of(bytes_view bytes);

  private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace farshore::dedupe
