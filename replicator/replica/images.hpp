#pragma once
// The replica images of a group: raw files or block devices, one a volume. Blocks go in and out
// whole; the last block of a volume whose size is no multiple of 4 KiB is padded with zeroes in
// memory and trimmed on the way out.
//
// After a failed sync nothing is read any more (errc::dead): the kernel drops pages that it could
// not write, so a block may show what was there before the last commit. Opened again from that
// commit, the group writes it once more from its journal.
//
// Threads: reads from any thread; writes, zero and sync by one thread at a time.

#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"
#include "replicator/format/group_state.hpp"
#include "replicator/storage/file_system.hpp"

#include <atomic>
#include <memory>
#include <span>
#include <vector>

namespace farshore {

class replica_images {
  public:
    /// Makes sparse files of the right size where there are none; checks what is there. An image in
    /// `own_directory` has a name that we gave it: it is not followed through a symbolic link.
    static result<> create(file_system &files, std::span<const group_volume> volumes,
                           const std::string &own_directory);
    /// Opens and locks all (errc::busy); errc::mismatch when a size is wrong.
    static result<std::unique_ptr<replica_images>> open(file_system &files,
                                                        std::span<const group_volume> volumes,
                                                        const std::string &own_directory);

    /// errc::not_found, naming the image, when the path of one leads to it no more: what is written
    /// to it is lost with this process. Any thread.
    result<> check_named() const;
    /// How each image is now; what was not synced counts.
    result<std::vector<image_stamp>> stamps() const;
    bool has_times(volume_index volume) const {
        return !images_[volume.value].disk->block_special();
    }
    /// Not known to be durable with its times: written since the last sync(), or not synced yet.
    bool dirty(volume_index volume) const { return images_[volume.value].dirty; }
    const std::string &path(volume_index volume) const {
        return images_[volume.value].disk->path();
    }

    /// Blocks of each volume.
    std::span<const std::uint64_t> volume_blocks() const { return blocks_; }
    std::uint64_t size(volume_index volume) const { return images_[volume.value].size; }

    result<> read(volume_index volume, byte_range range, bytes_span out) const;
    /// Whole blocks, zero-padded past the volume's end.
    result<> read_blocks(volume_index volume, std::uint64_t block, bytes_span out) const;
    /// The same if it needs no waiting, and nothing past the volume's end; else false.
    result<bool> try_read_blocks(volume_index volume, std::uint64_t block, bytes_span out) const;
    result<> write_blocks(volume_index volume, std::uint64_t block, bytes_view content);
    result<> zero_blocks(volume_index volume, std::uint64_t block, std::uint64_t count);
    /// As file::next_data, not beyond the volume's end.
    result<byte_range> next_data(volume_index volume, std::uint64_t offset) const;
    /// What was written is durable on return, and the times of the files. A failure is final.
    result<> sync();
    /// As file::renew_times; durable with the next sync().
    result<> renew_times();

  private:
    /// errc::dead after a failed sync of any image.
    result<> check_kept(volume_index volume) const;

    struct image {
        std::unique_ptr<file> disk;
        std::uint64_t size = 0;
        bool dirty = true; ///< at first: who wrote it last may have been killed before the sync
    };
    std::vector<image> images_;
    std::vector<std::uint64_t> blocks_;
    std::atomic<bool> lost_{false}; ///< a sync failed: what was written since the last may be gone
};

} // namespace farshore
