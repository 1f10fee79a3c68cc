#pragma once
// A file or block device of posix_file_system. Only that class makes it.
//
// Threads: all members from several threads at once. Reads and writes take no lock. Syncs go
// through posix_handle, which runs one at a time: the kernel reports a lost write once per open
// file, so of two syncs side by side one could get the error and the other a false success.
// Callers that arrive while a sync runs share the next one.

#include "replicator/base/unique_fd.hpp"
#include "replicator/storage/file_system.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace farshore {

/// The open descriptor and whether it may still be written: shared by a file and its maps.
class posix_handle {
  public:
    posix_handle(unique_fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

    int fd() const { return fd_.get(); }
    const std::string &path() const { return path_; }
    /// errc::dead after a failed sync.
    result<> check_alive() const;
    /// fdatasync, shared with others who wait for it.
    result<> sync();
    /// fsync, by itself.
    result<> sync_all();
    /// msync of a map of this file.
    result<> sync_map(bytes_span map);

  private:
    /// Not beside another sync: each must see its own error.
    template <class F>
    result<> sync_alone(F call, const char *context);

    // A mutex, not a hand-off: a sync blocks its own thread anyway.
    std::mutex mutex_;
    std::condition_variable ended_;
    bool running_ = false;
    std::uint64_t started_ = 0;  ///< number of the last fdatasync that was begun
    std::uint64_t finished_ = 0; ///< number of the last fdatasync that ended well
    std::atomic<bool> dead_ = false;
    unique_fd fd_;
    std::string path_;
};

/// "... is attached to /dev/loop3 ..." when a loop device that may write stands on the open file;
/// else empty.
std::string loop_device_on(int fd, const std::string &path);
/// Of the file system on that device; `unique_mount_id` where the kernel does not tell.
std::uint64_t mounted_instance(unsigned major, unsigned minor, std::uint64_t unique_mount_id);

class posix_file final : public file {
  public:
    posix_file(unique_fd fd, std::string path, bool block_special, bool writable);

    const std::string &path() const override { return handle_->path(); }
    result<std::uint64_t> size() override;
    bool block_special() const override { return block_special_; }
    result<file_identity> identity() override;
    result<bool> named() override;
    result<> read_at(std::uint64_t offset, bytes_span out) override;
    result<bool> read_at_cached(std::uint64_t offset, bytes_span out) override;
    result<> write_at(std::uint64_t offset, bytes_view data) override;
    result<> sync_data() override;
    result<> sync_all() override;
    result<> renew_times() override;
    /// errc::invalid for a block device.
    result<> truncate(std::uint64_t size) override;
    /// Makes a shorter file `size` long. A block device has its space: ENOSPC beyond its end.
    result<> allocate(std::uint64_t size) override;
    /// The part of the range beyond the file's end is ignored.
    result<> zero(byte_range range, bool keep_allocated, bool only_if_fast) override;
    result<byte_range> next_data(std::uint64_t offset) override;
    result<bool> is_hole(byte_range range) override;
    /// Also claims a block device exclusively: errc::busy when it is mounted or part of a RAID or
    /// volume group. Call it before the first write. Locking again is no error.
    result<> lock() override;
    std::string intruder() override { return loop_device_on(handle_->fd(), path()); }
    void expect_scattered_use() override;
    result<> drop_cached() override;
    /// errc::invalid beyond the file's end.
    result<std::unique_ptr<shared_map>> map(std::uint64_t size) override;

  private:
    // posix_holes.cpp
    /// False when the file system or device can't.
    result<bool> zero_fast(byte_range range, int how);
    result<> write_zeroes(byte_range range);

    // posix_exclusion.cpp
    result<> claim_block_device();
    result<> lock_flock();
    result<> lock_image_bytes();
    std::unexpected<error> in_use(const std::string &how) const;

    std::shared_ptr<posix_handle> handle_;
    bool block_special_;
    bool writable_;
    std::atomic<bool> scattered_ = false;
    std::atomic<bool> claimed_ = false; ///< the descriptor is a block device's exclusive one
    std::uint64_t sector_bytes_ = 1;    ///< unit of fallocate: a block device's logical block
    std::atomic<bool> cached_reads_supported_ = true;
    bool holes_told_ = true;               ///< holes_are_told() of the file system
    std::atomic<unsigned> hole_rests_ = 0; ///< is_hole() need not ask so often
    /// mounted_instance(); the open file keeps it mounted. 0: not asked yet.
    std::atomic<std::uint64_t> mounted_ = 0;
};

/// Whether what a file system of this magic number (statfs f_type) says of holes may be believed.
bool holes_are_told(std::uint64_t file_system_magic);

} // namespace farshore
