#pragma once
// Which blocks a packed stretch may have facts of: a blocked Bloom filter (Putze, Sanders, Singler:
// Cache-, Hash- and Space-Efficient Bloom Filters), 64 bits a block of it, four of them set by each
// key; long runs of zero blocks stand beside it one by one. About one key in forty is said to be
// there and is not.
//
// Little-endian, 8 bytes:
//   off size name             meaning, valid range
//     0    4 words            at least 1
//     4    4 reserved         zero
// Then the words (8 bytes each), then the long runs, in order, 16 bytes each:
//   off size name             meaning, valid range
//     0    8 key              volume << 48 | block
//     8    8 count            blocks

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"

#include <cstdint>
#include <vector>

namespace farshore {

class packed_filter {
  public:
    /// For about so many rows.
    explicit packed_filter(std::uint64_t rows);
    /// Keys in any order; long runs in theirs.
    void add(std::uint64_t key, std::uint64_t count);
    bool may_hold(std::uint64_t key) const;

    byte_vector encode() const;
    /// errc::corrupt.
    static result<packed_filter> parse(bytes_view bytes);

  private:
    struct long_run {
        std::uint64_t key = 0;
        std::uint64_t count = 0;
    };

    std::vector<std::uint64_t> words_;
    std::vector<long_run> runs_;
};

} // namespace farshore
