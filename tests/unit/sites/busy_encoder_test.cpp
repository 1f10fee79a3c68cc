// An encoder that is busy all the time, or that gets no processor.

#include "tests/unit/sites/engine_rig.hpp"

#include <algorithm>
#include <random>

namespace farshore {
namespace {

constexpr std::uint64_t volume_bytes = 8 * limits::MiB;
constexpr std::uint64_t hot_bytes = 512 * limits::KiB;
constexpr std::uint64_t piece_bytes = 64 * limits::KiB;
constexpr duration write_every = std::chrono::milliseconds(40);
/// For an interval; clients fill one in less.
constexpr duration encode_takes = std::chrono::milliseconds(1200);

/// Everything in the volume has to be shipped, and the encoder stands still.
struct busy_pair {
    world w;
    receiver_host site{w};
    std::optional<sender_host> primary;
    std::shared_ptr<block_device> device;
    std::mt19937_64 dice{1};
    std::uint64_t hot = 0;
    time_point encoded_at{};

    busy_pair() {
        w.encoder_apart = true;
        w.encoder_held = true;
        primary.emplace(w, 'a', trusting::tokens, volume_bytes);
        device = sender_access::device(*primary->engine, "shop", volume_index{0});
        for (std::uint64_t at = 0; at < volume_bytes; at += piece_bytes) {
            write(at);
        }
        encoded_at = w.clock.now();
    }
    ~busy_pair() { w.encoder_held = false; }
    void write(std::uint64_t at) {
        byte_vector data(piece_bytes);
        for (std::byte &b : data) {
            b = static_cast<std::byte>(dice());
        }
        REQUIRE(device->write(at, data, false));
    }
    /// Clients overwrite the same places; the encoder takes its time for each interval.
    void live(duration d) {
        for (const time_point end = w.clock.now() + d; w.clock.now() < end;) {
            write(hot);
            hot = (hot + piece_bytes) % hot_bytes;
            test::run_for(w.io, w.clock, write_every);
            if (w.clock.now() >= encoded_at + encode_takes) {
                w.run_encoder();
                encoded_at = w.clock.now();
            }
        }
    }
    sender_group_status status() const { return primary->engine->status().front(); }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("catch-up: the scan goes on and ends while the encoder is always busy") {
        busy_pair p;
        REQUIRE(p.primary->join(p.site.token()));
        p.live(std::chrono::seconds(15)); // the pipeline is full by now
        const std::uint64_t done = p.status().sync_done_bytes;
        for (int round = 0; round < 20 && p.status().state == sender_state::initial_sync; ++round) {
            p.live(std::chrono::seconds(5));
        }
        INFO("after 15 s ", done, ", then ", p.status().sync_done_bytes, " of ",
             p.status().sync_total_bytes);
        CHECK(p.status().state != sender_state::initial_sync);
        CHECK(p.w.encoder_held);
    }

    TEST_CASE("encoder: a burst is encoded at the clients' priority when nothing else gets the "
              "processor") {
        world w;
        w.encoder_apart = true;
        w.urgent_apart = false;
        receiver_host site(w);
        sender_host primary(w, 'a', trusting::tokens, volume_bytes);
        REQUIRE(primary.join(site.token()));
        REQUIRE(primary.streams());
        w.encoder_held = true;
        const auto device = sender_access::device(*primary.engine, "shop", volume_index{0});
        std::mt19937_64 dice{1};
        byte_vector data(piece_bytes);
        const auto write = [&](std::uint64_t at) {
            std::ranges::generate(data, [&] { return static_cast<std::byte>(dice()); });
            REQUIRE(device->write(at, data, false));
        };
        const auto encoded = [&] { return primary.status().bytes_encoded; };
        const std::uint64_t before = encoded();
        for (std::uint64_t at = 0; at < 4 * limits::MiB; at += piece_bytes) { // 640 MB/s
            write(at);
            test::run_for(w.io, w.clock, std::chrono::microseconds(100));
        }
        CHECK(encoded() > before + 2 * limits::MiB);
        CHECK(primary.status().state == sender_state::streaming);
        // The rest, and what comes slowly, is not worth it.
        test::run_for(w.io, w.clock, std::chrono::seconds(3));
        const std::uint64_t after = encoded();
        write(0);
        test::run_for(w.io, w.clock, std::chrono::seconds(3));
        CHECK(encoded() == after);
        w.encoder_held = false;
        REQUIRE(w.until([&] { return encoded() > after && primary.status().lag_bytes == 0; }));
    }
}

} // namespace farshore
