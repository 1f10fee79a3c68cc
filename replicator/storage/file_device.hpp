#pragma once
// A block_device over one file or real block device: the bottom of every stack of devices.
//
// Threads: as block_device; no lock of its own. try_write writes at once: a buffered write goes to
// the page cache. Durability: flush() is one fdatasync, shared by those who wait at the same time;
// after a failed one every write and flush fails with errc::dead. The size is fixed at open and
// need not be a multiple of anything; requests beyond it are bugs of the caller (asserted).

#include "replicator/storage/block_device.hpp"
#include "replicator/storage/file_system.hpp"

#include <memory>

namespace farshore {

class file_device final : public block_device {
  public:
    /// Takes the file as it is (opened for writing unless `read_only`; locked or not); the size is
    /// what the file has now. Errors: those of file::size().
    static result<std::unique_ptr<file_device>> open(std::shared_ptr<file> backing,
                                                     bool read_only = false);

    std::uint64_t size() const override { return size_; }
    bool read_only() const override { return read_only_; }

    result<> read(std::uint64_t offset, bytes_span out) override;
    result<bool> try_read(std::uint64_t offset, bytes_span out) override;
    result<> write(std::uint64_t offset, bytes_view data, bool fua) override;
    result<bool> try_write(std::uint64_t offset, bytes_view data) override;
    result<> flush() override;
    /// Gives the space back; the range reads as zero.
    result<> trim(byte_range range, bool fua) override;
    result<> write_zeroes(byte_range range, zero_options options) override;
    /// Only where there is nothing to do: the range is a hole.
    result<bool> try_zero(byte_range range, zero_options options) override;
    /// allocation: a hole of the file is {HOLE, ZERO}, all else is data. dirty: errc::unsupported.
    result<std::vector<status_extent>> status(byte_range range, status_context context,
                                              std::size_t max) override;

  private:
    file_device(std::shared_ptr<file> backing, std::uint64_t size, bool read_only)
        : file_(std::move(backing)), size_(size), read_only_(read_only) {}
    void assert_inside(std::uint64_t offset, std::uint64_t length) const;

    std::shared_ptr<file> file_;
    std::uint64_t size_;
    bool read_only_;
};

} // namespace farshore
