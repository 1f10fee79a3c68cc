#include "replicator/format/overlay_header.hpp"

#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/endian.hpp"

#include <array>
#include <cstddef>

namespace farshore {
namespace {

constexpr std::array<char, 4> overlay_magic = {'F', 'S', 'O', '1'};
constexpr std::uint16_t overlay_version = 1;

struct overlay_header_disk {
    std::array<char, 4> magic;
    le16 version;
    le16 reserved;
    le64 point;
    le64 volume_bytes;
    le64 checksum;
};
static_assert(sizeof(overlay_header_disk) == 32);
static_assert(wire_struct<overlay_header_disk>);
static_assert(offsetof(overlay_header_disk, checksum) == 24);

std::uint64_t overlay_checksum(const overlay_header_disk &disk) {
    return checksum64(struct_bytes(disk).first(offsetof(overlay_header_disk, checksum)));
}

} // namespace

byte_vector encode_overlay_header(const overlay_header &header) {
    overlay_header_disk disk{};
    disk.magic = overlay_magic;
    disk.version = overlay_version;
    disk.point = header.point.value;
    disk.volume_bytes = header.volume_bytes;
    disk.checksum = overlay_checksum(disk);
    byte_vector out;
    append_struct(out, disk);
    out.resize(overlay_header_bytes);
    return out;
}

result<overlay_header> parse_overlay_header(bytes_view bytes) {
    FS_TRY(disk, read_struct<overlay_header_disk>(bytes));
    if (disk.magic != overlay_magic || disk.checksum != overlay_checksum(disk)) {
        return fail(errc::corrupt, "no header of an overlay's map, or one that fails its checksum");
    }
    if (disk.version != overlay_version) {
        return fail(errc::unsupported,
                    "map of an overlay of version " + std::to_string(disk.version.get()));
    }
    if (disk.reserved != 0 || disk.point == 0 || disk.point > limits::interval_id_max ||
        disk.volume_bytes > limits::volume_bytes_max) {
        return fail(errc::corrupt, "header of an overlay's map with a field out of range");
    }
    return overlay_header{interval_id{disk.point}, disk.volume_bytes};
}

} // namespace farshore
