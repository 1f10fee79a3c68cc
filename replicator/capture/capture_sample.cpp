// Block devices tell nothing of writes that were made while we were not looking. So at each start
// some regions that the map calls clean are compared all the same: the first and last ones, where
// file systems and partition tables write, those beside what was written last, and random ones. A
// restore of the device or an fsck is in one of them nearly always; then everything is compared.
// What it does not find, `farshore verify` and `farshore resync` do.

#include "replicator/base/log.hpp"
#include "replicator/capture/capture_core.hpp"
#include "replicator/capture/volume_file.hpp"

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
// In the hold of the lock in which it is noticed, so that no barrier between is consistent.
void capture_core::sample_differed_locked(captured_volume &v) {
    const std::string text = "volume " + v.config.name + " (" + v.config.path +
                             "): a part that should be unchanged is not what the DR site has: "
                             "somebody wrote to the device "
                             "while it was not served. All of it is compared";
    log::warning("{}", text);
    v.map->activity().want({0, v.map->words()});
    mark_locked(v, {0, v.regions});
    v.pending.set_range(0, v.regions);
    fall_back_locked(text);
}

// A write-through disk that is gone syncs well, since nothing is to be written. Where all else is
// cached nothing can be proved. Few tries are enough: each may take as long as a drive tries, with
// a range held.
result<> capture_core::prove_reads(captured_volume &v, std::set<std::uint64_t> bad) {
    constexpr int tries = 32;
    constexpr int failures_enough = 8;
    buffer page(block_bytes);
    int failed = 0;
    {
        const std::lock_guard lock(mutex);
        bad.insert(v.unreadable.begin(), v.unreadable.end());
    }
    std::mt19937_64 random{++v.proofs}; // other places each time: what was read is cached
    for (int i = 0; i < tries && failed < failures_enough; ++i) {
        FS_TRY(data, v.data->next_data(random() % v.blocks * block_bytes));
        const std::uint64_t block = data.offset / block_bytes;
        if (data.length == 0 || bad.contains(block)) {
            continue;
        }
        const byte_range at = v.bytes_of({block, block + 1});
        const bytes_span part = page.span().first(at.length);
        if (const auto cached = v.data->read_at_cached(at.offset, part); cached && *cached) {
            continue; // proves nothing
        }
        if (v.data->read_at(at.offset, part)) {
            return {};
        }
        ++failed;
    }
    return failed == 0 ? result<>()
                       : fail(errc::dead, volume_text(v.config) + ": it can't be read at any of " +
                                              std::to_string(failed) +
                                              " other places either: its disk is gone");
}

} // namespace farshore
