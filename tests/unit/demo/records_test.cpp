#include "replicator/demo/records.hpp"

#include <doctest/doctest.h>

#include <algorithm>

namespace farshore::demo {
namespace {

/// A volume after records 1 to `last`.
byte_vector ring_after(char volume, std::uint64_t last) {
    byte_vector area(record_area_bytes);
    for (std::uint64_t n = last > record_slots ? last - record_slots + 1 : 1; n <= last; ++n) {
        encode_record(n, volume,
                      bytes_span(area).subspan(n % record_slots * record_bytes, record_bytes));
    }
    return area;
}

} // namespace

TEST_SUITE("demo_records") {
    TEST_CASE("a record is read back, and not as one of the other volume") {
        byte_vector slot(record_bytes);
        encode_record(77, 'A', slot);
        CHECK(parse_record('A', slot) == 77);
        CHECK(!parse_record('B', slot));
        for (const std::size_t at :
             {std::size_t{0}, std::size_t{9}, std::size_t{2000}, record_bytes - 1}) {
            byte_vector broken = slot;
            broken[at] ^= std::byte{1};
            CHECK(!parse_record('A', broken));
        }
    }

    TEST_CASE("the last record of a ring is found, before and after it went round") {
        for (const std::uint64_t last :
             {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{500}, record_slots - 1,
              record_slots, record_slots + 1, 3 * record_slots + 5}) {
            CAPTURE(last);
            const auto ring = read_ring('A', ring_after('A', last));
            CHECK(ring.last == last);
            CHECK(ring.problem.empty());
        }
    }

    TEST_CASE("a missing, an old and a torn record are found") {
        const auto with = [](auto change) {
            byte_vector area = ring_after('A', 2 * record_slots);
            change(bytes_span(area).subspan(700 * record_bytes, record_bytes));
            return read_ring('A', area).problem;
        };
        CHECK(!with([](bytes_span s) { std::ranges::fill(s, std::byte{0}); }).empty());
        CHECK(!with([](bytes_span s) { encode_record(700, 'A', s); }).empty());
        CHECK(!with([](bytes_span s) { s[100] ^= std::byte{1}; }).empty());
        CHECK(!with([](bytes_span s) { encode_record(record_slots + 701, 'A', s); }).empty());
    }

    TEST_CASE("a copy is one moment when A is at B's record or one ahead") {
        const auto holds = [](std::uint64_t a, std::uint64_t b) {
            return check_dependency({a, ""}, {b, ""}).holds;
        };
        CHECK(holds(5, 5));
        CHECK(holds(6, 5));
        CHECK(!holds(7, 5));
        CHECK(!holds(5, 6));
        CHECK(holds(0, 0));
        CHECK(!check_dependency({5, "torn"}, {5, ""}).holds);
        CHECK(check_dependency({5, ""}, {5, "gone"}).text == "gone");
    }
}

} // namespace farshore::demo
