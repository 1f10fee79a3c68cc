#pragma once
// Identities and positions as types of their own, so that they can't be mixed up.

#include <compare>
#include <cstdint>
#include <functional>

namespace farshore {

/// An integer with a meaning: explicit in (constructor) and out (`value`), ordered, hashable.
template <class Tag, class Rep>
struct strong {
    Rep value{};

    constexpr strong() = default;
    constexpr explicit strong(Rep v) : value(v) {}
    constexpr auto operator<=>(const strong &) const = default;
};

/// Index of a volume within its group, in the order of the configuration, 0-based.
using volume_index = strong<struct volume_index_tag, std::uint16_t>;
/// Number of an interval and of the barrier that closes it; grows by one within a stream and never
/// goes back over streams. 0 means "none yet".
using interval_id = strong<struct interval_id_tag, std::uint64_t>;
/// Random identity of one unbroken run of intervals; a new one begins with every catch-up.
using stream_id = strong<struct stream_id_tag, std::uint64_t>;
/// Index of a 4 KiB block in its volume.
using block_index = strong<struct block_index_tag, std::uint64_t>;
/// Index of a 64 KiB region in its volume.
using region_index = strong<struct region_index_tag, std::uint64_t>;

/// Ids from outside are below 2^63 (limits::interval_id_max), so this never comes to an end; it
/// does not wrap all the same, since 0 means "none".
constexpr interval_id next(interval_id id) {
    return interval_id{id.value + (id.value != ~std::uint64_t{0} ? 1 : 0)};
}

/// [offset, offset + length) in bytes.
struct byte_range {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;

    constexpr std::uint64_t end() const { return offset + length; }
    constexpr bool overlaps(const byte_range &o) const {
        return offset < o.end() && o.offset < end();
    }
    constexpr bool operator==(const byte_range &) const = default;
};

} // namespace farshore

template <class Tag, class Rep>
struct std::hash<farshore::strong<Tag, Rep>> {
    std::size_t operator()(const farshore::strong<Tag, Rep> &v) const noexcept {
        return std::hash<Rep>{}(v.value);
    }
};
