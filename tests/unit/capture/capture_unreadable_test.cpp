// Blocks that a volume's disk can't read: they stay to be done, alone; the rest of the volume is
// replicated.

#include "replicator/base/limits.hpp"
#include "tests/unit/capture/synced_rig.hpp"

#include <cerrno>
#include <optional>

namespace farshore::test {
namespace {

constexpr std::uint64_t bad_block = 5;
constexpr pending_range first_region{volume_index{0}, {0, region_bytes}};
const std::string disk_path = "disks/v0";

bool all_known(capture_rig &rig) { return rig.group->unreadable_bytes(volume_index{0}) == 0; }

/// Region 0 of volume 0 differs at the DR site, and its block 5 can't be read.
struct spoiled_rig {
    capture_rig rig = synced_rig({4 * region_bytes + 700, region_bytes});

    spoiled_rig() {
        start(rig);
        rig.group->begin_tracking();
        rig.note(rig.write(0, 0, rig.content(region_bytes)));
        rig.disk.spoil_page(disk_path, bad_block);
        rig.begin_recording();
    }
    /// Ships the region without the block.
    void ship_the_rest() {
        REQUIRE(rig.group->record_readable(first_region));
        close();
        while (rig.deliver()) {
        }
    }
    /// The point that the barrier makes has the DR site's older content of the block.
    void close() {
        REQUIRE(rig.close(true));
        auto &sent = rig.line.back();
        CHECK(sent.closed->commit().consistent);
        if (!all_known(rig)) {
            std::copy_n(rig.durable[0].begin() + bad_block * block_bytes, block_bytes,
                        sent.expected[0].begin() + bad_block * block_bytes);
        }
    }
    void must_be_clean() {
        CHECK(all_known(rig));
        for (int i = 0; i < 3; ++i) { // two epochs
            rig.close(true);
            while (rig.deliver()) {
            }
        }
        CHECK(rig.dirty_bytes() == 0);
        CHECK(same_volumes(rig.live, rig.durable));
    }
    ~spoiled_rig() {
        rig.check_dirty();
        for (const std::string &p : rig.problems) {
            CHECK_MESSAGE(false, p);
        }
    }
};

} // namespace

TEST_SUITE("capture") {
    TEST_CASE(
        "unreadable: the scan is told whose fault it is and where, and the range stays pending") {
        spoiled_rig s;
        const std::vector<digest16> peer(1);
        for (const auto &failed :
             {s.rig.group->resolve(first_region, region_bytes, peer, test_digest),
              s.rig.group->record_all(first_region)}) {
            REQUIRE_FALSE(failed);
            CHECK(failed.error().whose == fault::volume);
            CHECK(is_errno(failed.error(), EIO));
            CHECK(failed.error().context.find("volume v0 can't be read in the 65536 bytes at 0") !=
                  std::string::npos);
        }
        CHECK(s.rig.group->pending_bytes() == region_bytes);
    }

    TEST_CASE("unreadable: the rest of the region is shipped and barriers are consistent; the "
              "region stays dirty") {
        spoiled_rig s;
        s.ship_the_rest();
        CHECK(s.rig.group->pending_bytes() == 0);
        const auto where = s.rig.group->unreadable(volume_index{0}, 16);
        REQUIRE(where.size() == 1);
        CHECK(where[0] == byte_range{bad_block * block_bytes, block_bytes});
        CHECK(s.rig.group->unreadable_bytes(volume_index{0}) == block_bytes);
        for (int i = 0; i < 3; ++i) { // no epoch takes the mark away
            s.rig.note(s.rig.write(0, 9 * block_bytes, s.rig.content(100)));
            s.close();
            while (s.rig.deliver()) {
            }
        }
        CHECK(s.rig.dirty(0, 0));
        CHECK_FALSE(s.rig.dirty(0, 1));
    }

    TEST_CASE("unreadable: a block that is overwritten as a whole is known again, without old "
              "content to build on") {
        spoiled_rig s;
        s.ship_the_rest();
        CHECK_FALSE(s.rig.write(0, bad_block * block_bytes + 100,
                                s.rig.content(100))); // its edges can't be read
        CHECK_FALSE(all_known(s.rig));
        SUBCASE("by a write") {
            s.rig.note(
                s.rig.write(0, (bad_block - 1) * block_bytes, s.rig.content(3 * block_bytes)));
        }
        SUBCASE("by zeroes") {
            s.rig.note(s.rig.zero(0, {bad_block * block_bytes, block_bytes}, true));
        }
        SUBCASE("by a write after a read that worked") {
            s.rig.disk.heal_pages(); // now the page cache has what the DR site never got
            s.rig.note(s.rig.write(0, bad_block * block_bytes + 100, s.rig.content(100)));
        }
        s.must_be_clean();
    }

    TEST_CASE("unreadable: what can be read later is shipped then, and not used before") {
        spoiled_rig s;
        s.ship_the_rest();
        auto left = s.rig.group->retry_unreadable();
        REQUIRE(left);
        CHECK(*left == 1);
        s.rig.disk.heal_pages();
        buffer page(block_bytes);
        CHECK_FALSE(s.rig.group->read_unchanged(volume_index{0}, block_index{bad_block},
                                                {s.rig.stream, next(s.rig.last_id)}, page.span(),
                                                cold_reads::wait));
        left = s.rig.group->retry_unreadable();
        REQUIRE(left);
        CHECK(*left == 0);
        s.must_be_clean();
    }

    TEST_CASE("unreadable: a new stream looks at the region anew") {
        spoiled_rig s;
        s.ship_the_rest();
        s.rig.group->begin_tracking();
        s.rig.disk.heal_pages();
        s.rig.catch_up();
        s.must_be_clean();
    }

    TEST_CASE("unreadable: what a client writes while the disk is asked for the first time is in "
              "the barrier") {
        spoiled_rig s;
        const byte_vector fresh(block_bytes, std::byte{0x5a});
        int asked = 0;
        s.rig.disk.before_call([&](const sim_call &c) {
            if (c.what == sim_operation::read && c.path == disk_path &&
                ++asked == bad_block + 2) { // behind the bad one, unheld
                s.rig.note(s.rig.write(0, bad_block * block_bytes, fresh));
            }
        });
        s.ship_the_rest();
        s.rig.disk.before_call({});
        CHECK(all_known(s.rig));
        CHECK(std::ranges::equal(
            fresh, bytes_view(s.rig.durable[0]).subspan(bad_block * block_bytes, block_bytes)));
        s.must_be_clean();
    }

    TEST_CASE("unreadable: verify does not compare what the DR site never got") {
        spoiled_rig s;
        s.ship_the_rest();
        s.rig.disk.heal_pages();
        const auto refused =
            s.rig.group->add_verify({volume_index{0}, {0, region_bytes}}, test_digest);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().context.find("could not be read") != std::string::npos);
        CHECK(
            s.rig.group->add_verify({volume_index{0}, {region_bytes, region_bytes}}, test_digest));
        CHECK(*s.rig.group->retry_unreadable() == 0);
        s.must_be_clean();
    }

    TEST_CASE("unreadable: upkeep looks at some of many bad places at a time, and at all of them "
              "in the end") {
        constexpr std::uint64_t places = 4;
        spoiled_rig s;
        s.ship_the_rest();
        s.rig.group->begin_tracking();
        s.rig.note(s.rig.write(0, region_bytes, s.rig.content((places - 1) * region_bytes)));
        for (std::uint64_t r = 1; r < places; ++r) {
            s.rig.disk.spoil_page(disk_path, r * blocks_per_region + bad_block);
        }
        s.rig.begin_recording();
        REQUIRE(s.rig.group->record_readable({volume_index{0}, {0, places * region_bytes}}));
        s.rig.disk.before_call([&](const sim_call &c) {
            if (c.what == sim_operation::read && c.path == disk_path) {
                s.rig.clock.advance(std::chrono::seconds(30)); // a drive that tries hard
            }
        });
        const time_point begun = s.rig.clock.now();
        CHECK(*s.rig.group->retry_unreadable() == places);
        CHECK(s.rig.clock.now() - begun <= std::chrono::seconds(60));
        s.rig.disk.before_call({});
        s.rig.disk.heal_pages();
        CHECK(*s.rig.group->retry_unreadable() == 1); // goes on behind the one that it looked at
        CHECK(*s.rig.group->retry_unreadable() == 0);
        s.must_be_clean();
    }

    TEST_CASE("unreadable: a volume whose bad places take all the time keeps no other volume's "
              "from being tried") {
        spoiled_rig s;
        s.ship_the_rest();
        s.rig.group->begin_tracking();
        s.rig.note(s.rig.write(1, 0, s.rig.content(region_bytes)));
        s.rig.disk.spoil_page("disks/v1", 3);
        s.rig.begin_recording();
        REQUIRE(s.rig.group->record_readable(first_region));
        REQUIRE(s.rig.group->record_readable({volume_index{1}, {0, region_bytes}}));
        REQUIRE(s.rig.group->unreadable_bytes(volume_index{1}) == block_bytes);
        s.rig.disk.heal_pages();
        s.rig.disk.spoil_page(disk_path, bad_block);
        s.rig.disk.before_call([&](const sim_call &c) {
            if (c.what == sim_operation::read && c.path == disk_path) {
                s.rig.clock.advance(std::chrono::seconds(30));
            }
        });
        for (int i = 0; i < 2; ++i) {
            REQUIRE(s.rig.group->retry_unreadable());
        }
        s.rig.disk.before_call({});
        CHECK(s.rig.group->unreadable_bytes(volume_index{1}) == 0);
        CHECK_FALSE(all_known(s.rig));
        s.rig.disk.heal_pages();
        CHECK(*s.rig.group->retry_unreadable() == 0);
        s.must_be_clean();
    }

    TEST_CASE(
        "unreadable: while a bad place is looked at, writers elsewhere in the range don't wait") {
        spoiled_rig s;
        constexpr std::uint64_t looked_at_twice =
            2 * blocks_per_region; // of the first region: without it held, then held
        std::uint64_t reads = 0;
        std::optional<bool> at_once;
        s.rig.disk.before_call([&](const sim_call &c) {
            if (c.what == sim_operation::read && c.path == disk_path &&
                ++reads == looked_at_twice + 1) {
                at_once = s.rig.try_write(0, 0, s.rig.content(block_bytes)).value();
            }
        });
        REQUIRE(s.rig.group->record_readable({volume_index{0}, {0, 2 * region_bytes}}));
        s.rig.disk.before_call({});
        CHECK(at_once == true);
        s.rig.disk.heal_pages();
        CHECK(*s.rig.group->retry_unreadable() == 0);
        s.must_be_clean();
    }

    // What stays readable then is an accident (the page cache), so a point "without the bad places"
    // would be a mixture.
    TEST_CASE("unreadable: a disk that is gone as a whole is no bad place, and there is no "
              "consistent barrier") {
        spoiled_rig s;
        SUBCASE("its file system was shut down: reads of the place fail, and so does a sync") {
            s.rig.disk.inject(
                {.scope = sim_scope::syncs, .path_prefix = disk_path, .forever = true});
        }
        SUBCASE("it writes through its cache and is gone: a sync has nothing to do") {
            s.rig.note(s.rig.write(0, 2 * region_bytes, s.rig.content(region_bytes)));
            s.rig.disk.set_cached_percent(0);
            s.rig.disk.inject(
                {.scope = sim_scope::reads, .path_prefix = disk_path, .forever = true});
        }
        SUBCASE("the path to it is gone: the reads say so") {
            s.rig.disk.inject({.scope = sim_scope::reads,
                               .path_prefix = disk_path,
                               .forever = true,
                               .number = ENXIO});
            const auto failed = s.rig.group->record_all(first_region);
            REQUIRE_FALSE(failed);
            CHECK(failed.error().whose != fault::volume);
        }
        CHECK_FALSE(s.rig.group->record_readable(first_region));
        CHECK(all_known(s.rig));
        if (s.rig.close(true)) {
            CHECK_FALSE(s.rig.line.back().closed->commit().consistent);
        }
        s.rig.disk.clear_faults();
    }

    TEST_CASE("unreadable: a disk with too many bad blocks is a failure of the catch-up") {
        capture_rig rig = synced_rig(
            {4 * (limits::unreadable_blocks_max + 16) * block_bytes}); // a quarter of it is bad
        start(rig);
        rig.group->begin_tracking();
        rig.group->mark_all_dirty();
        const std::uint64_t blocks = limits::unreadable_blocks_max + 16;
        rig.note(rig.disk.open(disk_path, open_mode::read_write)
                     .value()
                     ->write_at(0, byte_vector(4 * blocks * block_bytes, std::byte{1})));
        for (std::uint64_t b = 0; b < blocks; ++b) {
            rig.disk.spoil_page(disk_path, b);
        }
        rig.disk.set_cached_percent(0);
        rig.begin_recording();
        result<resolve_outcome> last{};
        while (last) {
            const auto piece = rig.group->next_pending({}, 0, 1 << 20);
            REQUIRE(piece);
            last = rig.group->record_readable(*piece);
        }
        CHECK(is(last.error(), errc::limit));
        CHECK(rig.group->unreadable_bytes(volume_index{0}) <=
              limits::unreadable_blocks_max * block_bytes);
        CHECK(rig.group->unreadable_bytes(volume_index{0}) > 0);
    }
}

} // namespace farshore::test
