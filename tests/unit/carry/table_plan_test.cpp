#include "replicator/carry/gpt.hpp"
#include "replicator/carry/table_plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

namespace farshore::carry {
namespace {

constexpr std::uint64_t MiB = 1 << 20;

struct part {
    std::uint64_t offset, bytes;
};

/// A disk with a GPT, as sfdisk makes it.
byte_vector disk(std::uint64_t bytes, std::uint32_t sector, const std::vector<part> &parts) {
    byte_vector all(static_cast<std::size_t>(bytes));
    gpt_table t;
    t.sector_bytes = sector;
    std::memcpy(t.header.magic.data(), "EFI PART", 8);
    t.header.revision = 0x00010000U;
    t.header.own_lba = 1;
    t.header.entries_lba = 2;
    t.header.entries = 128U;
    t.header.entry_bytes = 128U;
    t.array.resize(std::size_t{128} * 128);
    const std::uint64_t array = t.array.size() / sector;
    const std::uint64_t sectors = bytes / sector;
    t.header.other_lba = sectors - 1;
    t.header.first_usable = 2 + array;
    t.header.last_usable = sectors - array - 2;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        gpt_entry e;
        e.type[0] = std::byte{1};
        e.guid[0] = static_cast<std::byte>(i + 1);
        e.first = parts[i].offset / sector;
        e.last = (parts[i].offset + parts[i].bytes) / sector - 1;
        t.set_entry(i, e);
    }
    std::ranges::copy(t.array, all.begin() + 2 * sector);
    std::ranges::copy(encode_header(t), all.begin() + sector);
    mbr_table mbr;
    mbr[0].type = mbr_protective;
    mbr[0].first = 1U;
    mbr[0].sectors = static_cast<std::uint32_t>(sectors - 1);
    std::memcpy(all.data() + mbr_partitions_at, mbr.data(), sizeof mbr);
    all[510] = std::byte{0x55};
    all[511] = std::byte{0xaa};
    return all;
}

bytes_view head(const byte_vector &all) {
    return bytes_view(all).first(std::min(all.size(), table_head_bytes));
}

/// The content on the target, with what the plan writes.
byte_vector restored(const byte_vector &content, const disk_shape &target, const table_plan &plan) {
    byte_vector all = content;
    all.resize(static_cast<std::size_t>(target.bytes));
    for (const table_write &w : plan.writes) {
        REQUIRE(w.offset + w.bytes.size() <= all.size());
        std::ranges::copy(w.bytes, all.begin() + static_cast<std::ptrdiff_t>(w.offset));
    }
    return all;
}

void check_disk(const byte_vector &all, std::uint32_t sector, const std::vector<part> &parts) {
    const found_table found = find_table(head(all));
    REQUIRE(found.kind == table_kind::gpt);
    const gpt_table &t = *found.gpt;
    CHECK(t.sector_bytes == sector);
    const std::uint64_t sectors = all.size() / sector;
    CHECK(t.header.other_lba == sectors - 1);
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const gpt_entry e = t.entry(i);
        CHECK(e.first * sector == parts[i].offset);
        CHECK((e.last + 1) * sector == parts[i].offset + parts[i].bytes);
        CHECK(e.first >= t.header.first_usable);
        CHECK(e.last <= t.header.last_usable);
    }
    gpt_header backup;
    std::memcpy(&backup, all.data() + (sectors - 1) * sector, sizeof backup);
    CHECK(backup.own_lba == sectors - 1);
    CHECK(backup.other_lba == 1);
    CHECK(backup.entries_lba > t.header.last_usable);
    CHECK(backup.entries_crc == t.header.entries_crc);
    const bytes_view array = bytes_view(all).subspan(backup.entries_lba * sector, t.array.size());
    CHECK(crc32(array) == backup.entries_crc);
    CHECK(mbr_of(all)[0].sectors == sectors - 1);
}

const std::vector<part> usual{{MiB, 2 * MiB}, {3 * MiB, 4 * MiB}};

} // namespace

TEST_SUITE("carry_table_plan") {
    TEST_CASE("CRC-32 is that of the check value") {
        CHECK(crc32(as_bytes("123456789")) == 0xcbf43926U);
    }

    TEST_CASE("a disk of the same shape gets no other table") {
        const byte_vector content = disk(8 * MiB, 512, usual);
        const auto plan = plan_table(head(content), 8 * MiB, {8 * MiB, 512});
        REQUIRE(plan);
        CHECK(plan->writes.empty());
        CHECK(plan->remark.empty());
    }

    TEST_CASE("on a larger disk the backup table is at its end, and the old one is gone") {
        for (const std::uint32_t sector : {512U, 4096U}) {
            for (const std::uint64_t more : {std::uint64_t{sector}, MiB, 5 * MiB}) {
                const byte_vector content = disk(8 * MiB, sector, usual);
                const disk_shape target{8 * MiB + more, sector};
                const auto plan = plan_table(head(content), 8 * MiB, target);
                REQUIRE(plan);
                CHECK(!plan->remark.empty());
                const byte_vector all = restored(content, target, *plan);
                check_disk(all, sector, usual);
                const std::string_view old = as_text(bytes_view(all).subspan(8 * MiB - sector, 8));
                CHECK(old != "EFI PART");
                CHECK(std::equal(all.begin() + MiB, all.begin() + 7 * MiB, content.begin() + MiB));
            }
        }
    }

    TEST_CASE(
        "for sectors of another size the table is made anew, partitions stay at their bytes") {
        for (const auto &[from, to] : {std::pair{512U, 4096U}, std::pair{4096U, 512U}}) {
            for (const std::uint64_t more : {std::uint64_t{0}, 4 * MiB}) {
                const byte_vector content = disk(8 * MiB, from, usual);
                const disk_shape target{8 * MiB + more, to};
                const auto plan = plan_table(head(content), 8 * MiB, target);
                REQUIRE(plan);
                check_disk(restored(content, target, *plan), to, usual);
            }
        }
    }

    TEST_CASE("partitions that larger sectors can't hold are refused before anything is written") {
        for (const part &p : {part{MiB + 512, MiB}, part{MiB, MiB + 512}}) {
            const byte_vector content = disk(8 * MiB, 512, {p});
            const auto plan = plan_table(head(content), 8 * MiB, {8 * MiB, 4096});
            REQUIRE(!plan);
            CHECK(is(plan.error(), errc::refused));
            CHECK(plan.error().context.contains("partition 1"));
        }
        // Room for the table: before the first partition and behind the last.
        for (const part &p : {part{5 * 4096, MiB}, part{MiB, 7 * MiB - 33 * 512}}) {
            const byte_vector content = disk(8 * MiB, 512, {p});
            const auto plan = plan_table(head(content), 8 * MiB, {8 * MiB, 4096});
            REQUIRE(!plan);
            CHECK(is(plan.error(), errc::refused));
        }
    }

    TEST_CASE("a target one byte too small is refused, and one of the same size not") {
        const byte_vector content(MiB);
        CHECK(is(plan_table(head(content), MiB, {MiB - 1, 512}).error(), errc::invalid));
        CHECK(plan_table(head(content), MiB, {MiB, 512}));
    }

    TEST_CASE("an old partition table, a bare file system, a damaged table") {
        byte_vector content(MiB);
        CHECK(plan_table(head(content), MiB, {2 * MiB, 4096})->writes.empty());
        content[510] = std::byte{0x55};
        content[511] = std::byte{0xaa};
        CHECK(find_table(head(content)).kind == table_kind::none);
        mbr_table mbr;
        mbr[0].type = 0x83;
        mbr[0].first = 63U;
        mbr[0].sectors = 100U;
        std::memcpy(content.data() + mbr_partitions_at, mbr.data(), sizeof mbr);
        CHECK(find_table(head(content)).kind == table_kind::mbr);
        CHECK(plan_table(head(content), MiB, {2 * MiB, 512})->writes.empty());
        CHECK(is(plan_table(head(content), MiB, {2 * MiB, 4096}).error(), errc::refused));

        byte_vector damaged = disk(8 * MiB, 512, usual);
        damaged[1024 + 40] ^= std::byte{1};
        CHECK(find_table(head(damaged)).kind == table_kind::damaged_gpt);
        const auto plan = plan_table(head(damaged), 8 * MiB, {9 * MiB, 512});
        REQUIRE(plan);
        CHECK(plan->writes.empty());
        CHECK(plan->remark.contains("damaged"));
        CHECK(is(plan_table(head(damaged), 8 * MiB, {9 * MiB, 4096}).error(), errc::refused));
    }

    TEST_CASE("no bit of a table lets the plan write beyond the target") {
        const byte_vector whole = disk(8 * MiB, 512, usual);
        const byte_vector good(head(whole).begin(), head(whole).end()); // all that a plan sees
        for (std::size_t bit = 0; bit < 8 * 92; ++bit) {
            byte_vector bad = good;
            bad[512 + bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
            // With its own sum right again: somebody may mean it.
            gpt_header h;
            std::memcpy(&h, bad.data() + 512, sizeof h);
            h.header_crc = 0U;
            h.header_crc = crc32(struct_bytes(h));
            std::memcpy(bad.data() + 512, &h, sizeof h);
            for (const disk_shape &target : {disk_shape{9 * MiB, 512}, disk_shape{9 * MiB, 4096}}) {
                if (const auto plan = plan_table(head(bad), 8 * MiB, target)) {
                    for (const table_write &w : plan->writes) {
                        REQUIRE(w.offset <= target.bytes);
                        REQUIRE(w.bytes.size() <= target.bytes - w.offset);
                    }
                }
            }
        }
    }
}

} // namespace farshore::carry
