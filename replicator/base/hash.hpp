#pragma once
// XXH3 checksums: they guard against accidents. They never decide that two blocks are the same;
// that is for dedupe/digest.hpp (keyed, collision resistant) or a compare of the bytes.

#include "replicator/base/bytes.hpp"

#include <cstdint>

namespace farshore {

std::uint64_t checksum64(bytes_view bytes, std::uint64_t seed = 0);

struct checksum128 {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    bool operator==(const checksum128 &) const = default;
};
checksum128 checksum_128(bytes_view bytes, std::uint64_t seed = 0);

/// Checksum over several pieces in order.
class checksum_stream {
  public:
    checksum_stream();
    ~checksum_stream();
    checksum_stream(checksum_stream &&) noexcept;
    checksum_stream &operator=(checksum_stream &&) noexcept;
    void update(bytes_view bytes);
    std::uint64_t digest64() const;
    checksum128 digest128() const;

  private:
    struct state;
    state *state_;
};

} // namespace farshore
