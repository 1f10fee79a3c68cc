#pragma once
// One volume as of a point, writable: what is written goes to files of its own, and the point stays
// as it is. A block of 4 KiB is as the point has it until it is first written; from then on it is
// the overlay's for good. Trimmed and zeroed blocks are holes of the overlay, without space.
//
// Files: DATA is sparse, a block stands at its own offset; MAP says which ones stand there
// (format/overlay_header.hpp).
//
// Durability. flush() takes the map as it is, syncs DATA, then writes that map and syncs it. So a
// block that MAP has is whole in DATA, and after a crash a flushed write is there, while of others
// each sector is as before or as written. What DATA holds of a block that MAP doesn't have is never
// read: the first write to a block puts it there as a whole, with the rest copied from the point.
// A failed sync is final: the overlay takes no more writes, as after it nobody knows what is there.
//
// Space: overlay_space.hpp; ENOSPC leaves what was there before.
//
// Threads: as block_device. Writers of overlapping MiBs take turns; readers wait for nobody.

#include "replicator/base/geometry.hpp"
#include "replicator/base/types.hpp"
#include "replicator/replica/overlay_map.hpp"
#include "replicator/replica/overlay_space.hpp"
#include "replicator/storage/block_device.hpp"
#include "replicator/storage/file_system.hpp"

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

namespace farshore {

class point_overlay final : public block_device {
  public:
    struct place {
        std::string data; ///< paths
        std::string map;
        interval_id point; ///< the map is of this one
    };

    /// Makes both files, durably but for their names. Errors: the disk's; a file is there already.
    static result<> create(file_system &files, const place &where, std::uint64_t volume_bytes);
    /// Opens what create() made. errc::corrupt: the map is damaged, or of another point or volume.
    static result<std::unique_ptr<point_overlay>> open(file_system &files, const place &where,
                                                       std::shared_ptr<block_device> below,
                                                       std::shared_ptr<overlay_space> space);
    ~point_overlay() override;

    std::uint64_t size() const override { return size_; }
    bool read_only() const override { return false; }
    result<> read(std::uint64_t offset, bytes_span out) override;
    result<bool> try_read(std::uint64_t offset, bytes_span out) override;
    result<> write(std::uint64_t offset, bytes_view data, bool fua) override;
    result<bool> try_write(std::uint64_t, bytes_view) override { return false; } // needs the disk
    result<> flush() override;
    result<> trim(byte_range range, bool fua) override;
    result<> write_zeroes(byte_range range, zero_options options) override;
    /// allocation: what is in the overlay by its map, else as the point says. dirty: nothing is.
    result<std::vector<status_extent>> status(byte_range range, status_context context,
                                              std::size_t max) override;

  private:
    static constexpr std::size_t stripes = 64;
    static constexpr std::uint64_t stripe_bytes = 1024 * 1024;
    /// Of one write: what was taken of the space for it.
    struct taking {
        index_range blocks;
        std::uint64_t fresh = 0; ///< blocks
        std::uint64_t pages = 0; ///< of the map
    };
    class turn;

    point_overlay(std::unique_ptr<file> data, std::unique_ptr<file> map,
                  std::shared_ptr<block_device> below, std::shared_ptr<overlay_space> space)
        : data_(std::move(data)), map_file_(std::move(map)), below_(std::move(below)),
          space_(std::move(space)), size_(below_->size()) {}
    result<> load();
    result<> find_holes();

    overlay_map::run look(std::uint64_t block, std::uint64_t count) const;
    result<taking> take(index_range blocks, bool content);
    void keep(const taking &taken, overlay_map::state what);
    void undo(const taking &taken);
    result<> write_here(std::uint64_t offset, bytes_view data);
    result<> put(std::uint64_t offset, bytes_view data);
    result<> put_part(std::uint64_t offset, bytes_view part);
    result<> zero_whole(index_range blocks, zero_options options);
    result<> check_alive() const;
    /// Of a sync: nobody knows what a failed one left.
    result<> final(result<> synced);

    std::unique_ptr<file> data_;
    std::unique_ptr<file> map_file_;
    std::shared_ptr<block_device> below_;
    std::shared_ptr<overlay_space> space_;
    const std::uint64_t size_;
    std::atomic<bool> dead_ = false;        ///< a sync failed
    std::array<std::mutex, stripes> turns_; ///< of writers; held over disk work
    std::mutex flushing_;                   ///< one flush at a time; held over disk work
    mutable std::mutex mutex_;              ///< guards map_; not held over disk work
    overlay_map map_;
    std::uint64_t taken_blocks_ = 0; ///< of space_, with mutex_
};

} // namespace farshore
