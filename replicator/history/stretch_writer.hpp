#pragma once
// Writes one packed stretch (format/packed_stretch.hpp): rows in the order of volume, block and
// interval, then finish(). Nothing counts before finish() has returned; the file is durable then,
// its name is not.
//
// Memory: the table of pages (a hundredth of what it stands for), the filter, one unit.
//
// Threads: one.

#include "dedupe/compress.hpp"
#include "dedupe/delta.hpp"
#include "replicator/format/packed_filter.hpp"
#include "replicator/format/packed_stretch.hpp"
#include "replicator/storage/file_system.hpp"

#include <memory>
#include <string>
#include <vector>

namespace farshore {

struct stretch_options {
    std::array<std::byte, 16> identity{};
    interval_id first_interval;   ///< of all rows
    std::uint64_t rows_about = 0; ///< at most so many, for the filter
    int level = 3;                ///< zstd
};

/// What the file stands for, and what it lists.
struct stretch_facts {
    std::uint64_t first_segment = 0;
    std::uint64_t last_segment = 0;
    interval_id last_interval;
    interval_id moment;
    std::uint64_t merges = 0;
    std::uint64_t undo_bytes = 0;
    std::vector<packed_point> points; ///< `bytes` are filled in by finish()
    std::vector<packed_stream> streams;
};

class stretch_writer {
  public:
    /// A new file, or one made empty.
    static result<std::unique_ptr<stretch_writer>>
    create(file_system &files, const std::string &path, stretch_options options);

    /// The place of the row, its interval and depth are the caller's; `window`: points that are
    /// listed before the interval.
    result<> add_zero(packed_row row, std::size_t window);
    result<> add_full(packed_row row, std::size_t window, bytes_view content);
    /// `runs` turn the next version of the block into `content`.
    result<> add_delta(packed_row row, std::size_t window, bytes_view content,
                       std::span<const codec_format::delta_run> runs);
    result<> add_copy(packed_row row, std::size_t window, bytes_view content);
    /// A content that can't be read any more, and had this checksum (0: not known): a reader gets
    /// errc::corrupt, but for the case that the next version happens to be the same.
    result<> add_lost(packed_row row, std::size_t window, std::uint64_t checksum);
    std::uint64_t rows() const { return rows_; }

    /// Durable on return.
    result<> finish(stretch_facts facts);

  private:
    stretch_writer(std::unique_ptr<file> out, stretch_options options);
    result<> add_content(packed_row row, std::size_t window, bytes_view bytes);
    result<> add_row(const packed_row &row, std::size_t window, std::size_t bytes);
    result<> end_unit();
    void end_page();
    result<> append(bytes_view bytes);
    void share_bytes(packed_foot &foot, std::vector<packed_point> &points) const;

    std::unique_ptr<file> out_;
    stretch_options options_;
    dedupe::compressor compressor_;
    std::uint64_t at_ = 0; ///< end of the file
    byte_vector unit_;     ///< contents of the one being filled
    std::uint32_t units_ = 0;
    byte_vector unit_table_;
    packed_page_writer page_;
    byte_vector pages_;
    byte_vector keys_;
    packed_filter filter_;
    std::uint64_t rows_ = 0;
    std::uint64_t last_key_ = UINT64_MAX;
    std::vector<std::uint64_t> window_bytes_; ///< contents and rows, not compressed
    byte_vector scratch_;
};

/// A delta's content back to runs, over `block` (the next version). errc::corrupt.
result<> apply_packed_delta(bytes_view content, bytes_span block);

} // namespace farshore
