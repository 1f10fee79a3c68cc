#include "replicator/format/undo_record.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/endian.hpp"

#include <fmt/format.h>

#include <cstddef>

namespace farshore {
namespace {

constexpr std::array<char, 4> undo_magic = {'F', 'S', 'U', '1'};
constexpr std::uint16_t undo_version = 2;
constexpr std::uint16_t flag_last = 1;
constexpr std::uint16_t flag_consistent = 2;
constexpr std::uint16_t flag_point = 4;

struct undo_header_disk {
    std::array<char, 4> magic;
    le16 version;
    le16 flags;
    le64 stream;
    le64 interval;
    le32 part;
    le32 entries;
    le64 content_bytes;
    le64 time_ns;
    le64 damage_count;
    le64 healed_count;
    le64 synced_segment;
    le64 synced_offset;
    le64 entries_checksum;
    le64 arrival_ns;
    le64 written;
    std::array<std::byte, 16> reserved;
    le64 header_checksum;
};
static_assert(sizeof(undo_header_disk) == undo_header_bytes && wire_struct<undo_header_disk>);
static_assert(offsetof(undo_header_disk, part) == 24);
static_assert(offsetof(undo_header_disk, time_ns) == 40);
static_assert(offsetof(undo_header_disk, entries_checksum) == 80);
static_assert(offsetof(undo_header_disk, arrival_ns) == 88);
static_assert(offsetof(undo_header_disk, header_checksum) == 120);

struct undo_entry_disk {
    le64 block;
    le64 checksum;
    le32 count;
    le16 volume;
    std::uint8_t kind;
    std::uint8_t reserved;
};
static_assert(sizeof(undo_entry_disk) == undo_entry_bytes && wire_struct<undo_entry_disk>);
static_assert(offsetof(undo_entry_disk, volume) == 20);

std::uint64_t header_checksum(const undo_header_disk &disk) {
    return checksum64(struct_bytes(disk).first(offsetof(undo_header_disk, header_checksum)));
}

} // namespace

byte_vector encode_undo_header(const undo_header &header) {
    undo_header_disk disk{};
    disk.magic = undo_magic;
    disk.version = undo_version;
    disk.flags = static_cast<std::uint16_t>((header.last ? flag_last : 0) |
                                            (header.consistent ? flag_consistent : 0) |
                                            (header.point ? flag_point : 0));
    disk.stream = header.position.stream.value;
    disk.interval = header.position.interval.value;
    disk.part = header.part;
    disk.entries = header.entries;
    disk.content_bytes = header.content_bytes;
    disk.time_ns = static_cast<std::uint64_t>(header.time.time_since_epoch().count());
    disk.arrival_ns = static_cast<std::uint64_t>(header.arrival.time_since_epoch().count());
    disk.damage_count = header.damage_count;
    disk.healed_count = header.healed_count;
    disk.synced_segment = header.synced_segment;
    disk.synced_offset = header.synced_offset;
    disk.entries_checksum = header.entries_checksum;
    disk.written = static_cast<std::uint64_t>(header.written);
    disk.header_checksum = header_checksum(disk);
    byte_vector out;
    append_struct(out, disk);
    return out;
}

result<undo_header> parse_undo_header(bytes_view bytes) {
    FS_TRY(disk, read_struct<undo_header_disk>(bytes));
    if (disk.magic != undo_magic || disk.header_checksum != header_checksum(disk)) {
        return fail(errc::corrupt, "no undo record, or one that fails its checksum");
    }
    if (disk.version != undo_version ||
        (disk.flags & ~(flag_last | flag_consistent | flag_point)) != 0) {
        return fail(errc::unsupported, fmt::format("undo record version {}, flags {:#x}",
                                                   disk.version.get(), disk.flags.get()));
    }
    if (disk.stream == 0 || disk.interval == 0 || !is_zero(disk.reserved) ||
        disk.entries > undo_entries_max || disk.content_bytes % block_bytes != 0 ||
        disk.content_bytes / block_bytes > disk.entries) {
        return fail(errc::corrupt, "undo record with a field out of range");
    }
    undo_header header;
    header.position = {stream_id{disk.stream}, interval_id{disk.interval}};
    header.part = disk.part;
    header.last = (disk.flags & flag_last) != 0;
    header.consistent = (disk.flags & flag_consistent) != 0;
    header.point = (disk.flags & flag_point) != 0;
    header.entries = disk.entries;
    header.content_bytes = disk.content_bytes;
    header.time = wall_time(duration(static_cast<std::int64_t>(disk.time_ns.get())));
    header.arrival = wall_time(duration(static_cast<std::int64_t>(disk.arrival_ns.get())));
    header.damage_count = disk.damage_count;
    header.healed_count = disk.healed_count;
    header.synced_segment = disk.synced_segment;
    header.synced_offset = disk.synced_offset;
    header.entries_checksum = disk.entries_checksum;
    header.written = static_cast<std::int64_t>(disk.written.get());
    return header;
}

byte_vector encode_undo_entries(std::span<const undo_entry> entries) {
    byte_vector out;
    out.reserve(entries.size() * undo_entry_bytes);
    for (const undo_entry &entry : entries) {
        undo_entry_disk disk{};
        disk.block = entry.block.value;
        disk.checksum = entry.checksum;
        disk.count = entry.count;
        disk.volume = entry.volume.value;
        disk.kind = static_cast<std::uint8_t>(entry.kind);
        append_struct(out, disk);
    }
    return out;
}

result<undo_entry> parse_undo_entry(bytes_view bytes) {
    FS_TRY(disk, read_struct<undo_entry_disk>(bytes));
    const bool raw = disk.kind == static_cast<std::uint8_t>(undo_kind::raw);
    if ((!raw && disk.kind != static_cast<std::uint8_t>(undo_kind::zero)) || disk.reserved != 0 ||
        disk.count == 0 || (raw && disk.count != 1) || (!raw && disk.checksum != 0) ||
        disk.block > limits::volume_bytes_max / block_bytes - disk.count) {
        return fail(errc::corrupt, "undo entry out of range");
    }
    return undo_entry{volume_index{disk.volume}, block_index{disk.block},
                      static_cast<undo_kind>(disk.kind), disk.count, disk.checksum};
}

result<std::vector<undo_entry>> parse_undo_entries(const undo_header &header, bytes_view table) {
    if (table.size() != std::size_t{header.entries} * undo_entry_bytes ||
        checksum64(table) != header.entries_checksum) {
        return fail(errc::corrupt, "undo entry table fails its checksum");
    }
    std::vector<undo_entry> entries;
    entries.reserve(header.entries);
    std::uint64_t raw = 0;
    for (byte_reader in(table); !in.at_end();) {
        FS_TRY(bytes, in.bytes(undo_entry_bytes));
        FS_TRY(entry, parse_undo_entry(bytes));
        raw += entry.kind == undo_kind::raw ? 1 : 0;
        entries.push_back(entry);
    }
    if (raw * block_bytes != header.content_bytes) {
        return fail(errc::corrupt, "undo entry table does not fit its contents");
    }
    return entries;
}

} // namespace farshore
