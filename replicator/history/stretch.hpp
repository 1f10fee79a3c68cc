#pragma once
// One packed stretch, read. In memory: where its sections are, the first key of each page, points
// and streams; the filter as long as somebody reads old points.
//
// Everything that is read is checked: errc::corrupt names the file. The file may be removed while
// it is open.
//
// Threads: any.

#include "replicator/format/packed_filter.hpp"
#include "replicator/format/packed_stretch.hpp"
#include "replicator/history/piece_cache.hpp"
#include "replicator/storage/file_system.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace farshore {

class stretch {
  public:
    /// errc::corrupt, also for another group's; errc::unsupported; the disk's.
    static result<std::shared_ptr<const stretch>> open(file_system &files, const std::string &path,
                                                       const std::array<std::byte, 16> &identity);

    const packed_foot &foot() const { return foot_; }
    const std::vector<packed_point> &points() const { return lists_.points; }
    const std::vector<packed_stream> &streams() const { return lists_.streams; }
    const std::string &path() const { return file_->path(); }
    std::uint64_t file_bytes() const { return file_bytes_; }

    /// Read at its first use; null: it can't be, and the rows say for themselves.
    std::shared_ptr<const packed_filter> filter() const;
    /// Gives the filter's memory back.
    void forget_filter() const;

    /// For each part of [block, block + count) the first row of an interval after `after`, trimmed
    /// to it; in order. Appends to `out`.
    result<> find(volume_index volume, std::uint64_t block, std::uint64_t count, interval_id after,
                  packed_caches &caches, std::vector<packed_row> &out) const;
    /// Content of a full row or of a delta (apply_packed_delta).
    result<> read(const packed_row &row, packed_caches &caches, bytes_span out) const;

    /// Every row, in order. Any error of `fn` ends it.
    result<> visit(const std::function<result<>(const packed_row &)> &fn) const;
    /// Reads a unit and checks it.
    result<> check_unit(std::uint64_t unit) const;
    result<std::vector<packed_row>> read_page(std::uint64_t page) const;

  private:
    stretch(std::unique_ptr<file> f, std::uint64_t bytes);
    result<> load(const std::array<std::byte, 16> &identity);
    result<std::shared_ptr<const buffer>> read_unit(std::uint64_t unit) const;
    result<std::shared_ptr<const std::vector<packed_row>>> load_page(std::uint64_t page) const;
    std::unexpected<error> in_file(const error &e) const;

    std::unique_ptr<file> file_;
    std::uint64_t file_bytes_;
    std::uint64_t number_; ///< of this object, for the cache
    packed_foot foot_;
    std::vector<std::uint64_t> keys_;
    packed_lists lists_;
    mutable std::mutex mutex_; ///< guards filter_
    mutable std::shared_ptr<const packed_filter> filter_;
};

} // namespace farshore
