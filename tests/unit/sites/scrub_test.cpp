// Scrubs of a group between two simulated sites: asked for and by themselves, with and without a
// sender, over restarts.

#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "tests/unit/sites/engine_rig.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

constexpr const char *image = "/srv/data.img";
constexpr std::uint64_t spoilt = 7;

/// A pair in sync, whose volume is not empty.
struct pair_of_sites {
    world w;
    receiver_host site{w};
    sender_host primary{w, 'a'};
    std::shared_ptr<block_device> device;

    pair_of_sites() {
        REQUIRE(primary.join(site.token()));
        REQUIRE(primary.streams());
        device = sender_access::device(*primary.engine, "shop", volume_index{0});
        for (std::uint64_t block = 0; block < 20; ++block) {
            write(block, std::byte{0x11});
        }
        REQUIRE(wait());
        REQUIRE(wait());
        test::run_for(w.io, w.clock, std::chrono::seconds(12)); // a commit
    }
    void write(std::uint64_t block, std::byte value) {
        REQUIRE(device->write(block * block_bytes, byte_vector(block_bytes, value), false));
    }
    result<wait_outcome> wait() {
        return w.await(primary.engine->wait("shop", false, std::chrono::seconds(30)));
    }
    result<std::optional<scrub_outcome>> scrub(bool wait = true) {
        return w.await(site.engine->scrub("shop", wait, {}));
    }
    std::vector<point_info> points() { return w.await(site.engine->points("shop")).value(); }
    bool idle() {
        return w.run_until([&] { return !site.status().scrub->running; }, std::chrono::minutes(5));
    }
    bool healed() {
        return w.run_until(
            [&] {
                return primary.status().state == sender_state::streaming &&
                       !primary.status().error && !site.status().error &&
                       site.status().state == receiver_state::following;
            },
            std::chrono::minutes(1));
    }
    bool equal() {
        REQUIRE(wait());
        byte_vector here(limits::MiB);
        byte_vector there(limits::MiB);
        REQUIRE(device->read(0, here));
        REQUIRE((*site.disk.open(image, open_mode::read))->read_at(0, there));
        return here == there;
    }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("scrub: a sound copy is read, compared, and nothing is found") {
        pair_of_sites p;
        const auto found = p.scrub();
        REQUIRE_MESSAGE(found, (found ? "" : found.error().text()));
        REQUIRE(*found);
        CHECK((*found)->compared);
        CHECK((*found)->findings == 0);
        CHECK((*found)->read_bytes >= 20 * block_bytes);
        CHECK((*found)->group == "shop");
        const auto status = p.site.status().scrub;
        REQUIRE(status);
        CHECK_FALSE(status->running);
        CHECK(status->last_finished);
        CHECK(status->damaged == 0);
        CHECK(p.primary.status().state == sender_state::streaming);
    }

    TEST_CASE("scrub: a block of an image that rotted is found, marked and shipped again") {
        pair_of_sites p;
        p.site.disk.corrupt(image, spoilt * block_bytes + 9); // no time tells of it
        const std::string old = p.points().back().id;
        const auto found = p.scrub();
        REQUIRE(found);
        REQUIRE(*found);
        REQUIRE((*found)->findings > 0);
        const scrub_finding &f = (*found)->damaged.front();
        CHECK(f.what == "image");
        CHECK(f.volume == "data");
        CHECK(f.range.overlaps({spoilt * block_bytes, block_bytes}));
        CHECK(f.point_count > 0);
        REQUIRE(p.healed());
        CHECK(p.equal());
        CHECK(p.site.status().damaged_points > 0);
        const auto points = p.points();
        for (const point_info &i : points) {
            CHECK((!i.damaged || std::stoull(i.id) <= std::stoull(old)));
        }
        CHECK_FALSE(points.back().damaged);
        CHECK(p.site.status().newest_point->id == points.back().id);
        const auto again = p.scrub();
        REQUIRE(again);
        CHECK((*again)->findings == 0);
        CHECK((*again)->compared);
    }

    TEST_CASE("scrub: one that was asked for is the only one, and without a sender it says what it "
              "left out") {
        pair_of_sites p;
        p.w.line.cut(duration{});
        REQUIRE(p.w.run_until([&] { return !p.site.status().connected; }, std::chrono::minutes(1)));
        REQUIRE(p.scrub(false));
        const auto second = p.scrub();
        REQUIRE_FALSE(second);
        CHECK(is(second.error(), errc::busy));
        REQUIRE(p.idle());
        const auto found = p.scrub();
        REQUIRE(found);
        CHECK_FALSE((*found)->compared);
        CHECK_FALSE((*found)->why_not.empty());
        CHECK((*found)->findings == 0);
        p.w.line.heal();
    }

    TEST_CASE(
        "scrub: once a period by itself, and a restart in the middle does not begin it anew") {
        pair_of_sites p;
        p.site.stop();
        p.site.scrub_every(std::chrono::minutes(10));
        p.site.start();
        const auto finished = [&] {
            const auto s = p.site.status().scrub;
            return s && s->last_finished;
        };
        REQUIRE(p.w.run_until(finished, std::chrono::minutes(15)));
        const auto first = p.site.status().scrub->last_finished;
        p.site.stop();
        p.site.start();
        test::run_for(p.w.io, p.w.clock, std::chrono::minutes(5));
        CHECK(p.site.status().scrub->last_finished == first);
        REQUIRE(p.w.run_until([&] { return p.site.status().scrub->last_finished != first; },
                              std::chrono::minutes(10)));
        CHECK(p.site.status().scrub->damaged == 0);
    }

    TEST_CASE("scrub: in the background the images wait for a sender, and say so") {
        pair_of_sites p;
        p.w.line.cut(duration{});
        REQUIRE(p.w.run_until([&] { return !p.site.status().connected; }, std::chrono::minutes(1)));
        p.site.stop();
        p.site.scrub_every(std::chrono::minutes(10));
        p.site.start();
        REQUIRE(p.w.run_until(
            [&] {
                const auto s = p.site.status().scrub;
                return s && s->waits;
            },
            std::chrono::minutes(15)));
        CHECK_FALSE(p.site.status().scrub->last_finished);
        p.w.line.heal();
        REQUIRE(p.w.run_until([&] { return p.site.status().scrub->last_finished.has_value(); },
                              std::chrono::minutes(10)));
        CHECK_FALSE(p.site.status().scrub->waits);
    }

    TEST_CASE("scrub: a verify of the primary waits for the range that is compared") {
        pair_of_sites p;
        std::optional<result<std::optional<scrub_outcome>>> scrubbed;
        asio::co_spawn(p.w.io, store_result(p.site.engine->scrub("shop", true, {}), scrubbed),
                       asio::detached);
        const auto verified = p.w.await(p.primary.engine->verify("shop", {}));
        REQUIRE_MESSAGE(verified, (verified ? "" : verified.error().text()));
        CHECK(verified->equal);
        REQUIRE(p.w.run_until([&] { return scrubbed.has_value(); }, std::chrono::minutes(2)));
        REQUIRE(scrubbed->has_value());
        CHECK((**scrubbed)->compared);
        CHECK((**scrubbed)->findings == 0);
    }
}

} // namespace farshore
