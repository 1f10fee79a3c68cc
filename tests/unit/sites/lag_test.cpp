// lag.bytes is data at risk: what clients wrote and the DR site does not durably hold, in bytes,
// wherever it waits.

#include "tests/unit/sites/engine_rig.hpp"

namespace farshore {

TEST_SUITE("sites") {
    TEST_CASE(
        "lag: counts what clients wrote, not what memory, the spool or the line take for it") {
        world w;
        receiver_host site(w);
        sender_host primary(w, 'a');
        REQUIRE(primary.join(site.token()));
        REQUIRE(primary.streams());
        const auto device = sender_access::device(*primary.engine, "shop", volume_index{0});
        REQUIRE(w.await(primary.engine->wait("shop", true, std::chrono::minutes(1))));
        CHECK(primary.status().lag_bytes == 0);
        w.line.half_open();
        const byte_vector zeroes(32 * 1024, std::byte{'z'}); // compresses to nearly nothing
        for (std::uint64_t i = 0; i < 5; ++i) {
            REQUIRE(device->write(i * 64 * 1024, zeroes, false));
            CHECK(primary.status().lag_bytes == (i + 1) * 32 * 1024); // in the open interval
            w.run_until([] { return false; }, std::chrono::seconds(3));
            CHECK(primary.status().lag_bytes == (i + 1) * 32 * 1024); // closed, encoded, spooled
        }
        for (int i = 0; i < 100; ++i) { // never more than there is
            REQUIRE(device->write(0, zeroes, false));
        }
        CHECK(primary.status().lag_bytes == limits::MiB);
        w.line.heal();
        REQUIRE(w.run_until(
            [&] { return primary.status().connected && primary.status().lag_bytes == 0; },
            std::chrono::minutes(2)));
    }

    TEST_CASE(
        "throttle: the daemon's own is kept over a restart and ends by itself, the groups' stay") {
        world w;
        sender_host primary(w, 'a');
        CHECK(primary.engine->throttle().source == "none");
        REQUIRE(primary.world_.await(primary.engine->throttle_set("shop", 9000, std::nullopt)));
        REQUIRE(primary.world_.await(primary.engine->throttle_set("", 5000, std::nullopt)));
        REQUIRE(
            primary.world_.await(primary.engine->throttle_set("", 7000, std::chrono::seconds(60))));
        CHECK(primary.engine->throttle().rate == 7000);
        CHECK(primary.engine->throttle().source == "override");
        CHECK(primary.status().limit_bytes_per_second == 9000);
        w.await(primary.engine->stop(duration{}));
        sender_host again(primary, 'a');
        CHECK(again.engine->throttle().rate == 7000);
        CHECK(again.engine->throttle().until.has_value());
        w.run_until([] { return false; }, std::chrono::seconds(70));
        CHECK(again.engine->throttle().rate == 5000);
        CHECK(again.engine->throttle().source == "set");
        REQUIRE(again.world_.await(again.engine->throttle_clear("")));
        CHECK_FALSE(again.engine->throttle().rate);
        CHECK(again.status().limit_bytes_per_second == 9000);
        // What can't be kept does not take hold.
        again.disk.set_capacity(again.disk.used_bytes());
        CHECK_FALSE(again.world_.await(again.engine->throttle_set("", 1000, std::nullopt)));
        CHECK_FALSE(again.engine->throttle().rate);
        again.disk.set_capacity(1ULL << 40);
    }
}

} // namespace farshore
