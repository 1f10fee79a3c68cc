// A planned change of roles: nothing is lost, clients wait for a moment or go on, and whatever ends
// on the way, one site serves in the end.

#include "tests/unit/sites/two_way_rig.hpp"

#include <array>

namespace farshore {
namespace {

constexpr duration patience = std::chrono::seconds(20);
constexpr std::uint64_t blocks = limits::MiB / block_bytes;

/// What clients wrote, wherever they were served.
struct moved_clients : two_ways {
    std::array<std::byte, blocks> model{};

    moved_clients() {
        for (std::uint64_t block = 0; block < 60; block += 3) {
            model[block] = std::byte{0x11};
        }
    }
    result<std::vector<switchover_outcome>> at_primary_over() {
        return w.await(primary.turned->switchover({"shop"}, patience));
    }
    result<std::vector<switchover_outcome>> at_site_over() {
        return w.await(site.served->switchover({"shop"}, patience));
    }
    /// Null: that site does not serve.
    std::shared_ptr<block_device> of(bool at_site) {
        if (at_site) {
            return site.served ? served() : nullptr;
        }
        const bool there = primary.turned->has("shop") || primary.engine->party("shop") != nullptr;
        return there ? primary.device() : nullptr;
    }
    bool takes_writes(bool at_site, std::uint64_t block, std::byte value) {
        const auto device = of(at_site);
        const bool done =
            device && device->write(block * block_bytes, byte_vector(block_bytes, value), false);
        if (done) {
            model[block] = value;
        }
        return done;
    }
    void write(bool at_site, std::uint64_t block, std::byte value) {
        REQUIRE(takes_writes(at_site, block, value));
    }
    bool shows_model(block_device &device) {
        for (std::uint64_t block = 0; block < blocks; ++block) {
            byte_vector out(block_bytes);
            if (!device.read(block * block_bytes, out) || out[0] != model[block]) {
                return false;
            }
        }
        return true;
    }
    /// One site serves all of it, the other one follows, and both hold the same.
    void settles(const char *what) {
        CAPTURE(what);
        const auto serves = [&](bool at_site) {
            const auto device = of(at_site);
            byte_vector out(block_bytes);
            return device && device->read(0, out);
        };
        const auto follows = [&](bool at_site) {
            return at_site
                       ? site.status().state == receiver_state::following && site.status().connected
                       : primary.status().state == sender_state::following &&
                             primary.status().connected;
        };
        const bool settled = w.run_until(
            [&] { return (serves(false) && follows(true)) || (serves(true) && follows(false)); },
            std::chrono::minutes(2));
        CAPTURE(name_of(primary.status().state));
        CAPTURE(primary.status().error.value_or(""));
        CAPTURE(name_of(site.status().state));
        CAPTURE(site.status().error.value_or(""));
        CAPTURE(serves(false));
        CAPTURE(serves(true));
        REQUIRE(settled);
        const bool at_site = serves(true);
        REQUIRE(serves(!at_site) == false);
        CHECK(shows_model(*of(at_site)));
        write(at_site, 99, std::byte{0x5a});
        at_site ? settle_at_site() : settle_at_primary();
        CHECK(equal());
    }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("switchover: there and back, and nothing but what is new is shipped") {
        moved_clients t;
        t.write(false, 7, std::byte{0x22});
        const auto over = t.at_primary_over();
        REQUIRE_MESSAGE(over, (over ? "" : over.error().text()));
        REQUIRE(over->size() == 1);
        CHECK(over->front().held < std::chrono::seconds(2));
        CHECK_FALSE(t.takes_writes(false, 8, std::byte{1}));
        REQUIRE(t.w.until([&] { return t.served() != nullptr; }));
        CHECK(t.site.status().serving->generation == over->front().generation);
        CHECK(t.site.status().serving->settled);
        CHECK(t.shows_model(*t.served()));
        t.settles("at the DR site");
        CHECK(t.names_at_primary().empty()); // nothing was only there
        t.write(true, 9, std::byte{0x33});
        const auto back = t.at_site_over();
        REQUIRE_MESSAGE(back, (back ? "" : back.error().text()));
        t.settles("back again");
        CHECK(t.of(false));
        t.write(false, 10, std::byte{0x44});
        REQUIRE(t.at_primary_over());
        t.settles("and there");
        CHECK(t.served());
    }

    TEST_CASE("switchover: what can't be handed over goes on as it is") {
        moved_clients t;
        CHECK(is(t.at_site_over().error(), errc::not_in_sync)); // it is not served there
        CHECK(is(t.w.await(t.primary.turned->switchover({"other"}, patience)).error(),
                 errc::not_found));
        CHECK(is(t.w.await(t.primary.turned->switchover({"shop", "shop"}, patience)).error(),
                 errc::invalid));
        REQUIRE(t.w.await(t.primary.engine->pause("shop")));
        CHECK(is(t.at_primary_over().error(), errc::not_in_sync));
        t.write(false, 1, std::byte{0x21});
        REQUIRE(t.w.await(t.primary.engine->resume("shop")));
        t.w.line.cut(std::chrono::seconds(1));
        const auto cut_off = t.at_primary_over();
        REQUIRE_FALSE(cut_off);
        t.write(false, 2, std::byte{0x22});
        t.w.line.heal();
        t.settles("healed");
        CHECK(t.of(false));
    }

    TEST_CASE("switchover: an offer that is not taken is void, and clients go on") {
        moved_clients t;
        sim_fault bad;
        bad.path_prefix = std::string(state) + "/groups/shop/role.json";
        bad.forever = true;
        t.site.disk.inject(bad);
        const auto refused = t.at_primary_over();
        REQUIRE_FALSE(refused);
        CHECK((is(refused.error(), errc::not_in_sync) || is(refused.error(), errc::timeout)));
        CHECK_FALSE(t.served());
        t.site.disk.clear_faults();
        REQUIRE(t.w.until([&] { return t.takes_writes(false, 3, std::byte{0x23}); }));
        t.settles("not taken");
        REQUIRE(t.at_primary_over());
        t.settles("taken");
    }

    TEST_CASE("switchover: a site ends at any moment of it, and one of them serves all of it") {
        for (const bool of_site : {false, true}) {
            for (std::uint64_t after = 1; after < 90; after += 2) {
                CAPTURE(of_site);
                CAPTURE(after);
                moved_clients t;
                t.write(false, 7, std::byte{0x22});
                REQUIRE(t.primary.device()->flush());
                (of_site ? t.site.disk : t.primary.disk).stop_after(after);
                std::optional<result<std::vector<switchover_outcome>>> out;
                asio::co_spawn(t.w.io,
                               store_result(t.primary.turned->switchover({"shop"}, patience), out),
                               asio::detached);
                t.w.run_until([&] { return out.has_value(); }, std::chrono::seconds(40));
                if (of_site) {
                    t.site.cut_power(after % 4);
                    t.site.start();
                } else {
                    t.primary.cut_power(after % 4);
                    t.primary.start();
                }
                t.settles("after a power cut");
            }
        }
    }

    TEST_CASE("switchover: the line breaks at any moment of it, and one of them serves all of it") {
        for (int steps = 0; steps < 240; steps += 3) {
            CAPTURE(steps);
            moved_clients t;
            t.write(false, 7, std::byte{0x22});
            std::optional<result<std::vector<switchover_outcome>>> out;
            asio::co_spawn(t.w.io,
                           store_result(t.primary.turned->switchover({"shop"}, patience), out),
                           asio::detached);
            for (int i = 0; i < steps && !out; ++i) {
                if (t.w.io.poll_one() == 0) {
                    t.w.run_until([] { return false; }, std::chrono::milliseconds(1));
                }
            }
            t.w.line.cut(std::chrono::seconds(1));
            t.w.run_until([&] { return out.has_value(); }, std::chrono::seconds(40));
            t.w.line.heal();
            t.settles("after a cut");
        }
    }

    TEST_CASE("after contact: a primary that was cut off waits until it knows that nobody else "
              "was promoted") {
        moved_clients t;
        t.primary.after_contact = true;
        t.primary.stop(); // in order
        t.primary.start();
        t.write(false, 1, std::byte{0x31});
        t.settle_at_primary();
        REQUIRE(t.primary.device()->flush());
        for (const int then : {0, 1, 2}) {
            CAPTURE(then);
            t.w.line.cut(std::chrono::seconds(1));
            t.primary.cut_power(1);
            t.primary.start();
            t.w.run_until([] { return false; }, std::chrono::seconds(5));
            byte_vector out(block_bytes);
            CHECK(is_errno(t.primary.device()->read(0, out).error(), EAGAIN));
            CHECK_FALSE(t.takes_writes(false, 2, std::byte{1}));
            CHECK(says(t.primary.status().error, "after-contact"));
            if (then == 0) { // the line is back, and nobody was
                t.w.line.heal();
                REQUIRE(t.w.until([&] { return t.takes_writes(false, 2, std::byte{0x32}); }));
                t.settle_at_primary();
                REQUIRE(t.primary.device()->flush());
            } else if (then == 1) { // the operator knows
                REQUIRE(t.w.await(t.primary.engine->take_role_back("shop")));
                t.write(false, 3, std::byte{0x33});
                t.w.line.heal();
                t.settle_at_primary();
                REQUIRE(t.primary.device()->flush());
            } else {
                t.fail_over();
                REQUIRE(t.fenced());
                CHECK_FALSE(t.takes_writes(false, 4, std::byte{1}));
            }
        }
    }

    TEST_CASE(
        "after contact: also of a generation that the other site has acknowledged nothing of") {
        moved_clients t;
        t.primary.after_contact = true;
        t.primary.stop(); // in order
        t.primary.start();
        REQUIRE(t.streams());
        REQUIRE(t.at_primary_over());
        t.settles("at the DR site");
        REQUIRE(t.at_site_over());
        REQUIRE(t.w.until([&] { return t.takes_writes(false, 5, std::byte{0x35}); }));
        t.w.line.cut(std::chrono::seconds(1)); // nobody waits where the role was given just now
        t.write(false, 6, std::byte{0x36});
        REQUIRE(t.primary.device()->flush());
        t.primary.cut_power(1);
        t.primary.start();
        REQUIRE(t.w.until([&] { return t.of(false) != nullptr; }));
        t.w.run_until([] { return false; }, std::chrono::seconds(5));
        CHECK_FALSE(t.takes_writes(false, 7, std::byte{1}));
        t.w.line.heal();
        t.settles("heard");
        CHECK(t.of(false));
    }

    TEST_CASE("split brain: both go on and say so, until one of them is told to follow") {
        for (const bool primary_follows : {true, false}) {
            CAPTURE(primary_follows);
            moved_clients t;
            std::optional<result<std::vector<switchover_outcome>>> out;
            asio::co_spawn(t.w.io,
                           store_result(t.primary.turned->switchover({"shop"}, patience), out),
                           asio::detached);
            REQUIRE(t.w.until([&] { return t.site.status().serving.has_value(); }));
            t.w.line.cut(std::chrono::seconds(1)); // before the primary hears of it
            REQUIRE(t.w.run_until([&] { return out.has_value(); }, std::chrono::minutes(1)));
            REQUIRE_FALSE(*out);
            CHECK(is(out->error(), errc::timeout));
            CHECK(t.primary.status().state == sender_state::handing_over);
            CHECK_FALSE(t.takes_writes(false, 20, std::byte{1}));
            CHECK(is(t.w.await(t.primary.turned->reverse("shop", true)).error(), errc::refused));
            REQUIRE(t.w.await(t.primary.engine->take_role_back("shop")));
            REQUIRE(t.w.until([&] { return t.served() != nullptr; }));
            t.put(*t.primary.device(), 20, std::byte{0x41});
            t.put(*t.served(), 21, std::byte{0x42});
            t.w.line.heal();
            REQUIRE(t.w.until([&] { return says(t.primary.status().error, "--keep there"); }));
            t.put(*t.primary.device(), 22, std::byte{0x43}); // both go on
            t.put(*t.served(), 23, std::byte{0x44});
            CHECK(is(t.w.await(t.primary.turned->reverse("shop")).error(), errc::refused));
            if (primary_follows) {
                t.model[21] = std::byte{0x42};
                t.model[23] = std::byte{0x44};
                REQUIRE(t.w.await(t.primary.turned->reverse("shop", true)));
                t.settles("the primary follows");
                const auto names = t.names_at_primary();
                REQUIRE(names.size() == 1);
                CHECK(t.at_primary(names.front(), 20) == std::byte{0x41});
                CHECK(t.at_primary(names.front(), 22) == std::byte{0x43});
            } else {
                t.model[20] = std::byte{0x41};
                t.model[22] = std::byte{0x43};
                REQUIRE(t.w.await(t.site.served->reverse("shop", true)));
                t.settles("the DR site follows");
                const auto points = *t.w.await(t.site.engine->points("shop"));
                const auto kept = std::ranges::find_if(
                    points, [](const point_info &p) { return p.name.starts_with("diverged-"); });
                REQUIRE(kept != points.end());
                auto devices =
                    t.w.await(receiver_access::open_devices(*t.site.engine, "shop", kept->id));
                REQUIRE(devices);
                byte_vector out_of(block_bytes);
                REQUIRE((*devices)[0]->read(21 * block_bytes, out_of));
                CHECK(out_of[0] == std::byte{0x42});
            }
        }
    }
}

} // namespace farshore
