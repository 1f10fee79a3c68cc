#include "replicator/carry/table_plan.hpp"

#include "replicator/carry/gpt.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

namespace farshore::carry {
namespace {

constexpr std::uint64_t first_array_lba = 2;

std::uint64_t divided_up(std::uint64_t n, std::uint64_t by) { return (n + by - 1) / by; }

/// Sectors that the array takes; UEFI reserves 16 KiB at least.
std::uint64_t array_sectors(const gpt_table &t) {
    constexpr std::uint64_t reserved = 16 * 1024;
    return divided_up(std::max<std::uint64_t>(t.array.size(), reserved), t.sector_bytes);
}

/// The table in other sectors, its partitions at the bytes where they are.
result<gpt_table> in_sectors(const gpt_table &from, std::uint32_t sector_bytes) {
    gpt_table t = from;
    t.sector_bytes = sector_bytes;
    const std::uint64_t old = from.sector_bytes;
    for (std::size_t i = 0; i < t.header.entries; ++i) {
        gpt_entry e = t.entry(i);
        if (!e.used()) {
            continue;
        }
        const std::uint64_t begin = e.first * old;
        const std::uint64_t end = (e.last + 1) * old;
        if (begin % sector_bytes != 0 || end % sector_bytes != 0) {
            return fail(errc::refused,
                        fmt::format("partition {} reaches from byte {} to {}, which is no multiple "
                                    "of the target's sectors of {} bytes; restore to a disk with "
                                    "sectors of {}, or to a file. Nothing was written",
                                    i + 1, begin, end, sector_bytes, old));
        }
        e.first = begin / sector_bytes;
        e.last = end / sector_bytes - 1;
        t.set_entry(i, e);
    }
    const std::uint64_t first = divided_up(t.header.first_usable * old, sector_bytes);
    t.header.entries_lba = first_array_lba;
    t.header.first_usable = std::max(first, first_array_lba + array_sectors(t));
    return t;
}

/// The table's places for a disk of so many sectors; every partition must be between them.
result<> fit(gpt_table &t, std::uint64_t disk_sectors) {
    const std::uint64_t array = array_sectors(t);
    if (disk_sectors < t.header.first_usable + array + 1) {
        return fail(errc::refused, "the target has no room for a partition table of this content");
    }
    t.header.other_lba = disk_sectors - 1;
    t.header.last_usable = disk_sectors - array - 2;
    for (std::size_t i = 0; i < t.header.entries; ++i) {
        const gpt_entry e = t.entry(i);
        if (e.used() && (e.first < t.header.first_usable || e.last > t.header.last_usable)) {
            return fail(
                errc::refused,
                fmt::format("partition {} (sectors {} to {} of {} bytes) leaves no room for "
                            "the partition table, whose partitions must be within {} to "
                            "{}; restore to a larger disk or a file. Nothing was written",
                            i + 1, e.first.get(), e.last.get(), t.sector_bytes,
                            t.header.first_usable.get(), t.header.last_usable.get()));
        }
    }
    return {};
}

/// The first sector, with the protective partition over all of the disk. Boot code stays.
byte_vector protective_mbr(bytes_view head, std::uint32_t sector_bytes,
                           std::uint64_t disk_sectors) {
    byte_vector sector(sector_bytes);
    std::copy_n(head.begin(), mbr_bytes, sector.begin());
    mbr_table table = mbr_of(head);
    constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
    for (mbr_partition &p : table) {
        if (p.type == mbr_protective && p.first == 1) {
            p.sectors = static_cast<std::uint32_t>(std::min(disk_sectors - 1, most));
        }
    }
    std::memcpy(sector.data() + mbr_partitions_at, table.data(), sizeof table);
    return sector;
}

bool is_hybrid(bytes_view head) {
    return std::ranges::any_of(mbr_of(head), [](const mbr_partition &p) {
        return p.type != 0 && p.type != mbr_protective;
    });
}

gpt_table backup_of(const gpt_table &main) {
    gpt_table b = main;
    b.header.own_lba = main.header.other_lba;
    b.header.other_lba = main.header.own_lba;
    b.header.entries_lba = main.header.last_usable + 1;
    return b;
}

void add_write(std::vector<table_write> &writes, std::uint64_t offset, byte_vector bytes) {
    writes.push_back({offset, std::move(bytes)});
}

/// Order: the old backup's mark goes, the new backup comes, then the main table. A crash in between
/// leaves one whole table.
std::vector<table_write> writes_of(const gpt_table &t, const gpt_table &old, bytes_view head,
                                   std::uint64_t content_bytes, std::uint64_t disk_sectors) {
    std::vector<table_write> writes;
    const std::uint64_t sector = t.sector_bytes;
    const gpt_table backup = backup_of(t);
    add_write(writes, content_bytes - old.sector_bytes, byte_vector(old.sector_bytes));
    add_write(writes, backup.header.entries_lba * sector, backup.array);
    add_write(writes, backup.header.own_lba * sector, encode_header(backup));
    if (t.sector_bytes != old.sector_bytes) { // the old table is no table here
        const std::uint64_t end =
            std::min<std::uint64_t>(t.header.first_usable * sector, head.size());
        add_write(writes, sector, byte_vector(end - sector));
    }
    add_write(writes, t.header.entries_lba * sector, t.array);
    add_write(writes, sector, encode_header(t));
    add_write(writes, 0, protective_mbr(head, t.sector_bytes, disk_sectors));
    return writes;
}

result<table_plan> plan_gpt(const gpt_table &found, bytes_view head, std::uint64_t content_bytes,
                            const disk_shape &target) {
    const bool other_sectors = found.sector_bytes != target.sector_bytes;
    if (!other_sectors &&
        target.bytes / target.sector_bytes == content_bytes / found.sector_bytes) {
        return table_plan{};
    }
    if (other_sectors && is_hybrid(head)) {
        return fail(errc::refused, "the content has a hybrid MBR beside its GPT, which can't be "
                                   "made anew for sectors of another size; nothing was written");
    }
    gpt_table t = found;
    if (other_sectors) {
        FS_TRY(moved, in_sectors(found, target.sector_bytes));
        t = std::move(moved);
    }
    const std::uint64_t disk_sectors = target.bytes / target.sector_bytes;
    FS_CHECK(fit(t, disk_sectors));
    table_plan plan;
    plan.writes = writes_of(t, found, head, content_bytes, disk_sectors);
    plan.remark = other_sectors
                      ? fmt::format("the partition table was made anew for sectors of {} bytes; a "
                                    "file system that depends on sectors of {} (a FAT of the EFI) "
                                    "may have to be made anew, too",
                                    target.sector_bytes, found.sector_bytes)
                      : "the backup partition table was moved to the end of the target";
    return plan;
}

} // namespace

result<table_plan> plan_table(bytes_view head, std::uint64_t content_bytes,
                              const disk_shape &target) {
    if (target.bytes < content_bytes) {
        return fail(errc::invalid, fmt::format("the target has {} bytes, the volume {}; name a "
                                               "larger one. Nothing was written",
                                               target.bytes, content_bytes));
    }
    const found_table found = find_table(head);
    const bool other_sectors = target.sector_bytes != 512;
    switch (found.kind) {
    case table_kind::gpt:
        return plan_gpt(*found.gpt, head, content_bytes, target);
    case table_kind::none:
        return table_plan{{}, ""};
    case table_kind::mbr:
        if (other_sectors) {
            return fail(errc::refused,
                        fmt::format("the content has an MBR partition table, which counts sectors "
                                    "of 512 bytes; the target has {}. Restore to another disk or "
                                    "to a file. Nothing was written",
                                    target.sector_bytes));
        }
        return table_plan{};
    case table_kind::damaged_gpt:
        break;
    }
    if (other_sectors) {
        return fail(errc::refused, "the content's GPT is damaged (its sums are wrong), so it can't "
                                   "be made anew for the target's sectors; repair it on a copy "
                                   "(`farshore export`). Nothing was written");
    }
    return table_plan{{},
                      "the content's GPT is damaged (its sums are wrong); it was copied as it "
                      "is, see sgdisk(8)"};
}

} // namespace farshore::carry
