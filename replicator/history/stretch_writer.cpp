#include "replicator/history/stretch_writer.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/format/endian.hpp"

namespace farshore {

stretch_writer::stretch_writer(std::unique_ptr<file> out, stretch_options options)
    : out_(std::move(out)), options_(options), compressor_(options.level),
      page_(options.first_interval), filter_(options.rows_about) {}

result<std::unique_ptr<stretch_writer>>
stretch_writer::create(file_system &files, const std::string &path, stretch_options options) {
    FS_TRY(out, files.open(path, open_mode::create));
    FS_CHECK(out->truncate(0));
    std::unique_ptr<stretch_writer> writer(new stretch_writer(std::move(out), options));
    FS_CHECK(writer->append(encode_packed_head(options.identity)));
    return writer;
}

result<> stretch_writer::append(bytes_view bytes) {
    FS_CHECK(out_->write_at(at_, bytes));
    at_ += bytes.size();
    return {};
}

result<> stretch_writer::add_zero(packed_row row, std::size_t window) {
    row.kind = packed_kind::zero;
    row.length = 0;
    return add_row(row, window, 0);
}

result<> stretch_writer::add_copy(packed_row row, std::size_t window, bytes_view content) {
    row.kind = packed_kind::copy;
    row.length = 0;
    row.checksum = checksum64(content);
    return add_row(row, window, 0);
}

// No runs over the next version, and a checksum that it will not have.
result<> stretch_writer::add_lost(packed_row row, std::size_t window, std::uint64_t checksum) {
    row.kind = packed_kind::delta;
    row.checksum = checksum;
    return add_content(row, window, {});
}

result<> stretch_writer::add_full(packed_row row, std::size_t window, bytes_view content) {
    REPL_ASSERT(content.size() == block_bytes);
    row.kind = packed_kind::full;
    return add_content(row, window, content);
}

result<> stretch_writer::add_delta(packed_row row, std::size_t window, bytes_view content,
                                   std::span<const codec_format::delta_run> runs) {
    scratch_.clear();
    byte_writer w(scratch_);
    std::size_t at = 0;
    for (const codec_format::delta_run &run : runs) {
        w.varint(run.offset - at);
        w.sized_bytes(content.subspan(run.offset, run.length));
        at = std::size_t{run.offset} + run.length;
    }
    REPL_ASSERT(scratch_.size() <= block_bytes);
    row.kind = packed_kind::delta;
    row.checksum = checksum64(content);
    return add_content(row, window, scratch_);
}

result<> stretch_writer::add_content(packed_row row, std::size_t window, bytes_view bytes) {
    row.begins_unit = unit_.size() >= packed_unit_bytes;
    if (row.begins_unit) {
        FS_CHECK(end_unit());
    }
    row.length = static_cast<std::uint32_t>(bytes.size());
    FS_CHECK(add_row(row, window, bytes.size()));
    append_bytes(unit_, bytes);
    return {};
}

result<> stretch_writer::add_row(const packed_row &given, std::size_t window, std::size_t bytes) {
    packed_row row = given;
    row.unit = units_;
    row.offset = static_cast<std::uint32_t>(unit_.size());
    if (!page_.add(row)) {
        end_page();
        const bool added = page_.add(row);
        REPL_ASSERT(added);
    }
    const std::uint64_t key = packed_key(row.volume, row.block);
    if (key != last_key_) {
        filter_.add(key, row.count);
        last_key_ = key;
    }
    ++rows_;
    if (window_bytes_.size() <= window) {
        window_bytes_.resize(window + 1);
    }
    constexpr std::size_t row_about = 8;
    window_bytes_[window] += bytes + row_about;
    return {};
}

result<> stretch_writer::end_unit() {
    byte_vector packed(unit_.size());
    const dedupe::packed_body body = compressor_.compress(unit_, packed);
    bytes_view stored = unit_;
    if (body.packing != dedupe::body_packing::none) {
        stored = bytes_view(packed).first(body.bytes);
    }
    append_packed_unit(unit_table_, {at_, static_cast<std::uint32_t>(stored.size()),
                                     static_cast<std::uint32_t>(unit_.size()), checksum64(stored)});
    FS_CHECK(append(stored));
    ++units_;
    unit_.clear();
    return {};
}

void stretch_writer::end_page() {
    append_struct(keys_, le64(page_.first_key()));
    append_bytes(pages_, page_.take());
}

/// What the file takes goes to the windows as their contents before compression do.
void stretch_writer::share_bytes(packed_foot &foot, std::vector<packed_point> &points) const {
    std::uint64_t sum = 0;
    for (const std::uint64_t bytes : window_bytes_) {
        sum += bytes;
    }
    const double share = sum == 0 ? 0 : static_cast<double>(at_) / static_cast<double>(sum);
    for (std::size_t w = 0; w < window_bytes_.size(); ++w) {
        const auto bytes =
            static_cast<std::uint64_t>(share * static_cast<double>(window_bytes_[w]));
        if (w == 0) {
            foot.leading_bytes = bytes;
        } else {
            REPL_ASSERT(w <= points.size());
            points[w - 1].bytes = bytes;
        }
    }
}

result<> stretch_writer::finish(stretch_facts facts) {
    if (!unit_.empty()) {
        FS_CHECK(end_unit());
    }
    if (!page_.empty()) {
        end_page();
    }
    packed_foot foot;
    foot.first_segment = facts.first_segment;
    foot.last_segment = facts.last_segment;
    foot.first_interval = options_.first_interval;
    foot.last_interval = facts.last_interval;
    foot.moment = facts.moment;
    foot.rows = rows_;
    foot.merges = facts.merges;
    foot.undo_bytes = facts.undo_bytes;
    foot.units = units_;
    foot.units_offset = at_;
    FS_CHECK(append(unit_table_));
    foot.pages = keys_.size() / sizeof(le64);
    foot.pages_offset = at_;
    FS_CHECK(append(pages_));
    foot.keys_offset = at_;
    append_struct(keys_, le64(checksum64(keys_)));
    FS_CHECK(append(keys_));
    const byte_vector filter = filter_.encode();
    foot.filter_offset = at_;
    foot.filter_bytes = filter.size();
    foot.filter_checksum = checksum64(filter);
    FS_CHECK(append(filter));
    share_bytes(foot, facts.points);
    foot.points = facts.points.size();
    foot.points_offset = at_;
    foot.streams = facts.streams.size();
    FS_CHECK(append(encode_packed_points(facts.points, facts.streams)));
    FS_CHECK(append(encode_packed_foot(foot)));
    return out_->sync_data();
}

result<> apply_packed_delta(bytes_view content, bytes_span block) {
    byte_reader r(content);
    std::size_t at = 0;
    while (!r.at_end()) {
        FS_TRY(skip, r.varint());
        FS_TRY(bytes, r.sized_bytes(block.size()));
        if (skip > block.size() - at || bytes.size() > block.size() - at - skip) {
            return fail(errc::corrupt, "packed history: a delta beyond its block");
        }
        at += static_cast<std::size_t>(skip);
        std::ranges::copy(bytes, block.begin() + static_cast<std::ptrdiff_t>(at));
        at += bytes.size();
    }
    return {};
}

} // namespace farshore
