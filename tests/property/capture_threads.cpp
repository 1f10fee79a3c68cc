// Several clients, a scan, closes and acknowledgements at once, for the prefix promise and for the
// thread sanitizer.
//
// Each client owns some blocks of both volumes and writes them with a counter in the manner of a
// log: counter n to volume 0, and only when that is done, n to volume 1. At every consistent
// barrier a client's blocks must hold n on volume 0 and n or n - 1 on volume 1, and never go back.

#include "replicator/storage/posix_file_system.hpp"
#include "tests/support/temp_directory.hpp"
#include "tests/unit/capture/capture_rig.hpp"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <thread>

using namespace farshore;
using namespace farshore::test;

namespace {

constexpr std::uint64_t volume_bytes = 2U << 20;
constexpr unsigned clients = 3;

/// Where a client's counter n stands: 8 slots in turn, in blocks that clients share in parts.
std::uint64_t place(unsigned client, std::uint64_t n) {
    return n % 8 * (3 * region_bytes) + client * 1024;
}

byte_vector record(std::uint64_t n) {
    byte_vector out(1024, static_cast<std::byte>(n));
    std::memcpy(out.data(), &n, sizeof n);
    return out;
}

std::uint64_t newest(const byte_vector &volume, unsigned client) {
    std::uint64_t best = 0;
    for (std::uint64_t slot = 0; slot < 8; ++slot) {
        std::uint64_t n = 0;
        std::memcpy(&n, volume.data() + place(client, slot), sizeof n);
        best = std::max(best, n);
    }
    return best;
}

void put(block_device &device, std::uint64_t offset, bytes_view data, std::atomic<int> &failures) {
    const auto at_once = device.try_write(offset, data);
    if (!at_once || (!*at_once && !device.write(offset, data, false))) {
        ++failures;
    }
}

} // namespace

TEST_CASE("capture: dependent writes of several threads arrive as a prefix") {
    const temp_directory directory;
    posix_file_system files;
    system_clock clock;
    capture_options options;
    options.state_directory = directory / "state";
    options.boot_id = "boot";
    options.time = &clock;
    for (const char *name : {"v0", "v1"}) {
        options.volumes.push_back({name, directory / name});
        REQUIRE(files.open(directory / name, open_mode::create).value()->truncate(volume_bytes));
    }
    auto opened = capture_group::open(files, options);
    REQUIRE(opened);
    capture_group &group = **opened;
    std::atomic<bool> stop = false;
    std::atomic<int> failures = 0;
    std::array<std::atomic<std::uint64_t>, clients> written{};
    std::vector<std::thread> threads;
    for (unsigned c = 0; c < clients; ++c) {
        threads.emplace_back([&, c] {
            const auto first = group.device(volume_index{0});
            const auto second = group.device(volume_index{1});
            for (std::uint64_t n = 1; !stop; ++n) {
                put(*first, place(c, n), record(n), failures);
                put(*second, place(c, n), record(n), failures);
                if (n % 16 == 0 && !second->trim({24 * region_bytes + c * 5000, 70000}, false)) {
                    ++failures;
                }
                written[c] = n;
            }
        });
    }
    std::vector<byte_vector> replica(2, byte_vector(volume_bytes));
    std::vector<std::uint64_t> seen(clients);
    std::vector<std::string> problems;
    const auto expect = [&](bool holds, const std::string &text) {
        if (!holds && problems.size() < 5) {
            problems.push_back(text);
        }
    };
    const auto close_and_apply = [&] {
        const auto closed = group.close_interval(wall_time{}, true, false);
        if (!closed) {
            expect(false, "not recording: " + group.fallback_reason());
            return;
        }
        closed->wait_settled();
        const std::string wrong = apply_changes(*closed, replica);
        expect(wrong.empty(), wrong);
        group.durable(closed->position(), {});
        for (unsigned c = 0; c < clients && closed->commit().consistent; ++c) {
            const std::uint64_t a = newest(replica[0], c);
            const std::uint64_t b = newest(replica[1], c);
            expect(a == b || a == b + 1, fmt::format("client {}: {} and {}", c, a, b));
            expect(a >= seen[c], "a client's writes went back");
            seen[c] = a;
        }
    };
    for (std::uint64_t round = 1; round <= 4; ++round) {
        group.begin_recording(stream_id{round}, interval_id{1'000'000 * round});
        for (auto p = group.next_pending({}, 0, 1U << 20); p;
             p = group.next_pending({}, 0, 1U << 20)) {
            const bytes_view at =
                bytes_view(replica[p->volume.value]).subspan(p->range.offset, p->range.length);
            std::vector<digest16> peer;
            for (std::uint64_t b = 0; b < at.size(); b += block_bytes) {
                peer.push_back(test_digest(at.subspan(b, block_bytes)));
            }
            const auto resolved = group.resolve(*p, block_bytes, peer, test_digest);
            expect(resolved.has_value(), "resolve failed");
            if (!resolved) {
                break;
            }
            close_and_apply();
        }
        const std::array<std::uint64_t, clients> from{written[0], written[1], written[2]};
        const auto advanced = [&] {
            for (unsigned c = 0; c < clients; ++c) {
                if (written[c] < from[c] + 100) {
                    return false;
                }
            }
            return true;
        };
        while (!advanced() && problems.empty()) {
            close_and_apply();
            expect(group.maintain().has_value(), "maintain failed");
            std::this_thread::yield();
        }
        group.begin_tracking();
    }
    stop = true;
    for (std::thread &t : threads) {
        t.join();
    }
    for (std::uint16_t v = 0; v < 2; ++v) {
        byte_vector live(volume_bytes);
        REQUIRE(group.device(volume_index{v})->read(0, live));
        for (std::uint64_t at = 0; at < volume_bytes; at += region_bytes) {
            const auto dirty =
                group.device(volume_index{v})->status({at, region_bytes}, status_context::dirty, 1);
            const bool differs =
                std::memcmp(live.data() + at, replica[v].data() + at, region_bytes) != 0;
            expect(!differs || (*dirty)[0].flags == 1, "a region differs and is clean");
        }
    }
    for (const std::string &problem : problems) {
        FAIL_CHECK(problem);
    }
    CHECK(failures == 0);
}
