#include "replicator/base/geometry.hpp"
#include "replicator/format/loan_header.hpp"
#include "replicator/replica/loan_store.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

using namespace farshore;

namespace {

byte_vector blocks(std::size_t count, unsigned seed) {
    byte_vector out(count * block_bytes);
    for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = static_cast<std::byte>(seed + i / block_bytes + i % 251);
    }
    return out;
}

struct store_fixture {
    sim_file_system fs{1};
    std::unique_ptr<loan_store> store;

    void open(std::uint64_t slots, std::uint64_t released) {
        store.reset();
        auto opened = loan_store::open(fs, "/loans", slots, interval_id{released});
        REQUIRE(opened);
        store = std::move(*opened);
    }
    std::optional<std::uint64_t> keep(std::uint64_t user, bytes_view content) {
        const auto kept = store->keep(interval_id{user}, content);
        REQUIRE(kept);
        return *kept;
    }
    byte_vector read(std::uint64_t slot) {
        byte_vector out(block_bytes);
        REQUIRE(store->read(slot, out));
        return out;
    }
    void release(std::uint64_t through) { REQUIRE(store->release(interval_id{through})); }
};

bool same(bytes_view a, bytes_view b) { return std::ranges::equal(a, b); }

} // namespace

TEST_SUITE("replica") {
    TEST_CASE_FIXTURE(store_fixture, "loans: kept blocks are read back, also around the end") {
        open(8, 0);
        const byte_vector first = blocks(5, 1);
        const byte_vector second = blocks(6, 2);
        CHECK(keep(10, first) == 0);
        CHECK_FALSE(keep(11, second)); // three slots are left
        release(10);
        CHECK(keep(11, blocks(6, 3)) == 0); // empty: from the front again
        CHECK(keep(12, bytes_view(second).first(2 * block_bytes)) == 6);
        release(11);
        CHECK(keep(13, second) == 0);
        CHECK(same(read(6), bytes_view(second).first(block_bytes)));
        CHECK(same(read(5), bytes_view(second).last(block_bytes)));
    }

    TEST_CASE_FIXTURE(store_fixture, "loans: a batch that passes the last slot goes on at slot 0") {
        open(8, 0);
        CHECK(keep(1, blocks(3, 1)) == 0);
        CHECK(keep(2, blocks(3, 2)) == 3);
        release(1);
        const byte_vector around = blocks(4, 9);
        CHECK(keep(3, around) == 6);
        CHECK(same(read(6), bytes_view(around).first(block_bytes)));
        CHECK(same(read(1), bytes_view(around).last(block_bytes)));
    }

    TEST_CASE_FIXTURE(store_fixture, "loans: space comes back when no interval needs any") {
        open(64, 0);
        CHECK(keep(1, blocks(20, 1)) == 0);
        CHECK(store->used_bytes() == 20 * block_bytes);
        CHECK_FALSE(store->crowded());
        CHECK(keep(2, blocks(20, 1)) == 20);
        CHECK(store->crowded());
        release(1);
        CHECK(store->used_bytes() == 40 * block_bytes);
        release(2);
        CHECK(store->used_bytes() == 0);
    }

    TEST_CASE_FIXTURE(store_fixture,
                      "loans: after a restart they stay until their intervals are past") {
        open(8, 0);
        const byte_vector content = blocks(2, 4);
        CHECK(keep(7, content) == 0);
        open(8, 6);
        CHECK(same(read(1), bytes_view(content).last(block_bytes)));
        CHECK_FALSE(keep(8, content)); // which slots are in use is not known
        release(6);
        CHECK_FALSE(keep(8, content));
        CHECK(same(read(0), bytes_view(content).first(block_bytes)));
        release(7);
        CHECK(keep(8, content) == 0);
        open(8, 8);
        CHECK(store->used_bytes() == 0);
    }

    TEST_CASE_FIXTURE(store_fixture, "loans: they are there after a power cut, as promised") {
        open(8, 0);
        const byte_vector content = blocks(3, 5);
        CHECK(keep(3, content) == 0);
        store.reset();
        fs.power_cut(3);
        open(8, 2);
        CHECK(same(read(2), bytes_view(content).last(block_bytes)));
    }

    TEST_CASE_FIXTURE(
        store_fixture,
        "loans: an interval before the newest one gets none; unused slots read as zero") {
        open(8, 0);
        CHECK(keep(5, blocks(1, 1)) == 0);
        CHECK_FALSE(keep(4, blocks(1, 1)));
        CHECK(is_zero(read(7)));
    }

    TEST_CASE_FIXTURE(store_fixture,
                      "loans: a damaged header is survived, one of a later version refused") {
        open(8, 0);
        CHECK(keep(5, blocks(1, 1)) == 0);
        store.reset();
        {
            auto f = fs.open("/loans", open_mode::read_write);
            REQUIRE(f);
            REQUIRE((*f)->write_at(9, blocks(1, 77)));
        }
        open(8, 1);
        CHECK(keep(6, blocks(1, 2)) == 0);
        store.reset();
        byte_vector later = encode_loan_header({interval_id{1}});
        later[4] = std::byte{2};
        CHECK_FALSE(parse_loan_header(later)); // its checksum covers the version
        CHECK(parse_loan_header(encode_loan_header({interval_id{9}})).value().newest.value == 9);
    }
}
