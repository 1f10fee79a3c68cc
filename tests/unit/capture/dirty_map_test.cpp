#include "replicator/base/hash.hpp"
#include "replicator/capture/dirty_map.hpp"
#include "replicator/capture/paged_bitmap.hpp"
#include "replicator/format/endian.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

#include <random>
#include <set>

using namespace farshore;

TEST_SUITE_BEGIN("dirty_map");

namespace {

/// A volume that nobody else touched.
map_subject subject_of(std::uint64_t size, const char *boot) {
    map_subject s;
    s.volume_bytes = size;
    s.boot_id = boot;
    s.volume = {1, 2, 3, 4};
    s.times = {5, 6};
    s.now = wall_time(std::chrono::hours(1));
    return s;
}

} // namespace

TEST_CASE("map file: header, slots and sectors come back, and every changed byte is noticed") {
    const map_layout layout = map_layout::of(123'456'789);
    buffer page(map_page_bytes);
    encode_map_header(page.span(), layout);
    CHECK(parse_map_header(page.view()).value() == layout);
    CHECK(!parse_map_state(page.view()));
    map_state one{1, false, "one", true, true, {1, 2, -3, 4}, {5, 6, 7, 8}, {-9, 10}, {11, 12}, 13};
    map_state two{2,        true,      "two", false, false, {8, 7, 6, 5}, {4, 3, -2, 1},
                  {19, 18}, {17, -16}, 15};
    store_map_state(page.span(), one);
    store_map_state(page.span(), two);
    CHECK(parse_map_state(page.view()).value() == two);
    for (std::size_t i = 0; i < map_slot_bytes; ++i) {
        page.span()[map_slot_offsets[0] + i] ^= std::byte{1}; // slot of sequence 2
        CHECK(parse_map_state(page.view()).value() == one);
        page.span()[map_slot_offsets[0] + i] ^= std::byte{1};
    }
    for (std::size_t i = 0; i < 64; ++i) {
        page.span()[i] ^= std::byte{4};
        CHECK(!parse_map_header(page.view()));
        page.span()[i] ^= std::byte{4};
    }
    activity_bits bits{};
    bits[60] = 1;
    buffer sector(activity_sector_bytes);
    encode_activity(sector.span(), 5, bits);
    CHECK(parse_activity(sector.view(), 5).value() == bits);
    CHECK(!parse_activity(sector.view(), 4));
    for (std::size_t i = 0; i < activity_sector_bytes; ++i) {
        sector.span()[i] ^= std::byte{1};
        CHECK(!parse_activity(sector.view(), 5));
        sector.span()[i] ^= std::byte{1};
    }
}

TEST_CASE("map file: a header of another version is refused as such") {
    buffer page(map_page_bytes);
    encode_map_header(page.span(), map_layout::of(1));
    const std::byte version = page.span()[4];
    page.span()[4] = version ^ std::byte{64};
    const le64 sum = checksum64(page.view().first(56));
    write_struct(page.span().subspan(56), sum);
    CHECK(is(parse_map_header(page.view()).error(), errc::unsupported));
    page.span()[4] = version;
    page.span()[6] = std::byte{1}; // a reserved bit
    const le64 other = checksum64(page.view().first(56));
    write_struct(page.span().subspan(56), other);
    CHECK(is(parse_map_header(page.view()).error(), errc::corrupt));
}

TEST_CASE("capture state: the newest of two slots counts") {
    buffer bytes(capture_state_bytes);
    std::ranges::fill(bytes.span(), std::byte{0});
    CHECK(is(parse_capture_state(bytes.view()).error(), errc::corrupt));
    capture_record record;
    record.boot_id = "b";
    for (std::uint64_t i = 1; i <= 3; ++i) {
        record.sequence = i;
        record.last_interval = interval_id{i * 10};
        record.reserved_interval = interval_id{1000};
        record.acknowledged = {stream_id{7}, interval_id{i}};
        record.receiver[0] = std::byte{9};
        store_capture_state(bytes.span(), record);
        CHECK(parse_capture_state(bytes.view()).value() == record);
    }
    bytes.span()[512 + 16] ^= std::byte{1}; // sequence 3 is in the second slot
    CHECK(parse_capture_state(bytes.view()).value().last_interval == interval_id{20});
}

TEST_CASE("paged bitmap: it is a set of numbers") {
    constexpr std::uint64_t size = 3 * 64 * paged_bitmap::words_per_page + 100;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        paged_bitmap bits(size);
        std::set<std::uint64_t> model;
        for (int i = 0; i < 60; ++i) {
            const std::uint64_t first = random() % size;
            const std::uint64_t last = std::min(size, first + random() % 500);
            const bool set = random() % 3 != 0;
            set ? bits.set_range(first, last) : bits.clear_range(first, last);
            for (std::uint64_t b = first; b < last; ++b) {
                set ? (void)model.insert(b) : (void)model.erase(b);
            }
            const std::uint64_t from = random() % size;
            const auto next = model.lower_bound(from);
            CHECK(bits.next_set(from, size) ==
                  (next == model.end() ? std::nullopt : std::optional(*next)));
            std::uint64_t clear = from;
            while (clear < size && model.contains(clear)) {
                ++clear;
            }
            CHECK(bits.next_clear(from, size) == clear);
            CHECK(bits.test(from) == model.contains(from));
            CHECK(bits.count() == model.size());
        }
        bits.clear_range(0, size);
        CHECK(bits.empty());
        for (std::uint64_t p = 0; p < bits.page_count(); ++p) {
            CHECK(!bits.page_in_use(p));
        }
    }
}

TEST_CASE("paged bitmap: an untouched terabyte costs next to nothing") {
    CHECK(paged_bitmap(region_count(1ULL << 40)).memory_bytes() < 8192);
}

TEST_CASE("dirty map: bits behind the volume's end are never set") {
    sim_file_system disk(1);
    const std::uint64_t size = extent_bytes + 3 * region_bytes + 1;
    const auto map = dirty_map::open(disk, "v.map", {.volume_bytes = size, .boot_id = "boot"});
    REQUIRE(map);
    CHECK((*map)->words() == 2);
    CHECK((*map)->word(0) == ~0ULL);
    CHECK((*map)->word(1) == 0xf);
    CHECK((*map)->dirty_regions() == 68);
    (*map)->clear(0, ~0ULL);
    CHECK((*map)->set(0, 6) == 6);
    CHECK((*map)->set(0, 3) == 1);
    CHECK((*map)->dirty_regions() == 7);
}

namespace {

/// One change of a map and of the plain model beside it, as the group makes them.
void change_some(dirty_map &map, std::vector<bool> &model, std::mt19937_64 &dice) {
    const std::uint64_t page = dice() % map.pages();
    const std::uint64_t extent = dice() % map.words();
    const std::uint64_t mask = dice() & dice() & map.whole(extent);
    const auto put = [&](std::uint64_t first, std::uint64_t last, bool value) {
        for (std::uint64_t r = first; r < std::min<std::uint64_t>(last, model.size()); ++r) {
            model[r] = value;
        }
    };
    switch (dice() % 12) {
    case 0:
        map.set_page(page);
        put(page * regions_per_map_page, (page + 1) * regions_per_map_page, true);
        break;
    case 1:
        map.clear_page(page);
        put(page * regions_per_map_page, (page + 1) * regions_per_map_page, false);
        break;
    default: {
        const bool value = dice() % 2 == 0;
        value ? (void)map.set(extent, mask) : map.clear(extent, mask);
        for (std::uint64_t bit = 0; bit < 64; ++bit) {
            if ((mask >> bit & 1) != 0) {
                model[extent * 64 + bit] = value;
            }
        }
    }
    }
}

bool says(const dirty_map &map, const std::vector<bool> &model) {
    std::uint64_t count = 0;
    for (std::uint64_t r = 0; r < model.size(); ++r) {
        if ((map.word(r / 64) >> (r % 64) & 1) != (model[r] ? 1U : 0U)) {
            return false;
        }
        count += model[r] ? 1 : 0;
    }
    return map.dirty_regions() == count;
}

} // namespace

TEST_CASE(
    "dirty map: pages that are all dirty or all clean say what the bits would, after a kill too") {
    const std::uint64_t size = 2 * regions_per_map_page * region_bytes + 70 * region_bytes - 512;
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 dice(seed);
        sim_file_system disk(seed);
        std::vector<bool> model(region_count(size), true);
        auto process = disk.process();
        auto map = dirty_map::open(*process, "v.map", subject_of(size, "boot"));
        REQUIRE(map);
        CHECK((*map)->pages() == 3);
        CHECK(says(**map, model));
        for (int life = 0; life < 4; ++life) {
            for (int i = 0; i < 60; ++i) {
                change_some(**map, model, dice);
            }
            REQUIRE(says(**map, model));
            const bool clean = dice() % 3 == 0;
            if (clean) {
                REQUIRE((*map)->mark_clean({5, 6}));
            }
            map->reset();
            disk.kill();
            process = disk.process();
            map = dirty_map::open(*process, "v.map", subject_of(size, "boot"));
            REQUIRE(map);
            REQUIRE(says(**map, model));
            for (std::uint64_t e = 0; e < (*map)->words(); ++e) {
                REQUIRE(((*map)->word(e) == 0 || (*map)->activity().active(e)));
            }
        }
    }
}

TEST_CASE("dirty map: after a power cut every region of an active extent is dirty, whatever the "
          "pages said") {
    const std::uint64_t size = 2 * regions_per_map_page * region_bytes;
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        CAPTURE(seed);
        sim_file_system disk(seed);
        auto process = disk.process();
        auto map = dirty_map::open(*process, "v.map", subject_of(size, "boot"));
        REQUIRE(map);
        (*map)->clear_page(0);
        (*map)->clear_page(1);
        paged_bitmap all((*map)->words());
        all.set_range(0, (*map)->words());
        std::mutex mutex;
        std::unique_lock lock(mutex);
        REQUIRE((*map)->activity().retire(lock, all, [](std::uint64_t) { return true; }));
        REQUIRE(
            (*map)->activity().activate(lock, {700, 701})); // syncs, so the retirement is durable
        (*map)->set(700, 4);
        lock.unlock();
        map->reset();
        disk.power_cut(seed);
        process = disk.process();
        map = dirty_map::open(*process, "v.map", subject_of(size, "another boot"));
        REQUIRE(map);
        CHECK((*map)->word(700) == ~0ULL);
        for (std::uint64_t e = 0; e < (*map)->words(); ++e) {
            REQUIRE(((*map)->word(e) == 0 || (*map)->activity().active(e)));
        }
    }
}

TEST_CASE("activity log: writers share a sync, and a sequential one finds its extents active") {
    sim_file_system disk(1);
    const std::uint64_t size = 100 * extent_bytes;
    const auto map = dirty_map::open(disk, "v.map", {.volume_bytes = size, .boot_id = "boot"});
    REQUIRE(map);
    activity_log &activity = (*map)->activity();
    std::mutex mutex;
    std::unique_lock lock(mutex);
    paged_bitmap all(100);
    all.set_range(0, 100);
    CHECK(activity.retire(lock, all, [](std::uint64_t) { return true; }));
    CHECK(activity.active_count() == 0);
    const std::uint64_t before = disk.syncs();
    for (std::uint64_t e = 10; e < 60; ++e) {
        CHECK(activity.activate(lock, {e, e + 1}));
        CHECK(activity.active(e));
    }
    CHECK(disk.syncs() - before < 10);
    CHECK(activity.active_count() < 70);
}

TEST_SUITE_END();
