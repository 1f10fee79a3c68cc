#pragma once
// What a site is for a group. Durable: a role is written before it takes effect.

#include <array>
#include <cstdint>
#include <string_view>

namespace farshore {

enum class site_role : std::uint8_t {
    serving,      ///< its clients read and write here; its content counts
    following,    ///< it holds what the serving site sent, and takes no writes of its own
    handing_over, ///< it served and offered its role; it waits for what became of that
    fenced, ///< it served until it heard of a newer generation; takes no writes and follows nobody
};

constexpr std::array<site_role, 4> site_roles{site_role::serving, site_role::following,
                                              site_role::handing_over, site_role::fenced};

/// Whose content counts, or may count again.
constexpr bool is_source(site_role r) {
    return r == site_role::serving || r == site_role::handing_over;
}

/// As documents and pages have it.
constexpr std::string_view name_of(site_role r) {
    switch (r) {
    case site_role::serving:
        return "serving";
    case site_role::following:
        return "following";
    case site_role::handing_over:
        return "handing_over";
    case site_role::fenced:
        return "fenced";
    }
    return "unknown";
}

} // namespace farshore
