#pragma once
// GUID partition tables and the protective MBR, as far as a disk of another size or sector size
// needs them. Layout: UEFI Specification 2.10, chapter 5. All numbers little-endian; LBA are in
// sectors of the disk.
//
// A header is in sector 1, its copy in the disk's last one. header_crc is the CRC-32 of
// header_bytes with itself 0, entries_crc that of the array at entries_lba. first_usable and
// last_usable bound what partitions may have, inclusive, as first and last bound one.
//
// Pure.

#include "replicator/base/bytes.hpp"
#include "replicator/format/endian.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace farshore::carry {

struct gpt_header {
    std::array<std::byte, 8> magic{};
    le32 revision;
    le32 header_bytes;
    le32 header_crc;
    le32 reserved;
    le64 own_lba;
    le64 other_lba;
    le64 first_usable;
    le64 last_usable;
    std::array<std::byte, 16> disk_guid{};
    le64 entries_lba;
    le32 entries;
    le32 entry_bytes;
    le32 entries_crc;
};
static_assert(sizeof(gpt_header) == 92 && alignof(gpt_header) == 1);

struct gpt_entry {
    std::array<std::byte, 16> type{};
    std::array<std::byte, 16> guid{};
    le64 first;
    le64 last;
    le64 attributes;
    std::array<std::byte, 72> name{};

    bool used() const { return !is_zero(type); }
};
static_assert(sizeof(gpt_entry) == 128 && alignof(gpt_entry) == 1);

struct mbr_partition {
    std::uint8_t status = 0;
    std::array<std::uint8_t, 3> first_chs{};
    std::uint8_t type = 0;
    std::array<std::uint8_t, 3> last_chs{};
    le32 first;
    le32 sectors;
};
static_assert(sizeof(mbr_partition) == 16 && alignof(mbr_partition) == 1);
constexpr std::size_t mbr_partitions_at = 446;
constexpr std::size_t mbr_bytes = 512;
constexpr std::uint8_t mbr_protective = 0xee;
using mbr_table = std::array<mbr_partition, 4>;

/// A table that a disk begins with, whose sums are right.
struct gpt_table {
    std::uint32_t sector_bytes = 512;
    gpt_header header;
    byte_vector array; ///< entries * entry_bytes

    gpt_entry entry(std::size_t i) const;
    void set_entry(std::size_t i, const gpt_entry &e);
};

/// What a disk begins with.
enum class table_kind : std::uint8_t {
    none,        ///< no partition table: a file system of its own, or nothing
    mbr,         ///< partitions in the old table
    gpt,         ///< sums are right
    damaged_gpt, ///< the header's name is there, but not its sums
};
struct found_table {
    table_kind kind = table_kind::none;
    std::optional<gpt_table> gpt; ///< of kind gpt
};

constexpr std::size_t table_head_bytes = 2 * 1024 * 1024; ///< of a disk, enough to find a table in
constexpr std::size_t gpt_array_bytes_max = 1024 * 1024;

/// `head`: the first table_head_bytes of a disk, or all of a smaller one. Sectors of 512 and of
/// 4,096 bytes are tried.
found_table find_table(bytes_view head);

mbr_table mbr_of(bytes_view head);
std::uint32_t crc32(bytes_view bytes);
/// With its sums made right.
byte_vector encode_header(const gpt_table &table);

} // namespace farshore::carry
