// Failover with both engines: the DR site is promoted, serves, is taken back or comes back after a
// power cut, and the old primary takes no write once it knows.

#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "tests/unit/sites/engine_rig.hpp"

#include <map>

namespace farshore {
namespace {

constexpr const char *replica = "/srv/data.img";

/// A pair in sync with something in it, and what its blocks hold.
struct sites {
    world w;
    std::optional<receiver_host> site;
    std::optional<sender_host> primary;
    std::map<std::uint64_t, std::byte> model; ///< of the primary's

    sites() {
        site.emplace(w);
        primary.emplace(w, 'a');
        REQUIRE(primary->join(site->token()));
        REQUIRE(primary->streams());
        for (std::uint64_t block = 0; block < 40; block += 2) {
            write(block, std::byte{0x11});
        }
        settle();
    }
    std::shared_ptr<block_device> volume() {
        return sender_access::device(*primary->engine, "shop", volume_index{0});
    }
    std::shared_ptr<block_device> served() { return site->served->device("shop", volume_index{0}); }
    static result<> put(block_device &device, std::uint64_t block, std::byte value) {
        return device.write(block * block_bytes, byte_vector(block_bytes, value), false);
    }
    void write(std::uint64_t block, std::byte value) {
        REQUIRE(put(*volume(), block, value));
        model[block] = value;
    }
    void settle() {
        REQUIRE(w.await(primary->engine->wait("shop", false, std::chrono::seconds(60))));
    }
    result<promote_outcome> promote(std::string point = "", bool forced = false) {
        return w.await(site->served->promote("shop", std::move(point), forced, {}));
    }
    result<> discard() { return w.await(site->served->discard("shop")); }
    std::vector<point_info> points() { return w.await(site->engine->points("shop")).value(); }
    /// First byte of a block.
    static result<std::byte> first_of(block_device &device, std::uint64_t block) {
        byte_vector out(block_bytes);
        FS_CHECK(device.read(block * block_bytes, out));
        return out[0];
    }
    std::byte at(const std::string &point, std::uint64_t block) {
        auto devices = w.await(receiver_access::open_devices(*site->engine, "shop", point));
        REQUIRE(devices);
        return *first_of(*(*devices)[0], block);
    }
    bool shows_model(block_device &device) {
        return std::ranges::all_of(
            model, [&](const auto &b) { return first_of(device, b.first) == b.second; });
    }
    bool equal() {
        byte_vector here(limits::MiB);
        byte_vector there(limits::MiB);
        return volume()->read(0, here) &&
               (*site->disk.open(replica, open_mode::read))->read_at(0, there) && here == there;
    }
    void cut() { w.line.cut(std::chrono::seconds(1)); }
    void heal() { w.line.heal(); }
    bool apart() {
        return w.run_until([&] { return !site->status().connected; }, std::chrono::minutes(1));
    }
    receiver_state state() const { return site->status().state; }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("promotion: the newest barrier is served, and points of before stay as they are") {
        sites t;
        t.primary.reset();
        const auto before = t.points();
        const auto done = t.promote();
        REQUIRE_MESSAGE(done, (done ? "" : done.error().text()));
        CHECK(done->point.id == before.back().id);
        CHECK(done->generation.size() == 16);
        REQUIRE(t.served());
        CHECK(t.shows_model(*t.served()));
        CHECK(t.state() == receiver_state::promoted);
        CHECK(t.site->status().serving->volumes.at(0).dirty_bytes == 0);
        REQUIRE(t.put(*t.served(), 4, std::byte{0x77}));
        REQUIRE(t.put(*t.served(), 100, std::byte{0x78}));
        CHECK(t.site->status().serving->volumes.at(0).dirty_bytes == 2 * region_bytes);
        CHECK(t.at(before.back().id, 4) == std::byte{0x11});
        CHECK(t.at(before.back().id, 100) == std::byte{});
        CHECK(*t.first_of(*t.served(), 4) == std::byte{0x77});
    }

    TEST_CASE("promotion: a primary that is connected is not cut off by mistake") {
        sites t;
        const auto refused = t.promote();
        REQUIRE_FALSE(refused);
        CHECK(is(refused.error(), errc::refused));
        CHECK(refused.error().text().find("--force") != std::string::npos);
        CHECK(t.state() == receiver_state::following);
        t.write(3, std::byte{0x22});
        t.settle();
        REQUIRE(t.promote("", true));
        CHECK(t.w.until([&] { return t.primary->status().state == sender_state::fenced; }));
        CHECK_FALSE(t.put(*t.volume(), 3, std::byte{0x23}));
        CHECK_FALSE(t.first_of(*t.volume(), 3));
        CHECK(t.shows_model(*t.served()));
    }

    TEST_CASE("promotion: taken back while the primary served all along") {
        sites t;
        t.cut();
        REQUIRE(t.apart());
        const auto done = t.promote();
        REQUIRE(done);
        REQUIRE(t.put(*t.served(), 4, std::byte{0x77}));
        REQUIRE(t.put(*t.served(), 200, std::byte{0x78}));
        t.write(6, std::byte{0x33});
        REQUIRE(t.discard());
        CHECK(t.state() == receiver_state::following);
        CHECK_FALSE(t.served());
        const std::string kept = "discarded-" + done->generation;
        CHECK(t.at(kept, 4) == std::byte{0x77});
        t.heal();
        REQUIRE(t.primary->streams());
        t.settle();
        CHECK(t.equal());
        CHECK(t.at(kept, 4) == std::byte{0x77});
        CHECK(t.at(kept, 200) == std::byte{0x78});
        CHECK(t.at("latest", 4) == std::byte{0x11});
        const auto again = t.discard();
        REQUIRE_FALSE(again);
        CHECK(is(again.error(), errc::refused));
    }

    TEST_CASE("promotion: the old primary is fenced when it hears of it, and stays so") {
        sites t;
        t.cut();
        REQUIRE(t.apart());
        REQUIRE(t.promote());
        t.write(8, std::byte{0x44});
        t.heal();
        REQUIRE(t.w.until([&] { return t.primary->status().state == sender_state::fenced; }));
        CHECK_FALSE(t.put(*t.volume(), 9, std::byte{1}));
        CHECK_FALSE(t.volume()->flush());
        CHECK(t.w.until([&] { return says(t.primary->status().error, "reverse"); }));
        CHECK(t.site->status().serving->heard_of);
        CHECK(is(t.discard().error(), errc::refused));
        const sim_file_system disk(t.primary->disk);
        t.primary.reset();
        t.primary.emplace(t.w, 'a', trusting::tokens, disk);
        CHECK(t.primary->status().state == sender_state::fenced);
        CHECK_FALSE(t.put(*t.volume(), 9, std::byte{1}));
    }

    TEST_CASE("promotion: at an older point, whose content is served and the rest is kept") {
        sites t;
        const std::string older = t.points().back().id;
        t.write(4, std::byte{0x55});
        t.write(44, std::byte{0x56});
        t.settle();
        const std::string newest = t.points().back().id;
        t.primary.reset();
        REQUIRE(t.promote(older));
        CHECK(*t.first_of(*t.served(), 4) == std::byte{0x11});
        CHECK(*t.first_of(*t.served(), 44) == std::byte{}); // never written before
        CHECK(t.at(newest, 4) == std::byte{0x55});
        CHECK(t.at(older, 4) == std::byte{0x11});
        // What may differ from the primary, and nothing else.
        CHECK(t.site->status().serving->volumes.at(0).dirty_bytes == 2 * region_bytes);
    }

    TEST_CASE("promotion: committed, it can't be taken back; over restarts and power cuts it is") {
        for (const bool commit : {true, false}) {
            for (const std::uint64_t seed : {0U, 1U, 7U}) {
                CAPTURE(commit);
                CAPTURE(seed);
                sites t;
                t.primary.reset();
                const std::string fork = t.points().back().id;
                REQUIRE(t.promote());
                REQUIRE(t.put(*t.served(), 4, std::byte{0x66}));
                REQUIRE(t.served()->flush());
                if (commit) {
                    REQUIRE(t.w.await(t.site->served->settle("shop")));
                    CHECK(is(t.discard().error(), errc::refused));
                }
                t.site->cut_power(seed);
                t.site->start();
                REQUIRE(t.w.until([&] { return t.served() != nullptr; }));
                CHECK(*t.first_of(*t.served(), 4) == std::byte{0x66});
                CHECK(t.site->status().serving->volumes.at(0).dirty_bytes >= region_bytes);
                CHECK(t.at(fork, 4) == std::byte{0x11});
                if (!commit) {
                    REQUIRE(t.discard());
                    CHECK(t.state() == receiver_state::following);
                }
            }
        }
    }

    TEST_CASE("promotion: taken back while its volumes are just beginning to be served") {
        sites t;
        t.primary.reset();
        REQUIRE(t.promote());
        int between = 0;
        for (int steps = 1; steps < 45; ++steps) {
            CAPTURE(steps);
            t.site->cut_power(1);
            t.site->start();
            for (int i = 0; i < steps && !t.served(); ++i) {
                t.w.io.poll_one();
            }
            between += t.site->engine->serving("shop") && !t.served() ? 1 : 0;
            const auto done = t.discard();
            CHECK_MESSAGE(done, (done ? "" : done.error().text()));
            CHECK(t.state() == receiver_state::following);
            static_cast<void>(
                t.w.run_until([&] { return t.served() != nullptr; }, std::chrono::seconds(5)));
            CHECK_FALSE(t.served());
            REQUIRE(t.promote());
        }
        CHECK(between > 3);
    }

    TEST_CASE("promotion: cut off at any moment, the site follows or serves, and nothing is lost") {
        for (std::uint64_t after = 1; after < 120; after += 3) {
            CAPTURE(after);
            sites t;
            t.primary.reset();
            t.site->disk.stop_after(after);
            std::optional<result<promote_outcome>> out;
            asio::co_spawn(t.w.io,
                           store_result(t.site->served->promote("shop", "", false, {}), out),
                           asio::detached);
            static_cast<void>(
                t.w.run_until([&] { return out.has_value(); }, std::chrono::seconds(20)));
            t.site->cut_power(after % 4);
            t.site->start();
            static_cast<void>(
                t.w.run_until([&] { return t.served() || t.state() == receiver_state::following; },
                              std::chrono::seconds(30)));
            if (out && *out) {
                CHECK(t.state() == receiver_state::promoted);
            }
            if (t.state() == receiver_state::following) {
                REQUIRE(t.promote());
            }
            REQUIRE(t.w.until([&] { return t.served() != nullptr; }));
            CHECK(t.shows_model(*t.served()));
        }
    }
}

} // namespace farshore
