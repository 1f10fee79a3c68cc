// Answers about holes: what is written is read back as the same holes, and what a hostile peer may
// say is refused as a whole.

#include "replicator/base/geometry.hpp"
#include "replicator/session/extents.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace farshore;
using namespace farshore;

namespace {

pending_range range_of_blocks(std::uint16_t volume, std::uint64_t block, std::uint64_t count) {
    return {volume_index{volume}, {block * block_bytes, count * block_bytes}};
}

const std::vector<pending_range> two_ranges = {range_of_blocks(0, 16, 100),
                                               range_of_blocks(1, 0, 10)};

wire::extent_reply reply_of(std::vector<wire::extent_part> parts,
                            std::vector<wire::data_extent> extents) {
    return {1, std::move(parts), std::move(extents)};
}

bool taken(const wire::extent_reply &r) { return check_extent_reply(two_ranges, r).has_value(); }

constexpr std::uint64_t whole = 100 * block_bytes;
constexpr std::uint64_t small = 10 * block_bytes;

} // namespace

TEST_SUITE_BEGIN("extents");

TEST_CASE("extents: a reply says of each block what the file says") {
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 dice(seed);
        const std::uint64_t blocks = 1 + dice() % 60;
        const std::uint64_t cut = dice() % block_bytes; // of the volume's last block
        const byte_range all{16 * block_bytes, blocks * block_bytes - cut};
        std::vector<bool> data(blocks);
        extent_reply_writer out(7);
        out.begin({0, all.offset, all.length});
        std::uint64_t at = 0; // bytes from the range's start
        while (at < all.length && dice() % 8 != 0) {
            // In bytes: a file system's extents need not be of whole blocks.
            const std::uint64_t from = at + dice() % (3 * block_bytes);
            const std::uint64_t to = from + 1 + dice() % (4 * block_bytes);
            if (from >= all.length) {
                at = all.length;
                break;
            }
            const std::uint64_t back =
                dice() % 2 == 0 && at == 0 ? block_bytes : 0; // begins before the range
            out.data(
                {all.offset + from - (from == 0 ? back : 0), to - from + (from == 0 ? back : 0)});
            const std::uint64_t last = std::min(ceil_div(to, block_bytes), blocks);
            for (std::uint64_t b = from / block_bytes; b < last; ++b) {
                data[b] = true;
            }
            at = std::min(all.length, last * block_bytes);
        }
        if (at == 0) {
            at = all.length;
        }
        out.end(all.offset + at);
        const wire::extent_reply sent = out.take();
        const auto reply = wire::parse<wire::extent_reply>(wire::encode(sent).view());
        REQUIRE(reply);
        const std::vector<pending_range> asked = {{volume_index{0}, all}};
        const auto answers = check_extent_reply(asked, *reply);
        REQUIRE(answers);
        REQUIRE(answers->size() == 1);
        const extent_answer &a = answers->front();
        CHECK(a.covered == at);
        CHECK(a.whole() == (at == all.length));
        CHECK(a.rest().range.end() == all.end());
        std::vector<bool> hole(blocks);
        for (const byte_range &h : a.holes) {
            CHECK(h.offset >= all.offset);
            CHECK(h.end() <= all.offset + at);
            for (std::uint64_t b = (h.offset - all.offset) / block_bytes;
                 b * block_bytes < h.end() - all.offset; ++b) {
                hole[b] = true;
            }
        }
        for (std::uint64_t b = 0; b * block_bytes < at; ++b) {
            CHECK(hole[b] == !data[b]);
        }
    }
}

TEST_CASE("extents: what was not answered is asked again") {
    const auto answers = check_extent_reply(two_ranges, reply_of({{8 * block_bytes, 1}}, {{2, 3}}));
    REQUIRE(answers);
    REQUIRE(answers->size() == 2);
    CHECK((*answers)[0].holes == std::vector<byte_range>{{16 * block_bytes, 2 * block_bytes},
                                                         {21 * block_bytes, 3 * block_bytes}});
    CHECK((*answers)[0].rest().range == byte_range{24 * block_bytes, 92 * block_bytes});
    CHECK((*answers)[1].covered == 0);
    CHECK((*answers)[1].holes.empty());
    CHECK((*answers)[1].rest().range == two_ranges[1].range);
}

TEST_CASE("extents: a reply that does not fit the question is refused") {
    CHECK(taken(reply_of({{whole, 0}, {small, 0}}, {})));
    CHECK(taken(reply_of({{whole, 1}, {small, 2}}, {{99, 1}, {0, 1}, {0, 9}})));
    CHECK(!taken(reply_of({}, {})));                                   // says nothing
    CHECK(!taken(reply_of({{0, 0}}, {})));                             // covers nothing
    CHECK(!taken(reply_of({{whole, 0}, {small, 0}, {small, 0}}, {}))); // more than was asked
    CHECK(!taken(reply_of({{whole + 1, 0}}, {})));                     // beyond the range
    CHECK(!taken(reply_of({{whole - 1, 0}}, {})));                     // not whole blocks
    CHECK(!taken(reply_of({{block_bytes, 0}, {small, 0}}, {})));       // a gap in what it covers
    CHECK(!taken(reply_of({{~0ULL, 0}}, {})));
    CHECK(!taken(reply_of({{whole, 2}}, {{0, 1}})));         // fewer extents than it says
    CHECK(!taken(reply_of({{whole, 1}}, {{0, 1}, {0, 1}}))); // more
    CHECK(!taken(reply_of({{whole, ~0U}}, {{0, 1}})));
    CHECK(!taken(reply_of({{whole, 1}}, {{0, 0}})));   // an empty extent
    CHECK(!taken(reply_of({{whole, 1}}, {{100, 1}}))); // behind the end
    CHECK(!taken(reply_of({{whole, 1}}, {{1, 100}})));
    CHECK(!taken(reply_of({{whole, 1}}, {{~0ULL, 1}})));
    CHECK(!taken(reply_of({{whole, 1}}, {{1, ~0ULL}})));
    CHECK(!taken(reply_of({{whole, 2}}, {{1, 99}, {0, ~0ULL}})));
    CHECK(!taken(reply_of({{8 * block_bytes, 1}}, {{7, 2}}))); // behind what it covers
}

TEST_CASE("extents: a question must name whole blocks of the volumes") {
    const std::vector<std::uint64_t> sizes = {100 * block_bytes + 512, block_bytes};
    const auto asked = [&](std::uint32_t volume, std::uint64_t offset, std::uint64_t length) {
        wire::extent_request r;
        r.ranges.push_back({volume, offset, length});
        return check_extent_request(r, sizes).has_value();
    };
    CHECK(asked(0, 0, 100 * block_bytes + 512));
    CHECK(asked(0, 100 * block_bytes, 512));
    CHECK(asked(1, 0, block_bytes));
    CHECK(!asked(2, 0, block_bytes));
    CHECK(!asked(0, 0, 0));
    CHECK(!asked(0, 0, 100));
    CHECK(!asked(0, 1, block_bytes));
    CHECK(!asked(0, block_bytes, ~0ULL));
    CHECK(!asked(0, ~0ULL / block_bytes * block_bytes, block_bytes));
    CHECK(!asked(0, 0, 101 * block_bytes));
    CHECK(!check_extent_request({}, sizes));
}

TEST_SUITE_END();
