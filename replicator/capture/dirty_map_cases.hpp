#pragma once
// What a volume's map is worth when the daemon starts: a closed table from evidence to decision,
// tried in order. Pure.
//
//   case        evidence                                     what is dirty
//   missing     no map file                                  everything
//   unreadable  header or both state slots broken, too short everything
//   resized     the volume has another size                  refused: the copy has the old size too
//   clean_stop  the clean flag is set                        the fine bits
//   same_boot   killed, the boot id is the current one       the fine bits: the page cache has them
//   other_boot  power cut or reset                           fine bits and all of active extents

#include <cstdint>

namespace farshore {

enum class map_case : std::uint8_t {
    missing,
    unreadable,
    resized,
    clean_stop,
    same_boot,
    other_boot,
};

enum class map_trust : std::uint8_t {
    nothing,             ///< all regions are dirty, all extents active
    fine_bits,           ///< the fine bits are exact
    fine_bits_and_active ///< the fine bits may be old: what was active is dirty too
};

struct map_evidence {
    bool present = false;
    bool readable = false;
    bool same_size = false;
    bool clean = false;
    bool same_boot = false;
};

struct map_verdict {
    map_case what;
    map_trust trust;
    const char *name; ///< for the log
};

constexpr map_verdict judge_map(const map_evidence &e) {
    if (!e.present) {
        return {map_case::missing, map_trust::nothing, "missing"};
    }
    if (!e.readable) {
        return {map_case::unreadable, map_trust::nothing, "unreadable"};
    }
    if (!e.same_size) {
        return {map_case::resized, map_trust::nothing, "resized"};
    }
    if (e.clean) {
        return {map_case::clean_stop, map_trust::fine_bits, "clean stop"};
    }
    if (e.same_boot) {
        return {map_case::same_boot, map_trust::fine_bits, "same boot"};
    }
    return {map_case::other_boot, map_trust::fine_bits_and_active, "other boot"};
}

} // namespace farshore
