// One sector of a volume that can't be read: the group is replicated, the place is named, and
// nothing is sent twice.

#include "replicator/base/geometry.hpp"
#include "tests/unit/sites/engine_rig.hpp"

#include <random>

namespace farshore {
namespace {

constexpr std::uint64_t volume_bytes = 4 * limits::MiB;
constexpr std::uint64_t bad_block = 300;

struct spoiled_primary {
    world w;
    receiver_host site{w};
    sender_host primary{w, 'a', trusting::tokens, volume_bytes};
    std::shared_ptr<block_device> device =
        sender_access::device(*primary.engine, "shop", volume_index{0});
    std::mt19937_64 dice{1};

    /// Data that can't be compressed, and a sector that can't be read.
    spoiled_primary() {
        byte_vector data(volume_bytes);
        for (std::byte &b : data) {
            b = static_cast<std::byte>(dice());
        }
        for (std::uint64_t at = 0; at < volume_bytes; at += limits::MiB) {
            REQUIRE(device->write(at, bytes_view(data).subspan(at, limits::MiB), false));
        }
        primary.disk.spoil_page("/srv/data", bad_block);
    }
    byte_vector there() {
        byte_vector all(volume_bytes);
        REQUIRE((*site.disk.open("/srv/data.img", open_mode::read))->read_at(0, all));
        return all;
    }
    byte_vector here() {
        byte_vector all(volume_bytes);
        primary.disk.see_bad_pages(false);
        REQUIRE(device->read(0, all));
        primary.disk.see_bad_pages(true);
        return all;
    }
    void wait() { REQUIRE(w.await(primary.engine->wait("shop", false, std::chrono::minutes(1)))); }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("unreadable: a sector that can't be read leaves the group with points of all else") {
        spoiled_primary p;
        REQUIRE(p.primary.join(p.site.token()));
        REQUIRE(p.primary.streams());
        p.wait();
        const sender_group_status s = p.primary.status();
        REQUIRE(s.volumes[0].unreadable.size() == 1);
        CHECK(s.volumes[0].unreadable[0] == byte_range{bad_block * block_bytes, block_bytes});
        CHECK(s.volumes[0].unreadable_bytes == block_bytes);
        CHECK_MESSAGE(says(s.error, "volume data can't be read at offset 1228800"),
                      s.error.value_or("no error"));
        CHECK(s.bytes_wire < volume_bytes + limits::MiB); // once
        byte_vector expected = p.here();
        std::fill_n(expected.begin() + bad_block * block_bytes, block_bytes, std::byte{0});
        CHECK(p.there() == expected);
        CHECK(p.site.engine->status()[0].points > 0);

        SUBCASE("it is overwritten") {
            const byte_vector fresh(block_bytes, std::byte{0x77});
            REQUIRE(p.device->write(bad_block * block_bytes, fresh, false));
        }
        SUBCASE("it can be read again") { p.primary.disk.heal_pages(); }
        REQUIRE(p.w.run_until([&] { return p.primary.status().volumes[0].unreadable_bytes == 0; },
                              std::chrono::minutes(6)));
        p.wait();
        CHECK(p.there() == p.here());
        CHECK_FALSE(p.primary.status().error);
    }

    TEST_CASE("unreadable: resync --full goes past it as well, and no session ends for it") {
        spoiled_primary p;
        p.primary.disk.heal_pages();
        REQUIRE(p.primary.join(p.site.token()));
        REQUIRE(p.primary.streams());
        p.wait();
        p.primary.disk.spoil_page("/srv/data", bad_block);
        const byte_vector before = p.there();
        REQUIRE(p.primary.world_.await(p.primary.engine->resync("shop", true)));
        REQUIRE(p.w.until([&] { return p.primary.status().state != sender_state::streaming; }));
        REQUIRE(p.primary.streams());
        p.wait();
        CHECK(p.primary.status().volumes[0].unreadable_bytes == block_bytes);
        CHECK(p.there() == before); // what the DR site had there is what it has
        CHECK(p.there() == p.here());
    }
}

} // namespace farshore
