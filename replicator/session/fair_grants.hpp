#pragma once
// How a daemon's memory for intervals is divided among its groups, by what they want. Pure.
//
// Max-min fair: everybody has the floor; what is over goes to those who want more, all up to one
// common level, and who wants less than the level gets what he wants. Nobody gets less than what he
// holds, since memory in use can't be taken back; it only comes back by itself.
//
// Cost: a search for the level over 64 bits, each step a sum over the groups.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace farshore {

struct memory_claim {
    std::uint64_t held = 0;   ///< covers what is in use
    std::uint64_t wanted = 0; ///< would be enough
};

/// One grant a claim, each at least max(floor, held). Their sum is at most `total`, if the sum of
/// those bounds is.
inline std::vector<std::uint64_t> fair_grants(std::uint64_t total, std::uint64_t floor,
                                              const std::vector<memory_claim> &claims) {
    const auto grant_at = [&](std::uint64_t level, const memory_claim &c) {
        const std::uint64_t least = std::max(floor, c.held);
        return std::clamp(level, least, std::max(least, c.wanted));
    };
    const auto sum_at = [&](std::uint64_t level) {
        std::uint64_t sum = 0;
        for (const memory_claim &c : claims) {
            sum += grant_at(level, c);
        }
        return sum;
    };
    std::uint64_t level = floor; // the highest whose sum fits
    for (std::uint64_t above = std::max(total, floor); level < above;) {
        const std::uint64_t middle = level + (above - level + 1) / 2;
        if (sum_at(middle) <= total) {
            level = middle;
        } else {
            above = middle - 1;
        }
    }
    std::vector<std::uint64_t> grants;
    grants.reserve(claims.size());
    for (const memory_claim &c : claims) {
        grants.push_back(grant_at(level, c));
    }
    return grants;
}

} // namespace farshore
