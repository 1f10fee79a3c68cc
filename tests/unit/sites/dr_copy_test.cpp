// What the DR site says of its copy is what it has: `latest` is what is durable, a copy that is not
// as it was left or is known to differ makes no points and says so at both ends, and an image that
// is gone acknowledges nothing.

#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "replicator/replica/replica_group.hpp"
#include "tests/unit/sites/engine_rig.hpp"

#include <unistd.h>

namespace farshore {
namespace {

constexpr const char *image = "/srv/data.img";

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
    }
    void write(std::uint64_t block, std::byte value) {
        REQUIRE(device->write(block * block_bytes, byte_vector(block_bytes, value), false));
    }
    result<wait_outcome> wait(bool durable = false, duration patience = std::chrono::seconds(30)) {
        return w.await(primary.engine->wait("shop", durable, patience));
    }
    std::vector<point_info> points() { return w.await(site.engine->points("shop")).value(); }
    /// The first byte of a block as of a point.
    result<std::byte> at(const std::string &point, std::uint64_t block) {
        FS_TRY(devices, w.await(receiver_access::open_devices(*site.engine, "shop", point)));
        byte_vector out(block_bytes);
        FS_CHECK(devices[0]->read(block * block_bytes, out));
        return out[0];
    }
    /// Until the commit after the last one, and a little.
    void rest() { test::run_for(w.io, w.clock, std::chrono::seconds(12)); }
    bool healed() {
        return w.run_until(
            [&] {
                return primary.status().state == sender_state::streaming &&
                       !primary.status().error && !site.status().error &&
                       site.status().state == receiver_state::following;
            },
            std::chrono::minutes(1));
    }
    void write_by_hand() {
        const auto file = std::move(*site.disk.open(image, open_mode::read_write));
        REQUIRE(file->write_at(5 * block_bytes, byte_vector(block_bytes, std::byte{0xEE})));
    }
    void check_equal() {
        REQUIRE(wait());
        byte_vector here(limits::MiB);
        byte_vector there(limits::MiB);
        REQUIRE(device->read(0, here));
        REQUIRE((*site.disk.open(image, open_mode::read))->read_at(0, there));
        CHECK(here == there);
    }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("DR copy: an image deleted or renamed under the receiver acknowledges nothing, and "
              "both sites say so") {
        for (const bool renamed : {false, true}) {
            CAPTURE(renamed);
            pair_of_sites p;
            if (renamed) {
                REQUIRE(p.site.disk.rename(image, "/srv/away"));
            } else {
                REQUIRE(p.site.disk.remove(image));
            }
            p.write(3, std::byte{0x22});
            for (const bool durable : {true, false}) {
                const auto waited = p.wait(durable, std::chrono::seconds(4));
                REQUIRE_FALSE(waited);
                CHECK(is(waited.error(), errc::timeout));
            }
            CHECK(p.site.status().state == receiver_state::failed);
            CHECK(p.w.until([&] { return says(p.primary.status().error, image); }));
            if (renamed) {
                REQUIRE(p.site.disk.rename("/srv/away", image));
                CHECK(p.healed());
                p.check_equal();
            }
        }
    }

    TEST_CASE("DR copy: an image deleted while nothing is written is noticed within seconds") {
        pair_of_sites p;
        REQUIRE(p.site.disk.remove(image));
        CHECK(p.w.until([&] { return p.site.status().state == receiver_state::failed; }));
        CHECK(p.w.until([&] { return says(p.primary.status().error, image); }));
    }

    TEST_CASE("DR copy: an image written by hand while the receiver was stopped is compared, and "
              "its points are refused") {
        pair_of_sites p;
        const std::string before = p.points().back().id;
        p.site.stop();
        p.write_by_hand();
        p.site.start();
        CHECK(says(p.site.status().error, image));
        CHECK(says(p.site.status().held_back, "no point is made"));
        CHECK(p.site.status().suspect_points == p.site.status().points);
        CHECK_FALSE(p.site.status().newest_point);
        CHECK(is(p.at(before, 5).error(), errc::refused));
        REQUIRE(p.healed());
        p.check_equal();
        CHECK(p.site.status().newest_point);
        CHECK(p.at("latest", 5) == std::byte{0x11});
        CHECK(is(p.at(before, 5).error(), errc::refused));
    }

    TEST_CASE("DR copy: an image written by hand while the receiver runs is compared at the next "
              "commit") {
        pair_of_sites p;
        p.rest();
        const std::string before = p.points().back().id;
        p.write_by_hand();
        p.rest();
        REQUIRE(p.healed());
        p.check_equal();
        CHECK(is(p.at(before, 5).error(), errc::refused));
        CHECK(p.at("latest", 5) == std::byte{0x11});
    }

    TEST_CASE("DR copy: an opening whose point becomes suspect is named, once") {
        pair_of_sites p;
        p.rest();
        const auto opened = p.w.await(p.site.engine->open(
            "shop", {.point = p.points().back().id,
                     .nbd = "unix:/tmp/farshore-suspect-" + std::to_string(getpid()) + ".sock"}));
        REQUIRE(opened);
        std::string said;
        log::set_sink(
            [&said](log::level, std::string_view text) { said.append(text).append("\n"); });
        p.write_by_hand();
        p.rest();
        p.rest();
        log::set_sink({});
        const std::string words = "opened as " + opened->id + ", is suspect now";
        const std::size_t at = said.find(words);
        CAPTURE(said);
        CAPTURE(p.site.status().suspect_points);
        CHECK(at != std::string::npos);
        CHECK(said.find(words, at + 1) == std::string::npos);
    }

    TEST_CASE("DR copy: put back to an older time without a proof, its points are suspect before "
              "the primary goes on") {
        pair_of_sites p;
        p.rest();
        p.write(3, std::byte{0x22});
        REQUIRE(p.wait());
        const sim_file_system then(
            p.site.disk); // nothing committed since: the images are not proved
        p.write(3, std::byte{0x33});
        REQUIRE(p.wait());
        p.site.stop();
        p.site.disk.revert(then);
        p.site.start();
        CHECK(p.site.status().suspect_points == 0);
        const auto goes_on = [&] { return p.primary.status().state == sender_state::catching_up; };
        REQUIRE(p.w.run_until(goes_on, std::chrono::minutes(1)));
        sim_file_system killed(p.site.disk);
        replica_options options;
        options.state_directory = std::string(state) + "/groups/shop";
        options.journal_bytes_max = 16 * limits::MiB;
        options.own_directory = "/srv";
        const auto copy = replica_group::open(killed, options);
        REQUIRE(copy);
        REQUIRE((*copy)->apply());
        REQUIRE_FALSE((*copy)->points().empty());
        for (const replica_point &point : (*copy)->points()) {
            CHECK(point.suspect);
        }
        REQUIRE(p.healed());
        p.check_equal();
    }

    TEST_CASE(
        "DR copy: when all points are suspect a clock that is a month ahead drops none of them") {
        pair_of_sites p;
        p.rest();
        p.site.stop();
        p.write_by_hand();
        p.w.line.cut(duration{});
        p.site.retain({{duration{}, std::chrono::days(2)}});
        p.w.clock.jump_wall(std::chrono::days(30));
        p.site.start();
        const std::uint64_t points = p.site.status().points;
        CHECK(points > 1);
        CHECK(p.site.status().suspect_points == points);
        test::run_for(p.w.io, p.w.clock, std::chrono::seconds(30));
        CHECK(p.site.status().points == points);
        p.w.clock.jump_wall(-std::chrono::days(30));
        p.w.line.heal();
        CHECK(p.healed());
    }

    TEST_CASE("DR copy: what verify found different makes no points until a catch-up has healed "
              "it, by itself") {
        pair_of_sites p;
        p.rest();
        p.site.disk.corrupt(image, 7 * block_bytes + 9); // rots: no time tells of it
        const std::size_t points = p.points().size();
        const auto verified = p.w.await(p.primary.engine->verify("shop", {}));
        REQUIRE(verified);
        CHECK_FALSE(verified->equal);
        REQUIRE(verified->differences.size() == 1);
        CHECK(verified->differences[0].range == byte_range{7 * block_bytes, block_bytes});
        REQUIRE(p.healed());
        p.check_equal();
        CHECK(p.points().size() <= points + 3); // those of after
        const auto again = p.w.await(p.primary.engine->verify("shop", {}));
        REQUIRE(again);
        CHECK(again->equal);
    }

    TEST_CASE("DR copy: known to differ, it says so and makes no point while the primary can't be "
              "reached") {
        pair_of_sites p;
        p.rest();
        p.site.disk.corrupt(image, 7 * block_bytes + 9);
        const auto before = p.site.status().newest_point;
        // The answer gets out, and then the line is gone.
        bool cut = false;
        std::optional<result<verify_outcome>> verified;
        asio::co_spawn(p.w.io, store_result(p.primary.engine->verify("shop", {}), verified),
                       asio::detached);
        const auto ended = [&] {
            if (!cut && p.site.status().held_back) {
                cut = true;
                p.w.line.cut(duration{});
            }
            return verified.has_value();
        };
        REQUIRE(p.w.run_until(ended, std::chrono::minutes(1)));
        CHECK(cut);
        CHECK_FALSE(verified->has_value());
        CHECK(says(p.site.status().held_back, "verify"));
        CHECK(says(p.site.status().error, "no point is made"));
        CHECK(p.site.status().state == receiver_state::receiving_sync);
        CHECK(p.points().back().id == before->id);
        p.w.line.heal();
        REQUIRE(p.healed());
        p.check_equal();
    }

    TEST_CASE(
        "DR copy: what was durable is `latest` right after a restart that has it still to replay") {
        pair_of_sites p;
        p.rest(); // a commit: nothing has to be rolled back
        p.site.disk.before_call([&](const sim_call &call) {
            if (is_mutating(call.what) && call.path.starts_with("/state/groups/shop/undo")) {
                p.site.disk.stop_after(
                    0); // the receiver ends before it shows what it has acknowledged
            }
        });
        p.write(3, std::byte{0x33});
        const auto waited = p.wait(true);
        REQUIRE(waited);
        CHECK(p.w.until([&] { return p.site.disk.stopped(); }));
        p.site.disk.before_call({});
        p.site.stop();
        p.site.disk.kill();
        // A disk on which apply can't go on for a while.
        sim_fault full;
        full.scope = sim_scope::writes;
        full.path_prefix = image;
        full.number = ENOSPC;
        full.forever = true;
        p.site.disk.inject(full);
        p.site.start();
        const receiver_group_status s = p.site.status();
        CHECK(s.state == receiver_state::replaying);
        REQUIRE(s.replay);
        CHECK(s.replay->total_bytes > 0);
        CHECK(s.durable_barrier->id == waited->barrier);
        CHECK(s.durable_barrier->time == waited->time);
        CHECK(s.applied_barrier->time > wall_time{});
        const auto refused = p.at("latest", 3);
        REQUIRE_FALSE(refused);
        CHECK(is(refused.error(), errc::not_in_sync));
        p.site.disk.clear_faults();
        CHECK(p.w.until([&] { return p.at("latest", 3) == std::byte{0x33}; }));
        CHECK(p.site.status().state == receiver_state::following);
        CHECK_FALSE(p.site.status().replay);
        CHECK(p.points().back().id == waited->point);
    }

    TEST_CASE("DR copy: images that can't be written are named at the primary until they can, and "
              "by `wait`") {
        pair_of_sites p;
        sim_fault full;
        full.scope = sim_scope::writes;
        full.path_prefix = image;
        full.number = ENOSPC;
        full.forever = true;
        p.site.disk.inject(full);
        p.write(3, std::byte{0x44});
        REQUIRE(p.wait(true)); // the journal has room
        CHECK(p.w.until([&] { return says(p.primary.status().error, "can't write its copy"); }));
        const auto waited = p.wait(false, std::chrono::seconds(10));
        REQUIRE_FALSE(waited);
        CHECK(waited.error().context.find(image) != std::string::npos);
        for (int i = 0; i < 40; ++i) { // all the while, not now and then
            test::run_for(p.w.io, p.w.clock, std::chrono::milliseconds(700));
            CHECK(says(p.primary.status().error, "can't write its copy"));
            CHECK(p.primary.status().connected);
        }
        p.w.line.reset_all(); // nor is it forgotten with the session
        CHECK(p.w.until([&] { return p.primary.status().connected; }));
        CHECK(p.w.until([&] { return says(p.primary.status().error, "can't write its copy"); }));
        p.site.disk.clear_faults();
        REQUIRE(p.healed());
        p.check_equal();
    }
}

} // namespace farshore
