#include "replicator/format/segment_header.hpp"

#include "replicator/base/hash.hpp"
#include "replicator/format/endian.hpp"

#include <fmt/format.h>

#include <cstddef>

namespace farshore {
namespace {

constexpr std::array<char, 4> segment_magic = {'F', 'S', 'S', '1'};
constexpr std::uint16_t segment_version = 1;
constexpr std::size_t number_digits = 10;
constexpr std::string_view suffix = ".seg";

struct segment_header_disk {
    std::array<char, 4> magic;
    le16 version;
    std::uint8_t kind;
    std::uint8_t flags;
    le64 number;
    le64 previous_bytes;
    std::array<std::byte, 32> reserved;
    le64 header_checksum;
};
static_assert(sizeof(segment_header_disk) == segment_header_bytes);
static_assert(wire_struct<segment_header_disk>);
static_assert(offsetof(segment_header_disk, number) == 8);
static_assert(offsetof(segment_header_disk, reserved) == 24);
static_assert(offsetof(segment_header_disk, header_checksum) == 56);

std::uint64_t header_checksum(const segment_header_disk &disk) {
    return checksum64(struct_bytes(disk).first(offsetof(segment_header_disk, header_checksum)));
}

} // namespace

byte_vector encode_segment_header(const segment_header &header) {
    segment_header_disk disk{};
    disk.magic = segment_magic;
    disk.version = segment_version;
    disk.kind = static_cast<std::uint8_t>(header.kind);
    disk.number = header.number;
    disk.previous_bytes = header.previous_bytes;
    disk.header_checksum = header_checksum(disk);
    byte_vector out;
    append_struct(out, disk);
    return out;
}

result<segment_header> parse_segment_header(bytes_view bytes) {
    FS_TRY(disk, read_struct<segment_header_disk>(bytes));
    if (disk.magic != segment_magic || disk.header_checksum != header_checksum(disk)) {
        return fail(errc::corrupt, "no segment header, or one that fails its checksum");
    }
    if (disk.version != segment_version || disk.flags != 0) {
        return fail(errc::unsupported,
                    fmt::format("segment version {}, flags {:#x}", disk.version.get(), disk.flags));
    }
    if ((disk.kind != static_cast<std::uint8_t>(segment_kind::intervals) &&
         disk.kind != static_cast<std::uint8_t>(segment_kind::undo)) ||
        disk.number == 0 || !is_zero(disk.reserved)) {
        return fail(errc::corrupt, "segment header with a field out of range");
    }
    return segment_header{static_cast<segment_kind>(disk.kind), disk.number, disk.previous_bytes};
}

std::string segment_name(std::uint64_t number) { return fmt::format("{:010}{}", number, suffix); }

std::optional<std::uint64_t> parse_segment_name(std::string_view name) {
    if (name.size() < number_digits + suffix.size() || !name.ends_with(suffix)) {
        return std::nullopt;
    }
    std::uint64_t number = 0;
    for (const char c : name.substr(0, name.size() - suffix.size())) {
        if (c < '0' || c > '9' || number > UINT64_MAX / 10 - 1) {
            return std::nullopt;
        }
        number = number * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return number != 0 && number <= segment_number_max && segment_name(number) == name
               ? std::optional(number)
               : std::nullopt;
}

} // namespace farshore
