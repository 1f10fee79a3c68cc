#include "replicator/format/packed_stretch.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/endian.hpp"

#include <cstddef>

namespace farshore {
namespace {

constexpr std::array<char, 4> head_magic = {'F', 'S', 'P', '1'};
constexpr std::array<char, 4> foot_magic = {'F', 'S', 'P', 'E'};
constexpr std::uint16_t packed_version = 1;
constexpr unsigned volume_shift = 48; // volume_bytes_max has 2^38 blocks
constexpr std::uint64_t blocks_max = limits::volume_bytes_max / block_bytes;

constexpr std::uint8_t kind_bits = 3;
constexpr unsigned depth_shift = 2;
constexpr std::uint8_t flag_unit = 1 << 5;
constexpr std::uint8_t flag_same = 1 << 6;
constexpr std::uint8_t flag_volume = 1 << 7;

struct head_disk {
    std::array<char, 4> magic;
    le16 version;
    le16 reserved;
    std::array<std::byte, 16> identity;
    std::array<std::byte, 32> unused;
    le64 checksum;
};
static_assert(sizeof(head_disk) == packed_head_bytes && wire_struct<head_disk>);

struct page_disk {
    le64 checksum;
    le32 unit;
    le32 offset;
    le16 rows;
    le16 bytes;
    le32 reserved;
};
static_assert(sizeof(page_disk) == packed_page_header_bytes && wire_struct<page_disk>);

struct unit_disk {
    le64 offset;
    le32 stored;
    le32 raw;
    le64 checksum;
};
static_assert(sizeof(unit_disk) == packed_unit_entry_bytes && wire_struct<unit_disk>);

struct point_disk {
    le64 id;
    le64 time;
    le64 arrival;
    le64 bytes;
};
static_assert(sizeof(point_disk) == packed_point_bytes && wire_struct<point_disk>);

struct stream_disk {
    le64 last;
    le64 stream;
};
static_assert(sizeof(stream_disk) == packed_stream_bytes && wire_struct<stream_disk>);

struct foot_disk {
    std::array<char, 4> magic;
    le16 version;
    le16 reserved;
    le64 first_segment;
    le64 last_segment;
    le64 first_interval;
    le64 last_interval;
    le64 moment;
    le64 rows;
    le64 leading_bytes;
    le64 merges;
    le64 undo_bytes;
    le64 units;
    le64 units_offset;
    le64 pages;
    le64 pages_offset;
    le64 keys_offset;
    le64 filter_offset;
    le64 filter_bytes;
    le64 filter_checksum;
    le64 points;
    le64 points_offset;
    le64 streams;
    std::array<std::byte, 80> unused;
    le64 checksum;
};
static_assert(sizeof(foot_disk) == packed_foot_bytes && wire_struct<foot_disk>);
static_assert(offsetof(foot_disk, points_offset) == 152 && offsetof(foot_disk, checksum) == 248);

template <class Disk>
std::uint64_t checksum_of(const Disk &disk) {
    return checksum64(struct_bytes(disk).first(offsetof(Disk, checksum)));
}

std::unexpected<error> bad(const char *what) {
    return fail(errc::corrupt, std::string("packed history: ") + what);
}

/// What a row needs of the one before it.
struct row_before {
    volume_index volume;
    std::uint64_t block = 0;
    std::uint64_t count = 0;
    interval_id interval;
};

void encode_row(byte_vector &out, const packed_row &row, const packed_row &last, bool first,
                interval_id first_interval) {
    const row_before before =
        first ? row_before{} : row_before{last.volume, last.block, last.count, last.interval};
    const bool same = !first && row.volume == before.volume && row.block == before.block;
    const bool other_volume = row.volume != before.volume;
    byte_writer w(out);
    w.u8(static_cast<std::uint8_t>(static_cast<unsigned>(row.kind) |
                                   static_cast<unsigned>(row.depth) << depth_shift |
                                   (row.begins_unit ? flag_unit : 0U) | (same ? flag_same : 0U) |
                                   (other_volume ? flag_volume : 0U)));
    if (other_volume) {
        w.varint(row.volume.value);
    }
    if (!same) {
        w.varint(row.block - (other_volume ? 0 : before.block + before.count));
        if (row.kind == packed_kind::zero) {
            w.varint(row.count);
        }
    }
    w.varint(row.interval.value - (same ? before.interval : first_interval).value);
    if (row.kind == packed_kind::delta) {
        w.varint(row.length);
    }
    if (row.kind == packed_kind::copy) {
        w.varint(row.from_volume.value);
        w.varint(row.from_block);
    }
    if (row.kind == packed_kind::delta || row.kind == packed_kind::copy) {
        w.structure(le64(row.checksum));
    }
}

bool read_place(byte_reader &r, std::uint8_t flags, const row_before &before, packed_row &row) {
    row.volume = before.volume;
    if ((flags & flag_volume) != 0) {
        std::uint64_t volume = 0;
        if (!r.try_varint(volume) || volume >= limits::volumes_per_group_max ||
            (flags & flag_same) != 0) {
            return false;
        }
        row.volume = volume_index{static_cast<std::uint16_t>(volume)};
    }
    if ((flags & flag_same) != 0) {
        row.block = before.block;
        row.count = before.count;
        return before.count == 1;
    }
    if (!r.try_varint(row.block) || row.block > blocks_max) {
        return false;
    }
    row.block += (flags & flag_volume) != 0 ? 0 : before.block + before.count;
    if (row.kind == packed_kind::zero && (!r.try_varint(row.count) || row.count == 0)) {
        return false;
    }
    return row.block < blocks_max && row.count <= blocks_max - row.block;
}

/// Behind place and interval.
bool read_content(byte_reader &r, packed_row &row) {
    if (row.kind == packed_kind::full) {
        row.length = block_bytes;
    }
    if (row.kind == packed_kind::delta) {
        std::uint64_t length = 0;
        if (!r.try_varint(length) || length > block_bytes) {
            return false;
        }
        row.length = static_cast<std::uint32_t>(length);
    }
    if (row.kind == packed_kind::copy) {
        std::uint64_t volume = 0;
        if (!r.try_varint(volume) || volume >= limits::volumes_per_group_max ||
            !r.try_varint(row.from_block) || row.from_block >= blocks_max) {
            return false;
        }
        row.from_volume = volume_index{static_cast<std::uint16_t>(volume)};
    }
    if (row.kind == packed_kind::delta || row.kind == packed_kind::copy) {
        bytes_view sum;
        if (!r.try_bytes(sizeof(le64), sum)) {
            return false;
        }
        row.checksum = *read_struct<le64>(sum);
    }
    return true;
}

bool read_row(byte_reader &r, const row_before &before, interval_id first_interval,
              packed_row &row) {
    std::uint8_t flags = 0;
    if (!r.try_u8(flags)) {
        return false;
    }
    row.kind = static_cast<packed_kind>(flags & kind_bits);
    row.depth = static_cast<std::uint8_t>(flags >> depth_shift & packed_depth_max);
    row.begins_unit = (flags & flag_unit) != 0;
    std::uint64_t since = 0;
    if (!read_place(r, flags, before, row) || !r.try_varint(since)) {
        return false;
    }
    const bool same = (flags & flag_same) != 0;
    const std::uint64_t base = (same ? before.interval : first_interval).value;
    if ((same && since == 0) || since > limits::interval_id_max - base) {
        return false;
    }
    row.interval = interval_id{base + since};
    return read_content(r, row);
}

} // namespace

std::uint64_t packed_key(volume_index volume, std::uint64_t block) {
    return std::uint64_t{volume.value} << volume_shift | block;
}
volume_index packed_volume(std::uint64_t key) {
    return volume_index{static_cast<std::uint16_t>(key >> volume_shift)};
}
std::uint64_t packed_block(std::uint64_t key) {
    return key & ((std::uint64_t{1} << volume_shift) - 1);
}

bool packed_page_writer::add(const packed_row &row) {
    const std::size_t before = bytes_.size();
    encode_row(bytes_, row, last_, rows_ == 0, first_interval_);
    if (bytes_.size() > packed_page_bytes - packed_page_header_bytes) {
        bytes_.resize(before);
        return false;
    }
    if (rows_ == 0) {
        first_key_ = packed_key(row.volume, row.block);
        unit_ = row.unit;
        offset_ = row.offset;
    }
    ++rows_;
    last_ = row;
    return true;
}

byte_vector packed_page_writer::take() {
    page_disk disk{};
    disk.unit = unit_;
    disk.offset = offset_;
    disk.rows = rows_;
    disk.bytes = static_cast<std::uint16_t>(bytes_.size());
    byte_vector page;
    page.reserve(packed_page_bytes);
    append_struct(page, disk);
    append_bytes(page, bytes_);
    page.resize(packed_page_bytes);
    disk.checksum = checksum64(bytes_view(page).subspan(sizeof(le64)));
    write_struct(page, disk);
    bytes_.clear();
    rows_ = 0;
    last_ = {};
    return page;
}

result<std::vector<packed_row>> parse_packed_page(bytes_view page, interval_id first_interval) {
    FS_TRY(disk, read_struct<page_disk>(page));
    if (page.size() != packed_page_bytes ||
        disk.checksum != checksum64(page.subspan(sizeof(le64)))) {
        return bad("a page of its table fails its checksum");
    }
    if (disk.rows == 0 || disk.bytes > packed_page_bytes - packed_page_header_bytes ||
        disk.offset > packed_unit_raw_max || disk.reserved != 0) {
        return bad("a page of its table with a field out of range");
    }
    byte_reader r(page.subspan(packed_page_header_bytes, disk.bytes));
    std::vector<packed_row> rows(disk.rows);
    row_before before;
    std::uint32_t unit = disk.unit;
    std::uint32_t offset = disk.offset;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        packed_row &row = rows[i];
        if (!read_row(r, before, first_interval, row) || (i == 0 && row.count == 0)) {
            return bad("a row of its table that is none");
        }
        if (row.begins_unit && i > 0) { // the page's header has counted it for the first row
            ++unit;
            offset = 0;
        }
        row.unit = unit;
        row.offset = offset;
        offset += row.length;
        if (offset > packed_unit_raw_max) {
            return bad("a row of its table beyond its unit");
        }
        before = {row.volume, row.block, row.count, row.interval};
    }
    FS_CHECK(r.expect_end());
    return rows;
}

void append_packed_unit(byte_vector &out, const packed_unit &unit) {
    unit_disk disk{};
    disk.offset = unit.offset;
    disk.stored = unit.stored;
    disk.raw = unit.raw;
    disk.checksum = unit.checksum;
    append_struct(out, disk);
}

result<packed_unit> parse_packed_unit(bytes_view bytes) {
    FS_TRY(disk, read_struct<unit_disk>(bytes));
    if (disk.stored == 0 || disk.stored > disk.raw || disk.raw > packed_unit_raw_max ||
        disk.offset < packed_head_bytes) {
        return bad("an entry of its unit table out of range");
    }
    return packed_unit{disk.offset, disk.stored, disk.raw, disk.checksum};
}

byte_vector encode_packed_points(std::span<const packed_point> points,
                                 std::span<const packed_stream> streams) {
    byte_vector out;
    for (const packed_point &p : points) {
        append_struct(
            out,
            point_disk{p.id.value, static_cast<std::uint64_t>(p.time.time_since_epoch().count()),
                       static_cast<std::uint64_t>(p.arrival.time_since_epoch().count()), p.bytes});
    }
    for (const packed_stream &s : streams) {
        append_struct(out, stream_disk{s.last.value, s.stream.value});
    }
    append_struct(out, le64(checksum64(out)));
    return out;
}

result<packed_lists> parse_packed_points(bytes_view bytes, std::uint64_t points,
                                         std::uint64_t streams) {
    if (bytes.size() < sizeof(le64) || points > bytes.size() || streams > bytes.size() ||
        bytes.size() !=
            points * packed_point_bytes + streams * packed_stream_bytes + sizeof(le64) ||
        *read_struct<le64>(bytes.last(sizeof(le64))) !=
            checksum64(bytes.first(bytes.size() - sizeof(le64)))) {
        return bad("its list of points fails its checksum");
    }
    const auto time_of = [](std::uint64_t ns) {
        return wall_time(duration(static_cast<std::int64_t>(ns)));
    };
    packed_lists lists;
    byte_reader r(bytes);
    for (std::uint64_t i = 0; i < points; ++i) {
        FS_TRY(p, r.structure<point_disk>());
        if (p.id == 0 || p.id > limits::interval_id_max ||
            (i > 0 && interval_id{p.id} <= lists.points.back().id)) {
            return bad("a point out of order");
        }
        lists.points.push_back({interval_id{p.id}, time_of(p.time), time_of(p.arrival), p.bytes});
    }
    for (std::uint64_t i = 0; i < streams; ++i) {
        FS_TRY(s, r.structure<stream_disk>());
        lists.streams.push_back({interval_id{s.last}, stream_id{s.stream}});
    }
    return lists;
}

byte_vector encode_packed_head(const std::array<std::byte, 16> &identity) {
    head_disk disk{};
    disk.magic = head_magic;
    disk.version = packed_version;
    disk.identity = identity;
    disk.checksum = checksum_of(disk);
    byte_vector out;
    append_struct(out, disk);
    return out;
}

result<std::array<std::byte, 16>> parse_packed_head(bytes_view bytes) {
    FS_TRY(disk, read_struct<head_disk>(bytes));
    if (disk.magic != head_magic || disk.checksum != checksum_of(disk)) {
        return bad("no head, or one that fails its checksum");
    }
    if (disk.version != packed_version) {
        return fail(errc::unsupported,
                    "packed history of version " + std::to_string(disk.version.get()));
    }
    if (disk.reserved != 0 || !is_zero(disk.unused)) {
        return bad("a head with a field out of range");
    }
    return disk.identity;
}

byte_vector encode_packed_foot(const packed_foot &f) {
    foot_disk disk{};
    disk.magic = foot_magic;
    disk.version = packed_version;
    disk.first_segment = f.first_segment;
    disk.last_segment = f.last_segment;
    disk.first_interval = f.first_interval.value;
    disk.last_interval = f.last_interval.value;
    disk.moment = f.moment.value;
    disk.rows = f.rows;
    disk.leading_bytes = f.leading_bytes;
    disk.merges = f.merges;
    disk.undo_bytes = f.undo_bytes;
    disk.units = f.units;
    disk.units_offset = f.units_offset;
    disk.pages = f.pages;
    disk.pages_offset = f.pages_offset;
    disk.keys_offset = f.keys_offset;
    disk.filter_offset = f.filter_offset;
    disk.filter_bytes = f.filter_bytes;
    disk.filter_checksum = f.filter_checksum;
    disk.points = f.points;
    disk.points_offset = f.points_offset;
    disk.streams = f.streams;
    disk.checksum = checksum_of(disk);
    byte_vector out;
    append_struct(out, disk);
    return out;
}

namespace {

/// Sections lie back to back, from the units' end to the foot.
bool sections_fit(const packed_foot &f, std::uint64_t file_bytes) {
    const auto section = [file_bytes](std::uint64_t offset, std::uint64_t count, std::uint64_t each,
                                      std::uint64_t more, std::uint64_t end) {
        return offset <= file_bytes && count <= file_bytes && count * each + more <= file_bytes &&
               offset + count * each + more == end;
    };
    return f.units_offset >= packed_head_bytes &&
           section(f.units_offset, f.units, packed_unit_entry_bytes, 0, f.pages_offset) &&
           section(f.pages_offset, f.pages, packed_page_bytes, 0, f.keys_offset) &&
           section(f.keys_offset, f.pages, sizeof(le64), sizeof(le64), f.filter_offset) &&
           section(f.filter_offset, f.filter_bytes, 1, 0, f.points_offset) &&
           f.streams <= file_bytes &&
           section(f.points_offset, f.points, packed_point_bytes,
                   f.streams * packed_stream_bytes + sizeof(le64), file_bytes - packed_foot_bytes);
}

} // namespace

result<packed_foot> parse_packed_foot(bytes_view bytes, std::uint64_t file_bytes) {
    FS_TRY(disk, read_struct<foot_disk>(bytes));
    if (disk.magic != foot_magic || disk.checksum != checksum_of(disk)) {
        return bad("no foot, or one that fails its checksum");
    }
    if (disk.version != packed_version) {
        return fail(errc::unsupported,
                    "packed history of version " + std::to_string(disk.version.get()));
    }
    packed_foot f;
    f.first_segment = disk.first_segment;
    f.last_segment = disk.last_segment;
    f.first_interval = interval_id{disk.first_interval};
    f.last_interval = interval_id{disk.last_interval};
    f.moment = interval_id{disk.moment};
    f.rows = disk.rows;
    f.leading_bytes = disk.leading_bytes;
    f.merges = disk.merges;
    f.undo_bytes = disk.undo_bytes;
    f.units = disk.units;
    f.units_offset = disk.units_offset;
    f.pages = disk.pages;
    f.pages_offset = disk.pages_offset;
    f.keys_offset = disk.keys_offset;
    f.filter_offset = disk.filter_offset;
    f.filter_bytes = disk.filter_bytes;
    f.filter_checksum = disk.filter_checksum;
    f.points = disk.points;
    f.points_offset = disk.points_offset;
    f.streams = disk.streams;
    const bool ranges = f.first_segment >= 1 && f.first_segment <= f.last_segment &&
                        f.first_interval.value >= 1 && f.first_interval <= f.last_interval &&
                        f.last_interval.value <= limits::interval_id_max &&
                        f.moment <= f.last_interval && f.rows <= packed_rows_max;
    if (!ranges || disk.reserved != 0 || !is_zero(disk.unused) ||
        file_bytes < packed_head_bytes + packed_foot_bytes || !sections_fit(f, file_bytes)) {
        return bad("a foot with a field out of range");
    }
    return f;
}

} // namespace farshore
