// References to blocks that a payload does not write: loans, and volumes that are only referred to.

#include "tests/unit/dedupe/codec_support.hpp"

#include <doctest/doctest.h>

using namespace farshore;
using namespace farshore::codec_test;

TEST_SUITE("dedupe") {
    TEST_CASE("reference: a loan is a source of the payload and never its target") {
        const std::vector<std::uint64_t> volumes = wide_volumes();
        std::vector<std::uint64_t> with_loans = volumes;
        with_loans.push_back(16);
        dedupe::encoder encoder(
            {.index_bytes = limits::MiB, .volume_blocks = volumes, .verify = true});
        const page text = letters(1);
        const page random = noise(2);
        change_set changes;
        changes.data(0, 5, text);
        changes.data(1, 6, random);
        changes.data(1, 9, letters(3));
        const std::vector<dedupe::loan> loans = {{volume_index{0}, block_index{5}, 15},
                                                 {volume_index{1}, block_index{6}, 2}};
        const auto payloads = encoder.encode(changes.list(), {}, loans);
        CHECK(encoder.stats().loaned_blocks == 2);
        CHECK(encoder.stats().full_blocks == 1);
        bool honest = true;
        const dedupe::base_reader base = [&](volume_index v, block_index b, bytes_span out) {
            CHECK(v.value == volumes.size());
            std::ranges::copy(honest ? b.value == 15 ? text : random : letters(9), out.begin());
            return result<>{};
        };
        dedupe::decoder decoder;
        for (const bool yes : {true, false}) {
            honest = yes;
            std::size_t bad = 0;
            for (const auto &p : payloads) {
                const auto decoded = decoder.decode(p.bytes.view(), with_loans, base, base, 1);
                REQUIRE(decoded);
                bad += decoded->bad.size();
                CHECK_FALSE(decoder.decode(p.bytes.view(), volumes, base, base));
            }
            // Both volumes' texts share a payload and a digest; what looks random has a payload of
            // its own.
            CHECK(bad == (honest ? 0 : 3));
        }
    }

    TEST_CASE("reference: a group of as many volumes as there may be has loans too") {
        std::vector<std::uint64_t> volumes(limits::volumes_per_group_max, 64);
        dedupe::encoder encoder(
            {.index_bytes = limits::MiB, .volume_blocks = volumes, .verify = true});
        const page text = letters(1);
        change_set changes;
        changes.data(1023, 5, text);
        const std::vector<dedupe::loan> loans = {{volume_index{1023}, block_index{5}, 3}};
        const auto payloads = encoder.encode(changes.list(), {}, loans);
        CHECK(encoder.self_check());
        CHECK(encoder.stats().loaned_blocks == 1);
        REQUIRE(payloads.size() == 1);
        const dedupe::base_reader base = [&](volume_index v, block_index b, bytes_span out) {
            CHECK(v.value == 1024);
            CHECK(b.value == 3);
            std::ranges::copy(text, out.begin());
            return result<>{};
        };
        volumes.push_back(16);
        const auto decoded =
            dedupe::decoder().decode(payloads[0].bytes.view(), volumes, base, base, 1);
        REQUIRE(decoded);
        CHECK(decoded->bad.empty());
    }

    TEST_CASE(
        "reference: a source that answers otherwise than before is noticed, and nothing leaves") {
        dedupe::encoder encoder({.index_bytes = limits::MiB,
                                 .content_bytes = limits::MiB,
                                 .volume_blocks = wide_volumes(),
                                 .verify = true});
        const page text = letters(1);
        change_set first;
        first.data(0, 1, text);
        CHECK_FALSE(encoder.encode(first.list()).empty());
        CHECK(encoder.self_check());
        change_set copy;
        copy.data(0, 2, text);
        const auto lies = [](volume_index, block_index, bytes_span out) {
            std::ranges::copy(letters(2), out.begin());
            return true;
        };
        CHECK(encoder.encode(copy.list(), lies).empty());
        CHECK_FALSE(encoder.self_check());
        CHECK_FALSE(encoder.encode(copy.list()).empty()); // it goes on
        CHECK(encoder.self_check());
    }

    TEST_CASE("reference: the volumes that may only be referred to are not written") {
        dedupe::encoder encoder({.volume_blocks = wide_volumes()});
        change_set changes;
        changes.data(static_cast<int>(wide_volumes().size()) - 1, 5, letters(1));
        const auto payloads = encoder.encode(changes.list());
        REQUIRE(payloads.size() == 1);
        dedupe::decoder decoder;
        const dedupe::base_reader none = [](volume_index, block_index, bytes_span) {
            return result<>{};
        };
        CHECK(decoder.decode(payloads[0].bytes.view(), wide_volumes(), none, none, 0));
        CHECK_FALSE(decoder.decode(payloads[0].bytes.view(), wide_volumes(), none, none, 1));
    }
}
