// There and back: the DR site is promoted, the old primary follows it with only what differs, and
// takes its role again; writes that one side alone had are points.

#include "tests/unit/sites/two_way_rig.hpp"

namespace farshore {

TEST_SUITE("sites") {
    TEST_CASE("failback: the old primary follows, and what it alone had is a point") {
        two_ways t;
        t.fail_over();
        t.put(*t.primary.device(), 3, std::byte{0x22}); // alive, and cut off
        t.put(*t.served(), 6, std::byte{0x33});
        REQUIRE(t.fenced());
        REQUIRE(t.w.await(t.primary.turned->reverse("shop")));
        REQUIRE(t.w.until([&] { return t.site.status().connected; }));
        t.settle_at_site();
        CHECK(t.equal());
        CHECK(t.primary.status().state == sender_state::following);
        const auto names = t.names_at_primary();
        REQUIRE(names.size() == 1);
        CHECK(names.front().starts_with("diverged-"));
        CHECK(t.at_primary(names.front(), 3) == std::byte{0x22});
        CHECK(t.at_primary("latest", 3) == std::byte{0x11});
        CHECK(t.at_primary("latest", 6) == std::byte{0x33});
        t.put(*t.served(), 9, std::byte{0x44}); // it goes on
        t.settle_at_site();
        CHECK(t.equal());
        CHECK(t.site.status().serving->stream == "streaming");
    }

    TEST_CASE("failback: there and back again, twice, over restarts of both") {
        two_ways t;
        for (int round = 0; round < 2; ++round) {
            CAPTURE(round);
            t.fail_over();
            t.put(*t.served(), 6, static_cast<std::byte>(0x30 + round));
            REQUIRE(t.fenced());
            REQUIRE(t.w.await(t.primary.turned->reverse("shop")));
            REQUIRE(t.w.until([&] { return t.site.status().connected; }));
            t.settle_at_site();
            REQUIRE(t.equal());
            t.primary.cut_power(static_cast<std::uint64_t>(round));
            t.primary.start();
            REQUIRE(t.w.until([&] { return t.site.status().connected; }));
            t.site.cut_power(static_cast<std::uint64_t>(round + 3));
            t.site.start();
            REQUIRE(t.w.until([&] { return t.site.status().connected; }));
            t.put(*t.served(), 12, static_cast<std::byte>(0x40 + round));
            t.settle_at_site();
            REQUIRE(t.equal());
            // Back: nobody writes, all of it is there.
            const auto back = t.w.await(t.primary.turned->served().promote("shop", "", true, {}));
            REQUIRE_MESSAGE(back, (back ? "" : back.error().text()));
            REQUIRE(t.w.until([&] { return t.site.status().serving->fenced; }));
            CHECK_FALSE(t.served()->write(0, byte_vector(block_bytes), false));
            REQUIRE(t.w.await(t.site.served->reverse("shop")));
            REQUIRE(t.streams());
            t.put(*t.primary.device(), 15, static_cast<std::byte>(0x50 + round));
            t.settle_at_primary();
            CHECK(t.equal());
            CHECK(t.site.status().state == receiver_state::following);
        }
    }

    TEST_CASE(
        "failback: cut off at any moment of a reverse, it is fenced or follows, and goes on") {
        for (std::uint64_t after = 1; after < 90; after += 4) {
            CAPTURE(after);
            two_ways t;
            t.fail_over();
            t.put(*t.primary.device(), 3, std::byte{0x22});
            REQUIRE(t.primary.device()->flush());
            t.put(*t.served(), 6, std::byte{0x33});
            REQUIRE(t.fenced());
            t.primary.disk.stop_after(after);
            std::optional<result<>> out;
            asio::co_spawn(t.w.io, store_result(t.primary.turned->reverse("shop"), out),
                           asio::detached);
            static_cast<void>(
                t.w.run_until([&] { return out.has_value(); }, std::chrono::seconds(20)));
            t.primary.cut_power(after % 4);
            t.primary.start();
            const auto state = [&] { return t.primary.status().state; };
            REQUIRE(t.w.until([&] {
                return state() == sender_state::fenced || state() == sender_state::following;
            }));
            if (state() == sender_state::fenced) {
                const auto again = t.w.await(t.primary.turned->reverse("shop"));
                REQUIRE_MESSAGE(again, (again ? "" : again.error().text()));
            }
            REQUIRE(t.w.until([&] { return t.site.status().connected; }));
            t.settle_at_site();
            CHECK(t.equal());
            const auto names = t.names_at_primary();
            REQUIRE_FALSE(names.empty());
            CHECK(t.at_primary(names.back(), 3) == std::byte{0x22});
        }
    }

    TEST_CASE("failback: a site that serves or is plain is not reversed") {
        two_ways t;
        const auto plain = t.w.await(t.primary.turned->reverse("shop"));
        REQUIRE_FALSE(plain);
        CHECK(is(plain.error(), errc::refused));
        CHECK(t.streams());
        const auto following = t.w.await(t.site.served->reverse("shop"));
        REQUIRE_FALSE(following);
        CHECK(is(following.error(), errc::refused));
        t.put(*t.primary.device(), 3, std::byte{0x22});
        t.settle_at_primary();
        CHECK(t.equal());
    }
}

} // namespace farshore
