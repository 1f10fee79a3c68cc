// Writers that outrun memory: the catch-up waits for them, but not for long.

#include "replicator/base/geometry.hpp"
#include "replicator/sender/catch_up_hold.hpp"
#include "tests/unit/sites/engine_rig.hpp"

#include <algorithm>
#include <cstring>
#include <random>

namespace farshore {
namespace {

constexpr duration sample = catch_up_hold::sample_time;
constexpr std::uint64_t volume_bytes = 64 * limits::MiB;
constexpr std::uint64_t piece_bytes = limits::MiB;

/// Samples a hold by a clock of its own.
struct held {
    catch_up_hold hold;
    time_point now{std::chrono::hours(1)};
    std::uint64_t written = 0;

    held() { hold.begin(now, written); }
    bool after(duration d, double bytes_per_second) {
        now += d;
        written += static_cast<std::uint64_t>(bytes_per_second * seconds_of(d));
        return hold.holds(now, written);
    }
};

/// A pair in sync, and a client that writes faster than the encoder takes it.
struct outrun_pair {
    world w;
    receiver_host site{w};
    sender_host primary{w, 'a', trusting::tokens, volume_bytes};
    std::shared_ptr<block_device> device =
        sender_access::device(*primary.engine, "shop", volume_index{0});
    byte_vector data = byte_vector(piece_bytes);
    std::uint64_t number = 0;
    std::uint64_t at = 0;

    outrun_pair() {
        std::mt19937_64 dice(1);
        std::ranges::generate(data, [&] { return static_cast<std::byte>(dice()); });
        REQUIRE(primary.join(site.token()));
        REQUIRE(primary.streams());
    }
    void write() {
        // Random bytes take longer than all the rest: one piece, and a number in each of its
        // blocks.
        for (std::size_t i = 0; i < data.size(); i += block_bytes) {
            std::memcpy(data.data() + i, &number, sizeof number);
            ++number;
        }
        REQUIRE(device->write(at, data, false));
        at = (at + piece_bytes) % volume_bytes;
    }
    /// More at once than the open interval may hold.
    void outrun() {
        for (int i = 0; i < 32; ++i) {
            write();
        }
        w.until([&] { return status().state != sender_state::streaming; });
        REQUIRE(status().state == sender_state::tracking);
    }
    /// 50 MiB/s; the states seen.
    std::vector<sender_state> write_on(duration d) {
        std::vector<sender_state> seen;
        for (const time_point end = w.clock.now() + d; w.clock.now() < end;) {
            write();
            test::run_for(w.io, w.clock, std::chrono::milliseconds(20));
            w.run_encoder();
            if (seen.empty() || seen.back() != status().state) {
                seen.push_back(status().state);
            }
        }
        return seen;
    }
    sender_group_status status() const { return primary.status(); }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("hold: none until order was lost to writers, and none after its end") {
        catch_up_hold hold;
        CHECK(!hold.holds(time_point{}, 0));
        held h;
        CHECK(h.after(sample, 1e9));
        h.hold.end();
        CHECK(!h.after(sample, 1e9));
    }

    TEST_CASE("hold: as long as clients write at more than half their highest rate") {
        held h;
        CHECK(h.after(sample / 2, 0)); // no sample yet
        CHECK(h.after(sample, 500e6));
        CHECK(h.after(sample, 1000e6));
        CHECK(h.after(sample, 600e6));
        CHECK(h.hold.rate() == doctest::Approx(600e6));
        CHECK(!h.after(sample, 400e6));
        CHECK(!h.after(sample, 1000e6)); // it began
    }

    TEST_CASE("hold: not for writers that were slow from the first sample on") {
        held h;
        CHECK(!h.after(sample, catch_up_hold::bulk_rate * 0.9));
    }

    TEST_CASE("hold: ends in time whatever clients do") {
        held h;
        duration waited{};
        while (h.after(sample, 1e9)) {
            waited += sample;
            REQUIRE(waited <= catch_up_hold::hold_max);
        }
        CHECK(waited + sample == catch_up_hold::hold_max);
    }

    TEST_CASE("hold: connected and tracking while clients go on, catching up when they stop") {
        outrun_pair p;
        p.outrun();
        const auto seen = p.write_on(std::chrono::seconds(5));
        CHECK(seen == std::vector{sender_state::tracking});
        CHECK(p.status().connected);
        CHECK(says(p.status().error, "slow down"));
        CHECK(says(p.status().error, "outgrew"));
        CHECK(p.w.run_until([&] { return p.status().state == sender_state::catching_up; },
                            2 * sample));
        CHECK(p.primary.streams());
        CHECK(!p.status().error);
    }

    TEST_CASE("hold: clients that never slow down are caught up with all the same") {
        outrun_pair p;
        p.outrun();
        const auto seen = p.write_on(catch_up_hold::hold_max + std::chrono::seconds(2));
        CHECK(std::ranges::find(seen, sender_state::catching_up) != seen.end());
    }

    TEST_CASE("hold: `resync` does not wait for clients") {
        outrun_pair p;
        p.outrun();
        p.write_on(std::chrono::seconds(1));
        REQUIRE(p.status().state == sender_state::tracking);
        REQUIRE(p.primary.world_.await(p.primary.engine->resync("shop", false)));
        const auto seen = p.write_on(sample * 2);
        CHECK(std::ranges::find(seen, sender_state::catching_up) != seen.end());
    }

    TEST_CASE("hold: `wait` wants the barrier now") {
        outrun_pair p;
        p.outrun();
        p.write_on(std::chrono::seconds(1));
        REQUIRE(p.status().state == sender_state::tracking);
        const time_point asked = p.w.clock.now();
        std::optional<result<wait_outcome>> reached;
        asio::co_spawn(
            p.w.io,
            store_result(p.primary.engine->wait("shop", false, std::chrono::seconds(20)), reached),
            asio::detached);
        const auto seen = p.write_on(sample * 2);
        CHECK(std::ranges::find(seen, sender_state::catching_up) != seen.end());
        CHECK(p.w.until([&] { return reached.has_value(); }));
        CHECK((reached && *reached));
        CHECK(p.w.clock.now() - asked < std::chrono::seconds(20));
    }
}

} // namespace farshore
