#include "replicator/format/group_state.hpp"

#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/endian.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

namespace farshore {
namespace {

constexpr std::array<char, 4> commit_magic = {'F', 'S', 'C', '1'};
constexpr std::array<char, 4> volumes_magic = {'F', 'S', 'G', '1'};
constexpr std::uint16_t commit_version = 3;
constexpr std::size_t commit_page_bytes = 4096;
constexpr std::uint16_t volumes_version = 1;
constexpr std::uint16_t flag_consistent = 1;
constexpr std::uint16_t flag_served = 2;
constexpr std::size_t path_bytes_max = 4096;

struct commit_disk {
    std::array<char, 4> magic;
    le16 version;
    le16 flags;
    le64 sequence;
    le64 applied_stream;
    le64 applied_interval;
    le64 applied_time;
    le64 damage_count;
    le64 healed_count;
    le64 durable_stream;
    le64 durable_interval;
    le64 point_interval;
    le64 point_time;
    le64 undo_segment;
    le64 undo_offset;
    le64 rollback_segment;
    le64 rollback_offset;
    le64 applied_arrival;
    le64 point_arrival;
    le64 suspect_interval;
    le64 suspect_time;
    le64 touched_time;
    le32 images;
    std::array<std::byte, 4> reserved;
    le64 checksum;
};
static_assert(sizeof(commit_disk) == commit_record_bytes && wire_struct<commit_disk>);
static_assert(offsetof(commit_disk, applied_time) == 32);
static_assert(offsetof(commit_disk, undo_offset) == 96);
static_assert(offsetof(commit_disk, rollback_offset) == 112);
static_assert(offsetof(commit_disk, point_arrival) == 128);
static_assert(offsetof(commit_disk, suspect_interval) == 136);
static_assert(offsetof(commit_disk, images) == 160);
static_assert(offsetof(commit_disk, checksum) == 168);

struct image_disk {
    le64 inode;
    le64 size;
    le64 modified;
    le64 changed;
};
static_assert(sizeof(image_disk) == commit_image_bytes && wire_struct<image_disk>);
static_assert(commit_record_bytes + limits::volumes_per_group_max * commit_image_bytes <=
              commit_slot_bytes);

struct volumes_head_disk {
    std::array<char, 4> magic;
    le16 version;
    le16 reserved;
    std::array<std::byte, 16> identity;
    le32 count;
};
static_assert(sizeof(volumes_head_disk) == 28 && wire_struct<volumes_head_disk>);

std::uint64_t commit_checksum(const commit_disk &disk, bytes_view images) {
    const bytes_view head = struct_bytes(disk).first(offsetof(commit_disk, checksum));
    byte_vector all(head.begin(), head.end());
    all.insert(all.end(), images.begin(), images.end());
    return checksum64(all);
}

std::uint64_t from_time(wall_time t) {
    return static_cast<std::uint64_t>(t.time_since_epoch().count());
}
wall_time to_time(std::uint64_t ns) { return wall_time(duration(static_cast<std::int64_t>(ns))); }

} // namespace

byte_vector encode_commit_slot(const commit_record &record) {
    commit_disk disk{};
    disk.magic = commit_magic;
    disk.version = commit_version;
    disk.flags = static_cast<std::uint16_t>((record.consistent ? flag_consistent : 0) |
                                            (record.served ? flag_served : 0));
    disk.sequence = record.sequence;
    disk.applied_stream = record.applied.stream.value;
    disk.applied_interval = record.applied.interval.value;
    disk.applied_time = from_time(record.applied_time);
    disk.applied_arrival = from_time(record.applied_arrival);
    disk.point_arrival = from_time(record.point_arrival);
    disk.damage_count = record.damage_count;
    disk.healed_count = record.healed_count;
    disk.durable_stream = record.durable.stream.value;
    disk.durable_interval = record.durable.interval.value;
    disk.point_interval = record.point.value;
    disk.point_time = from_time(record.point_time);
    disk.undo_segment = record.undo_segment;
    disk.undo_offset = record.undo_offset;
    disk.rollback_segment = record.rollback_segment;
    disk.rollback_offset = record.rollback_offset;
    disk.suspect_interval = record.suspect.value;
    disk.suspect_time = record.suspect.value == 0 ? 0 : from_time(record.suspect_time);
    disk.touched_time = static_cast<std::uint64_t>(record.touched);
    disk.images = static_cast<std::uint32_t>(record.images.size());
    byte_vector images;
    for (const image_stamp &i : record.images) {
        append_struct(images, image_disk{i.inode, i.size, static_cast<std::uint64_t>(i.modified),
                                         static_cast<std::uint64_t>(i.changed)});
    }
    disk.checksum = commit_checksum(disk, images);
    byte_vector slot;
    append_struct(slot, disk);
    slot.insert(slot.end(), images.begin(), images.end());
    slot.resize((slot.size() + commit_page_bytes - 1) / commit_page_bytes * commit_page_bytes);
    return slot;
}

result<commit_record> parse_commit_slot(bytes_view slot) {
    const auto none = [] {
        return fail(errc::corrupt, "no commit record, or one that fails its checksum");
    };
    FS_TRY(disk, read_struct<commit_disk>(slot));
    if (disk.magic != commit_magic) {
        return none();
    }
    if (disk.version != commit_version) { // their slots may have any length
        if (disk.checksum != commit_checksum(disk, {})) {
            return none();
        }
        return fail(errc::unsupported,
                    fmt::format("commit record version {}, this program knows {}",
                                disk.version.get(), commit_version));
    }
    const std::uint64_t bytes = std::uint64_t{disk.images} * commit_image_bytes;
    if (slot.size() > commit_slot_bytes || slot.size() % commit_page_bytes != 0 ||
        disk.images > limits::volumes_per_group_max || slot.size() - sizeof(disk) < bytes) {
        return none();
    }
    const bytes_view images = slot.subspan(sizeof(disk), static_cast<std::size_t>(bytes));
    if (disk.checksum != commit_checksum(disk, images)) {
        return none();
    }
    if ((disk.flags & ~(flag_consistent | flag_served)) != 0) {
        return fail(errc::unsupported, fmt::format("commit record flags {:#x}", disk.flags.get()));
    }
    const auto whole = [](std::uint64_t stream, std::uint64_t interval) {
        return (stream == 0) == (interval == 0);
    };
    if (disk.sequence == 0 || disk.healed_count > disk.damage_count ||
        !whole(disk.applied_stream, disk.applied_interval) ||
        !whole(disk.durable_stream, disk.durable_interval) || !is_zero(disk.reserved) ||
        std::max({disk.applied_interval.get(), disk.durable_interval.get(),
                  disk.point_interval.get(), disk.damage_count.get()}) > limits::interval_id_max ||
        (disk.suspect_interval == 0 && disk.suspect_time != 0) ||
        !is_zero(slot.subspan(sizeof(disk) + images.size()))) {
        return fail(errc::corrupt, "commit record with a field out of range");
    }
    commit_record record;
    record.sequence = disk.sequence;
    record.applied = {stream_id{disk.applied_stream}, interval_id{disk.applied_interval}};
    record.consistent = (disk.flags & flag_consistent) != 0;
    record.served = (disk.flags & flag_served) != 0;
    record.applied_time = to_time(disk.applied_time);
    record.applied_arrival = to_time(disk.applied_arrival);
    record.point_arrival = to_time(disk.point_arrival);
    record.damage_count = disk.damage_count;
    record.healed_count = disk.healed_count;
    record.durable = {stream_id{disk.durable_stream}, interval_id{disk.durable_interval}};
    record.point = interval_id{disk.point_interval};
    record.point_time = to_time(disk.point_time);
    record.undo_segment = disk.undo_segment;
    record.undo_offset = disk.undo_offset;
    record.rollback_segment = disk.rollback_segment;
    record.rollback_offset = disk.rollback_offset;
    record.suspect = interval_id{disk.suspect_interval};
    record.suspect_time = to_time(disk.suspect_time);
    record.touched = static_cast<std::int64_t>(disk.touched_time.get());
    for (std::size_t i = 0; i < disk.images; ++i) {
        FS_TRY(entry, read_struct<image_disk>(images.subspan(i * commit_image_bytes)));
        record.images.push_back({entry.inode, entry.size,
                                 static_cast<std::int64_t>(entry.modified.get()),
                                 static_cast<std::int64_t>(entry.changed.get())});
    }
    return record;
}

byte_vector encode_group_volumes(const group_volumes &group) {
    volumes_head_disk head{};
    head.magic = volumes_magic;
    head.version = volumes_version;
    head.identity = group.identity;
    head.count = static_cast<std::uint32_t>(group.volumes.size());
    byte_vector bytes;
    byte_writer out(bytes);
    out.structure(head);
    for (const group_volume &v : group.volumes) {
        out.text(v.name);
        out.structure(le64(v.size));
        out.text(v.path);
    }
    out.structure(le64(checksum64(bytes)));
    return bytes;
}

result<group_volumes> parse_group_volumes(bytes_view bytes) {
    if (bytes.size() < sizeof(volumes_head_disk) + sizeof(le64)) {
        return fail(errc::corrupt, "list of volumes cut short");
    }
    const bytes_view body = bytes.first(bytes.size() - sizeof(le64));
    FS_TRY(sum, read_struct<le64>(bytes.subspan(body.size())));
    byte_reader in(body);
    FS_TRY(head, in.structure<volumes_head_disk>());
    if (head.magic != volumes_magic || sum != checksum64(body)) {
        return fail(errc::corrupt, "list of volumes fails its checksum");
    }
    if (head.version != volumes_version) {
        return fail(errc::unsupported, fmt::format("volume list version {}", head.version.get()));
    }
    if (head.reserved != 0) {
        return fail(errc::corrupt, "list of volumes with reserved bytes set");
    }
    if (head.count > limits::volumes_per_group_max) {
        return fail(errc::limit, "too many volumes");
    }
    group_volumes group;
    group.identity = head.identity;
    for (std::uint32_t i = 0; i < head.count; ++i) {
        FS_TRY(name, in.text(limits::name_bytes_max));
        FS_TRY(size, in.structure<le64>());
        FS_TRY(path, in.text(path_bytes_max));
        if (size > limits::volume_bytes_max) {
            return fail(errc::limit, fmt::format("volume {} is too large", name));
        }
        group.volumes.push_back({std::move(name), size, std::move(path)});
    }
    FS_CHECK(in.expect_end());
    return group;
}

} // namespace farshore
