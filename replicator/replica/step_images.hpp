#pragma once
// The images while a step of apply is made: nothing changes them until it is written, so what was
// read of them, or found out about their holes, holds until then.
//
// Threads: one at a time.

#include "dedupe/content_cache.hpp"
#include "replicator/replica/images.hpp"

#include <optional>
#include <vector>

namespace farshore {

class step_images {
  public:
    step_images(replica_images &images, std::size_t kept_bytes_max);

    /// The first data at or after `offset`; length 0: none.
    result<byte_range> next_data(volume_index volume, std::uint64_t offset);
    /// Whole blocks; what is kept of them is not read again, the rest in runs.
    result<> read(volume_index volume, std::uint64_t block, bytes_span out);
    /// One block, kept: others are rebuilt from it, they may be again, and its own old content is
    /// undo.
    result<> read_and_keep(volume_index volume, std::uint64_t block, bytes_span out);
    /// The step was written.
    void changed();

  private:
    struct known_data {
        std::uint64_t from = 0;
        byte_range data;
    };

    replica_images &images_;
    std::vector<std::optional<known_data>> data_; ///< of each volume
    dedupe::content_cache kept_;
};

} // namespace farshore
