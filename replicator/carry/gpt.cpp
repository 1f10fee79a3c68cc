#include "replicator/carry/gpt.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

namespace farshore::carry {
namespace {

constexpr std::string_view magic = "EFI PART";
constexpr std::array<std::uint32_t, 2> sector_sizes{512, 4096};

/// CRC-32 of IEEE 802.3, reflected, as UEFI takes it.
constexpr std::array<std::uint32_t, 256> crc_table = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < table.size(); ++i) {
        std::uint32_t c = i;
        for (int bit = 0; bit < 8; ++bit) {
            c = (c & 1) != 0 ? 0xedb88320U ^ (c >> 1) : c >> 1;
        }
        table[i] = c;
    }
    return table;
}();

bool has_magic(bytes_view head, std::uint32_t sector) {
    return head.size() >= std::size_t{2} * sector &&
           as_text(head.subspan(sector, magic.size())) == magic;
}

std::optional<gpt_table> parse(bytes_view head, std::uint32_t sector) {
    gpt_table t;
    t.sector_bytes = sector;
    const bytes_view at = head.subspan(sector, sector);
    std::memcpy(&t.header, at.data(), sizeof t.header);
    const std::uint32_t length = t.header.header_bytes;
    if (length < sizeof(gpt_header) || length > sector || t.header.own_lba != 1) {
        return std::nullopt;
    }
    byte_vector bytes(at.begin(), at.begin() + length);
    std::fill_n(bytes.begin() + 16, 4, std::byte{0});
    const std::uint64_t count = t.header.entries;
    const std::uint64_t each = t.header.entry_bytes;
    const std::uint64_t first = t.header.entries_lba;
    const bool plausible = crc32(bytes) == t.header.header_crc && each >= sizeof(gpt_entry) &&
                           each <= sector && count > 0 && count * each <= gpt_array_bytes_max &&
                           first >= 2 && first < head.size() / sector &&
                           count * each <= head.size() - first * sector;
    if (!plausible) {
        return std::nullopt;
    }
    const bytes_view array = head.subspan(first * sector, count * each);
    if (crc32(array) != t.header.entries_crc) {
        return std::nullopt;
    }
    t.array.assign(array.begin(), array.end());
    return t;
}

/// A boot sector of FAT or NTFS has the mark, too, but no such partitions.
bool has_mbr_partitions(bytes_view head) {
    if (head.size() < mbr_bytes || head[510] != std::byte{0x55} || head[511] != std::byte{0xaa}) {
        return false;
    }
    const mbr_table table = mbr_of(head);
    const bool plausible = std::ranges::all_of(table, [](const mbr_partition &p) {
        return (p.status == 0 || p.status == 0x80) && (p.type == 0 || p.sectors > 0);
    });
    return plausible &&
           std::ranges::any_of(table, [](const mbr_partition &p) { return p.type != 0; });
}

} // namespace

std::uint32_t crc32(bytes_view bytes) {
    std::uint32_t c = ~0U;
    for (const std::byte b : bytes) {
        c = crc_table[(c ^ static_cast<std::uint32_t>(b)) & 0xff] ^ (c >> 8);
    }
    return ~c;
}

gpt_entry gpt_table::entry(std::size_t i) const {
    gpt_entry e;
    REPL_ASSERT((i + 1) * header.entry_bytes <= array.size());
    std::memcpy(&e, array.data() + i * header.entry_bytes, sizeof e);
    return e;
}

void gpt_table::set_entry(std::size_t i, const gpt_entry &e) {
    REPL_ASSERT((i + 1) * header.entry_bytes <= array.size());
    std::memcpy(array.data() + i * header.entry_bytes, &e, sizeof e);
}

mbr_table mbr_of(bytes_view head) {
    mbr_table table;
    REPL_ASSERT(head.size() >= mbr_bytes);
    std::memcpy(table.data(), head.data() + mbr_partitions_at, sizeof table);
    return table;
}

found_table find_table(bytes_view head) {
    bool named = false;
    for (const std::uint32_t sector : sector_sizes) {
        if (!has_magic(head, sector)) {
            continue;
        }
        named = true;
        if (auto table = parse(head, sector)) {
            return {table_kind::gpt, std::move(table)};
        }
    }
    if (named) {
        return {table_kind::damaged_gpt, std::nullopt};
    }
    return {has_mbr_partitions(head) ? table_kind::mbr : table_kind::none, std::nullopt};
}

byte_vector encode_header(const gpt_table &table) {
    gpt_header h = table.header;
    h.header_bytes = sizeof h; // what follows in a longer one is reserved, and zero
    h.entries_crc = crc32(table.array);
    h.header_crc = 0U;
    h.header_crc = crc32(struct_bytes(h));
    const bytes_view bytes = struct_bytes(h);
    byte_vector sector(table.sector_bytes);
    std::ranges::copy(bytes, sector.begin());
    return sector;
}

} // namespace farshore::carry
