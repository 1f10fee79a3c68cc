// Block devices tell nothing of writes that were made while we were not looking. So at each start some regions that the map
// calls clean are compared all the same: the first and last ones, where file systems and partition tables write, those
// beside what was written last, and random ones. A restore of the device or an fsck is in one of them nearly always; then
// everything is compared. What it does not find, `farshore verify` and `farshore resync --full` do.

#include "replicator/base/log.hpp"
#include "replicator/group/capture_core.hpp"

#include <random>

namespace farshore {
namespace {

constexpr std::uint64_t ends = 16;          ///< regions at either end
constexpr std::uint64_t beside_active = 64; ///< in extents that were written last
constexpr std::uint64_t at_random = 200;

} // namespace

// Called before the volume is served.
void capture_core::choose_sample(captured_volume &v) {
    const auto take = [&v](std::uint64_t region) {
        const std::uint64_t bit = 1ULL << (region % 64);
        if (v.map->set(region / 64, bit) != 0) { // it was clean
            v.map->activity().want({region / regions_per_extent, region / regions_per_extent + 1});
            v.sampled.set_range(region, region + 1);
        }
    };
    for (std::uint64_t i = 0; i < std::min(ends, v.regions); ++i) {
        take(i);
        take(v.regions - 1 - i);
    }
    std::mt19937_64 random{std::random_device{}()};
    std::uint64_t left = beside_active;
    for (std::uint64_t e = 0; e < v.map->words() && left > 0; ++e) {
        if (v.map->activity().active(e)) {
            take(std::min(v.regions - 1, e * regions_per_extent + random() % regions_per_extent));
            --left;
        }
    }
    for (std::uint64_t i = 0; i < at_random; ++i) {
        take(random() % v.regions);
    }
}

// A region of the sample, to which no client wrote since the start, is not what the DR site has.
void capture_core::sample_differed(captured_volume &v) {
    const std::string text = "volume " + v.config.name + " (" + v.config.path +
                             "): a part that should be unchanged is not what the DR site has: somebody wrote to the device "
                             "while it was not served. All of it is compared";
    log::warning("{}", text);
    touch_map(v, {0, v.blocks});
    bool look = false;
    {
        const std::lock_guard lock(mutex);
        v.map->activity().want({0, v.map->words()});
        mark_locked(v, {0, v.regions});
        v.pending.set_range(0, v.regions);
        fall_back_locked(text);
        look = take_attention_locked();
    }
    ask_attention(look);
}

} // namespace farshore
