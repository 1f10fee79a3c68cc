// Full disks under live engines: clients go on, the status says it, and with space replication goes
// on.

#include "tests/unit/sites/engine_rig.hpp"

#include <random>

namespace farshore {
namespace {

/// A streaming pair, all blocks of whose volume are allocated at both sides.
struct pair_of_engines {
    world w;
    receiver_host site{w};
    sender_host primary{w, 'a'};
    std::shared_ptr<block_device> device;
    std::mt19937_64 dice{1};

    pair_of_engines() {
        REQUIRE(primary.join(site.token()));
        REQUIRE(primary.streams());
        device = sender_access::device(*primary.engine, "shop", volume_index{0});
        rewrite();
        REQUIRE(w.await(primary.engine->wait("shop", false, std::chrono::minutes(1))));
    }
    /// The whole volume, with bytes that can't be compressed, in about two seconds.
    void rewrite() {
        byte_vector data(16 * 4096);
        for (std::uint64_t at = 0; at < limits::MiB; at += data.size()) {
            for (std::byte &b : data) {
                b = static_cast<std::byte>(dice());
            }
            REQUIRE(device->write(at, data, false));
            test::run_for(w.io, w.clock, std::chrono::milliseconds(125));
        }
    }
    bool newest_point_opens() {
        const auto points =
            w.await(site.engine->points("shop")); // `latest` is durable, and waits for space
        REQUIRE(points);
        REQUIRE_FALSE(points->empty());
        const auto devices =
            w.await(receiver_access::open_devices(*site.engine, "shop", points->back().id));
        byte_vector all(limits::MiB);
        return devices && (*devices)[0]->read(0, all);
    }
    void must_catch_up() {
        REQUIRE(w.until([&] {
            return primary.status().state == sender_state::streaming && !primary.status().error;
        }));
        REQUIRE(w.await(primary.engine->wait("shop", false, std::chrono::minutes(1))));
        byte_vector here(limits::MiB);
        byte_vector there(limits::MiB);
        REQUIRE(device->read(0, here));
        REQUIRE((*site.disk.open("/srv/data.img", open_mode::read))->read_at(0, there));
        CHECK(here == there);
        CHECK_FALSE(site.engine->status().front().error);
    }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("full disk: under the sender's spool") {
        pair_of_engines p;
        p.w.line.cut(duration{});
        p.primary.disk.set_capacity(p.primary.disk.used_bytes());
        for (int round = 0; round < 8; ++round) {
            p.rewrite();
        }
        INFO(p.primary.status().error.value_or("nothing"), ", ", name_of(p.primary.status().state));
        CHECK(p.primary.status().state == sender_state::tracking);
        CHECK(says(p.primary.status().error, "No space left"));
        CHECK(p.newest_point_opens());
        p.primary.disk.set_capacity(1ULL << 40);
        p.w.line.heal();
        p.must_catch_up();
    }

    TEST_CASE("bad disk: what the sender's spool can't give back is caught up") {
        pair_of_engines p;
        const auto held = [&] { return p.primary.disk.used_bytes(); };
        p.w.line.cut(duration{});
        const std::uint64_t before = held();
        for (int round = 0; round < 20 && held() < before + limits::MiB; ++round) {
            p.rewrite();
        }
        REQUIRE(held() > before + limits::MiB); // it spilled
        sim_fault unreadable;
        unreadable.scope = sim_scope::reads;
        unreadable.path_prefix = std::string(state) + "/groups/shop/spool";
        unreadable.forever = true;
        p.primary.disk.inject(unreadable);
        p.w.line.heal();
        REQUIRE(p.w.until([&] { return p.primary.status().state == sender_state::streaming; }));
        CHECK(p.newest_point_opens());
        p.must_catch_up();
    }

    TEST_CASE("full disk: under the receiver's journal and undo") {
        pair_of_engines p;
        p.site.fill();
        for (int round = 0; round < 8; ++round) {
            p.rewrite();
        }
        INFO(p.primary.status().error.value_or("nothing"), ", ",
             p.site.engine->status().front().error.value_or("nothing"));
        CHECK(says(p.site.engine->status().front().error, "No space left"));
        CHECK(says(p.primary.status().error, "No space left"));
        CHECK(p.newest_point_opens());
        p.site.give_space();
        p.must_catch_up();
    }
}

} // namespace farshore
