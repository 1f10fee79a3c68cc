#include "replicator/history/stretch.hpp"

#include "dedupe/compress.hpp"
#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/base/log.hpp"
#include "replicator/format/endian.hpp"

#include <algorithm>
#include <array>
#include <atomic>

namespace farshore {
namespace {

std::uint64_t next_number() {
    static std::atomic<std::uint64_t> last{0};
    return ++last;
}

} // namespace

stretch::stretch(std::unique_ptr<file> f, std::uint64_t bytes)
    : file_(std::move(f)), file_bytes_(bytes), number_(next_number()) {}

result<std::shared_ptr<const stretch>> stretch::open(file_system &files, const std::string &path,
                                                     const std::array<std::byte, 16> &identity) {
    FS_TRY(opened, files.open(path, open_mode::read));
    FS_TRY(bytes, opened->size());
    std::shared_ptr<stretch> s(new stretch(std::move(opened), bytes));
    if (auto loaded = s->load(identity); !loaded) {
        return s->in_file(loaded.error());
    }
    return s;
}

std::unexpected<error> stretch::in_file(const error &e) const {
    return fail(e.code, file_->path() + ": " + e.context);
}

result<> stretch::load(const std::array<std::byte, 16> &identity) {
    if (file_bytes_ < packed_head_bytes + packed_foot_bytes) {
        return fail(errc::corrupt, "packed history cut short");
    }
    std::array<std::byte, packed_head_bytes> head{};
    FS_CHECK(file_->read_at(0, head));
    FS_TRY(whose, parse_packed_head(head));
    if (whose != identity) {
        return fail(errc::corrupt, "packed history of another group");
    }
    std::array<std::byte, packed_foot_bytes> foot{};
    FS_CHECK(file_->read_at(file_bytes_ - foot.size(), foot));
    FS_TRY(parsed, parse_packed_foot(foot, file_bytes_));
    foot_ = parsed;
    byte_vector keys(static_cast<std::size_t>((foot_.pages + 1) * sizeof(le64)));
    FS_CHECK(file_->read_at(foot_.keys_offset, keys));
    const bytes_view all = bytes_view(keys).first(keys.size() - sizeof(le64));
    if (*read_struct<le64>(bytes_view(keys).last(sizeof(le64))) != checksum64(all)) {
        return fail(errc::corrupt, "packed history: its keys fail their checksum");
    }
    byte_reader r(all);
    keys_.reserve(foot_.pages);
    while (!r.at_end()) {
        FS_TRY(key, r.structure<le64>());
        if (!keys_.empty() && key < keys_.back()) {
            return fail(errc::corrupt, "packed history: its keys are out of order");
        }
        keys_.push_back(key);
    }
    byte_vector lists(
        static_cast<std::size_t>(file_bytes_ - packed_foot_bytes - foot_.points_offset));
    FS_CHECK(file_->read_at(foot_.points_offset, lists));
    FS_TRY(read, parse_packed_points(lists, foot_.points, foot_.streams));
    lists_ = std::move(read);
    return {};
}

std::shared_ptr<const packed_filter> stretch::filter() const {
    const std::scoped_lock lock(mutex_);
    if (!filter_) {
        byte_vector bytes(static_cast<std::size_t>(foot_.filter_bytes));
        if (file_->read_at(foot_.filter_offset, bytes) &&
            checksum64(bytes) == foot_.filter_checksum) {
            if (auto parsed = packed_filter::parse(bytes)) {
                filter_ = std::make_shared<const packed_filter>(std::move(*parsed));
            }
        }
    }
    return filter_;
}

void stretch::forget_filter() const {
    const std::scoped_lock lock(mutex_);
    filter_.reset();
}

result<std::vector<packed_row>> stretch::read_page(std::uint64_t page) const {
    REPL_ASSERT(page < foot_.pages);
    std::array<std::byte, packed_page_bytes> bytes;
    FS_CHECK(file_->read_at(foot_.pages_offset + page * packed_page_bytes, bytes));
    auto rows = parse_packed_page(bytes, foot_.first_interval);
    if (!rows) {
        return in_file(rows.error());
    }
    return rows;
}

result<std::shared_ptr<const std::vector<packed_row>>>
stretch::load_page(std::uint64_t page) const {
    FS_TRY(rows, read_page(page));
    return std::make_shared<const std::vector<packed_row>>(std::move(rows));
}

result<> stretch::find(volume_index volume, std::uint64_t block, std::uint64_t count,
                       interval_id after, packed_caches &caches,
                       std::vector<packed_row> &out) const {
    const std::uint64_t first = packed_key(volume, block);
    const std::uint64_t end = first + count;
    auto at = std::ranges::lower_bound(keys_, first);
    // The page before may have a run that reaches here.
    std::uint64_t page = static_cast<std::uint64_t>(at - keys_.begin());
    page -= page > 0 ? 1 : 0;
    std::uint64_t taken = first; // what is before it has its row
    for (; page < foot_.pages && keys_[static_cast<std::size_t>(page)] < end; ++page) {
        FS_TRY(rows, caches.pages.get(number_, page, [&] { return load_page(page); }));
        for (const packed_row &row : *rows) {
            const std::uint64_t key = packed_key(row.volume, row.block);
            if (key >= end) {
                return {};
            }
            if (key + row.count <= taken || row.interval <= after) {
                continue;
            }
            packed_row part = row;
            const std::uint64_t from = std::max(key, taken);
            part.block = packed_block(from);
            part.count = std::min(key + row.count, end) - from;
            taken = from + part.count;
            out.push_back(part);
        }
    }
    return {};
}

result<std::shared_ptr<const buffer>> stretch::read_unit(std::uint64_t unit) const {
    if (unit >= foot_.units) {
        return fail(errc::corrupt, "packed history: a row of no unit");
    }
    std::array<std::byte, packed_unit_entry_bytes> entry{};
    FS_CHECK(file_->read_at(foot_.units_offset + unit * packed_unit_entry_bytes, entry));
    FS_TRY(u, parse_packed_unit(entry));
    if (u.offset > foot_.units_offset || u.stored > foot_.units_offset - u.offset) {
        return fail(errc::corrupt, "packed history: a unit beyond its place");
    }
    buffer stored(u.stored);
    FS_CHECK(file_->read_at(u.offset, stored.span()));
    if (checksum64(stored.view()) != u.checksum) {
        return fail(errc::corrupt, "packed history: a unit fails its checksum");
    }
    if (u.stored == u.raw) {
        return std::make_shared<const buffer>(std::move(stored));
    }
    thread_local dedupe::decompressor unpack;
    buffer raw(u.raw);
    FS_CHECK(unpack.decompress(dedupe::body_packing::zstd, stored.view(), raw.span()));
    return std::make_shared<const buffer>(std::move(raw));
}

result<> stretch::check_unit(std::uint64_t unit) const {
    auto read = read_unit(unit);
    return read ? result<>() : in_file(read.error());
}

result<> stretch::read(const packed_row &row, packed_caches &caches, bytes_span out) const {
    REPL_ASSERT(out.size() == row.length);
    if (row.length == 0) { // a delta of nothing: its unit may be none
        return {};
    }
    const auto read = caches.units.get(number_, row.unit, [&] { return read_unit(row.unit); });
    if (!read) {
        return in_file(read.error());
    }
    const std::shared_ptr<const buffer> &content = *read;
    if (row.offset > content->size() || row.length > content->size() - row.offset) {
        return in_file(error{errc::corrupt, "packed history: a row beyond its unit"});
    }
    std::ranges::copy(content->view().subspan(row.offset, row.length), out.begin());
    return {};
}

result<> stretch::visit(const std::function<result<>(const packed_row &)> &fn) const {
    for (std::uint64_t page = 0; page < foot_.pages; ++page) {
        FS_TRY(rows, read_page(page));
        for (const packed_row &row : rows) {
            FS_CHECK(fn(row));
        }
    }
    return {};
}

} // namespace farshore
