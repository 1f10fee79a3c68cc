#pragma once
// The replica images of a group: raw files or block devices, one a volume. Blocks go in and out
// whole; the last block of a volume whose size is no multiple of 4 KiB is padded with zeroes in
// memory and trimmed on the way out.
//
// Threads: reads from any thread; writes, zero and sync by one thread at a time.

#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"
#include "replicator/format/group_state.hpp"
#include "replicator/storage/file_system.hpp"

#include <memory>
#include <span>
#include <vector>

namespace farshore {

class replica_images {
  public:
    /// Makes sparse files of the right size where there are none; checks what is there.
    static result<> create(file_system &files, std::span<const group_volume> volumes);
    /// Opens and locks all (errc::busy); errc::mismatch when a size is wrong.
    static result<std::unique_ptr<replica_images>> open(file_system &files,
                                                        std::span<const group_volume> volumes);

    /// Blocks of each volume.
    std::span<const std::uint64_t> volume_blocks() const { return blocks_; }
    std::uint64_t size(volume_index volume) const { return images_[volume.value].size; }

    result<> read(volume_index volume, byte_range range, bytes_span out) const;
    /// Whole blocks, zero-padded past the volume's end.
    result<> read_blocks(volume_index volume, std::uint64_t block, bytes_span out) const;
    result<> write_blocks(volume_index volume, std::uint64_t block, bytes_view content);
    result<> zero_blocks(volume_index volume, std::uint64_t block, std::uint64_t count);
    /// As file::next_data, not beyond the volume's end.
    result<byte_range> next_data(volume_index volume, std::uint64_t offset) const;
    /// What was written is durable on return. A failure is final.
    result<> sync();

  private:
    struct image {
        std::unique_ptr<file> disk;
        std::uint64_t size = 0;
        bool dirty = false;
    };
    std::vector<image> images_;
    std::vector<std::uint64_t> blocks_;
};

} // namespace farshore
