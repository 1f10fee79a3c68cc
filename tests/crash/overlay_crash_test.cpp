// A writable point stopped after every mutating call, then killed or cut from power: what was
// flushed is there, and of the rest each sector is as before or as written, never anything else.
// Then it goes on: what the crash left in the files does not come up later.

#include "replicator/base/geometry.hpp"
#include "replicator/replica/overlay_directory.hpp"
#include "tests/support/memory_device.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/sector_model.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

namespace farshore {
namespace {

using test::sector_bytes;
using test::sector_model;

constexpr std::uint64_t volume_bytes = 12 * block_bytes + 700;
constexpr std::uint64_t sectors = volume_bytes / sector_bytes + 1;
const std::vector<overlay_volume> volumes{{"data", volume_bytes}};
const std::string directory = "/o/1";

byte_vector random_bytes(std::mt19937_64 &dice, std::size_t count) {
    byte_vector out(count);
    for (std::byte &b : out) {
        b = static_cast<std::byte>(dice());
    }
    return out;
}

struct rig {
    std::shared_ptr<test::memory_device> below =
        std::make_shared<test::memory_device>(volume_bytes);
    byte_vector point;

    rig() {
        std::mt19937_64 dice(1);
        point = random_bytes(dice, volume_bytes);
        static_cast<void>(below->write(0, point, false));
    }
    result<std::shared_ptr<block_device>> open(file_system &files) const {
        const auto space =
            std::make_shared<overlay_space>(files, directory, 8 * volume_bytes, "shop-1");
        FS_TRY(devices, open_overlays(files, directory, interval_id{7}, volumes, {below}, space));
        return devices.front();
    }
};

result<> work(block_device &device, sector_model &model, std::uint64_t seed, int steps) {
    std::mt19937_64 dice(seed);
    for (int i = 0; i < steps; ++i) {
        const std::uint64_t what = dice() % 8;
        // Whole sectors, as disks take them: of a smaller write each byte would count by itself.
        const std::uint64_t first = dice() % sectors;
        const std::uint64_t offset = first * sector_bytes;
        const std::uint64_t length = std::min(
            volume_bytes - offset, (1 + dice() % (3 * block_bytes / sector_bytes)) * sector_bytes);
        if (what == 0) {
            FS_CHECK(device.flush());
            model.settle();
        } else if (what <= 2) {
            const byte_vector zeroes(length);
            model.write(offset, zeroes);
            FS_CHECK(device.write_zeroes({offset, length}, {.keep_allocated = what == 2}));
        } else {
            const byte_vector data = random_bytes(dice, length);
            model.write(offset, data);
            FS_CHECK(device.write(offset, data, what == 3));
            if (what == 3) {
                model.settle(); // as a flush: it is one
            }
        }
    }
    return {};
}

byte_vector content(block_device &device) {
    byte_vector out(device.size());
    const auto read = device.read(0, out);
    REQUIRE_MESSAGE(read.has_value(), (read ? "" : read.error().text()));
    return out;
}

void check_after_crash(const rig &r, sim_file_system &files, sector_model model,
                       std::uint64_t seed) {
    auto device = r.open(files);
    REQUIRE_MESSAGE(device.has_value(), (device ? "" : device.error().text()));
    const byte_vector found = content(**device);
    CHECK_FALSE(model.wrong(found).has_value());
    // Goes on from what it shows, which the next cut must not take back either once flushed.
    model.adopt(found);
    REQUIRE((*device)->flush().has_value());
    REQUIRE(work(**device, model, seed + 1000, 6).has_value());
    CHECK_FALSE(model.wrong(content(**device)).has_value());
    device->reset();
    files.power_cut(seed + 2);
    device = r.open(files);
    REQUIRE(device.has_value());
    CHECK_FALSE(model.wrong(content(**device)).has_value());
}

} // namespace

TEST_SUITE_BEGIN("crash");

TEST_CASE("overlay: stopped after every call, killed or cut from power") {
    const rig r;
    for (std::uint64_t story = 0; story < 12; ++story) {
        sim_file_system before(story + 1);
        REQUIRE(create_overlays(before, directory, interval_id{7}, volumes).has_value());
        bool whole = false;
        for (std::uint64_t stop = 0; !whole; stop += test::one_in) {
            CAPTURE(story);
            CAPTURE(stop);
            sim_file_system files(before);
            sector_model model(r.point);
            {
                const auto process = files.process();
                files.stop_after(stop);
                const auto device = r.open(*process);
                whole = device && work(**device, model, story, 40);
            }
            sim_file_system killed(files);
            killed.kill();
            check_after_crash(r, killed, model, stop);
            for (std::uint64_t seed = 0; seed < 6; ++seed) {
                CAPTURE(seed);
                sim_file_system copy(files);
                copy.power_cut(seed);
                check_after_crash(r, copy, model, seed);
            }
        }
    }
}

TEST_CASE("overlay: made or removed in part, it is made anew or is gone") {
    const rig r;
    for (const bool removing : {false, true}) {
        bool whole = false;
        for (std::uint64_t stop = 0; !whole; ++stop) {
            CAPTURE(removing);
            CAPTURE(stop);
            sim_file_system files(1);
            if (removing) {
                REQUIRE(create_overlays(files, directory, interval_id{7}, volumes).has_value());
            }
            {
                const auto process = files.process();
                files.stop_after(stop);
                whole = (removing ? remove_overlays(*process, directory)
                                  : create_overlays(*process, directory, interval_id{7}, volumes))
                            .has_value();
            }
            for (std::uint64_t seed = 0; seed < 20; ++seed) {
                CAPTURE(seed);
                sim_file_system copy(files);
                copy.power_cut(seed);
                if (whole && !removing) {
                    CHECK(r.open(copy).has_value());
                } else if (whole) {
                    CHECK(copy.exists(directory) == false);
                }
                REQUIRE(remove_overlays(copy, directory).has_value());
                REQUIRE(create_overlays(copy, directory, interval_id{7}, volumes).has_value());
                CHECK(r.open(copy).has_value());
            }
        }
    }
}

TEST_SUITE_END();

} // namespace farshore
