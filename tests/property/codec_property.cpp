// The codec against a model: random sets of changes from a seed. FARSHORE_SEED=N runs that seed
// alone.

#include "dedupe/codec.hpp"
#include "dedupe/delta.hpp"
#include "tests/unit/dedupe/codec_support.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <set>

using namespace farshore;
using namespace farshore::codec_test;

namespace {

using random_source = std::mt19937_64;

std::vector<std::uint64_t> seeds(std::uint64_t count) {
    if (const char *chosen = std::getenv("FARSHORE_SEED")) {
        return {std::strtoull(chosen, nullptr, 10)};
    }
    std::vector<std::uint64_t> all;
    for (std::uint64_t s = 1; s <= count; ++s) {
        all.push_back(s);
    }
    return all;
}

std::uint64_t below(random_source &random, std::uint64_t end) { return random() % end; }

page some_page(random_source &random) {
    switch (below(random, 4)) {
    case 0:
        return filled(0);
    case 1:
        return filled(static_cast<int>(below(random, 256)));
    case 2: { // half random
        page p = noise(random());
        std::fill(p.begin() + 2048, p.end(), std::byte{7});
        return p;
    }
    default:
        return noise(random());
    }
}

/// The page with some ranges overwritten: from one byte to most of it.
page edited(page p, random_source &random) {
    const std::uint64_t edits = 1 + below(random, below(random, 8) == 0 ? 300 : 6);
    for (std::uint64_t e = 0; e < edits; ++e) {
        const std::uint64_t length = 1 + below(random, below(random, 10) == 0 ? 3000 : 30);
        const std::uint64_t start = below(random, block_bytes);
        for (std::uint64_t i = start; i < std::min(start + length, block_bytes); ++i) {
            p[i] = static_cast<std::byte>(random());
        }
    }
    return p;
}

/// An interval and what is on both sides before and after it.
struct scenario {
    change_set changes;
    image before;
    image after;
    std::set<place> deltas; ///< blocks whose result depends on the base
};

void add_data(scenario &s, random_source &random, std::uint16_t volume, std::uint64_t block) {
    const page before = some_page(random);
    page content = some_page(random);
    if (below(random, 3) != 0) {
        content = edited(before, random);
    } else if (below(random, 4) == 0) {
        content = before;
    }
    const bool known = below(random, 3) != 0;
    s.before.set(volume, block, before);
    s.after.set(volume, block, content);
    s.changes.data(volume, block, content, known ? std::optional(before) : std::nullopt);
    std::vector<codec_format::delta_run> runs;
    if (known && !is_zero(content) && dedupe::find_runs(before, content, runs) && !runs.empty()) {
        s.deltas.insert({volume, block});
    }
}

scenario random_scenario(std::uint64_t seed) {
    random_source random(seed);
    scenario s;
    const std::uint64_t count = 1 + below(random, below(random, 5) == 0 ? 700 : 40);
    std::uint16_t volume = 0;
    std::uint64_t block = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        if (below(random, 50) == 0 && volume < 3) {
            ++volume;
            block = 0;
        }
        block += below(random, 3) == 0 ? below(random, 2000) : 0;
        if (below(random, 8) == 0) {
            const std::uint64_t length = 1 + below(random, 5);
            s.changes.zero(volume, block, length);
            s.before.set(volume, block, some_page(random));
            for (std::uint64_t b = block; b < block + length; ++b) {
                s.after.set(volume, b, filled(0));
            }
            block += length;
        } else {
            add_data(s, random, volume, block);
            ++block;
        }
    }
    return s;
}

dedupe::encoder encoder_for(std::uint64_t seed) {
    constexpr std::array levels = {
        1, 2, 3, 4, 5, dedupe::encoder_options::dense, dedupe::encoder_options::quick};
    return dedupe::encoder({.level = levels[seed % levels.size()], .verify = true});
}

/// The data blocks of a payload, in its order.
std::vector<place> data_of(const dedupe::encoded_payload &payload, const image &base) {
    const auto decoded =
        dedupe::decoder().decode(payload.bytes.view(), wide_volumes(), base.reader(), no_base());
    REQUIRE(decoded);
    std::vector<place> out;
    for (const block_change &c : decoded->changes) {
        if (c.kind == change_kind::data) {
            out.push_back({c.volume.value, c.block.value});
        }
    }
    return out;
}

/// Of these blocks, those that share a digest with a wrong one.
void add_runs_with(const std::set<place> &wrong, std::span<const place> blocks,
                   std::set<place> &out) {
    while (!blocks.empty()) {
        const auto run = blocks.first(std::min(blocks.size(), codec_format::digest_blocks));
        if (std::ranges::any_of(run, [&](const place &p) { return wrong.contains(p); })) {
            out.insert(run.begin(), run.end());
        }
        blocks = blocks.subspan(run.size());
    }
}

} // namespace

TEST_SUITE("property") {
    TEST_CASE("codec: what is decoded against the old image gives the new image") {
        dedupe::decoder decoder;
        for (const std::uint64_t seed : seeds(150)) {
            CAPTURE(seed);
            const scenario s = random_scenario(seed);
            image replica = s.before;
            auto encoder = encoder_for(seed);
            for (const auto &payload : encoder.encode(s.changes.list())) {
                REQUIRE(payload.bytes.size() <= limits::frame_payload_bytes_max);
                REQUIRE(payload.raw_bytes <= limits::frame_raw_bytes_max);
                const auto decoded = decoder.decode(payload.bytes.view(), wide_volumes(),
                                                    replica.reader(), no_base());
                REQUIRE(decoded);
                REQUIRE(decoded->bad.empty());
                REQUIRE(decoded->changes.size() == payload.blocks);
                replica.apply(decoded->changes);
            }
            REQUIRE(replica == s.after);
        }
    }

    TEST_CASE("codec: bad are exactly the runs with a block whose base differs where it matters") {
        dedupe::decoder decoder;
        for (const std::uint64_t seed : seeds(150)) {
            CAPTURE(seed);
            const scenario s = random_scenario(seed);
            random_source random(~seed);
            image replica = s.before;
            std::set<place> wrong_blocks;
            for (const block_change &c : s.changes.list()) {
                if (c.kind == change_kind::zero || below(random, 3) != 0) {
                    continue;
                }
                const place where{c.volume.value, c.block.value};
                page wrong = replica.at(where.first, where.second);
                const std::size_t at = below(random, block_bytes);
                wrong[at] ^= std::byte{64};
                replica.set(where.first, where.second, wrong);
                std::vector<codec_format::delta_run> runs;
                if (!s.deltas.contains(where) || !dedupe::find_runs(c.before, c.content, runs)) {
                    continue;
                }
                const bool overwritten = std::ranges::any_of(runs, [&](const auto &r) {
                    return at >= r.offset && at < std::size_t{r.offset} + r.length;
                });
                if (!overwritten) {
                    wrong_blocks.insert(where);
                }
            }
            std::set<place> bad;
            std::set<place> expected;
            auto encoder = encoder_for(seed);
            for (const auto &payload : encoder.encode(s.changes.list())) {
                const auto decoded = decoder.decode(payload.bytes.view(), wide_volumes(),
                                                    replica.reader(), no_base());
                REQUIRE(decoded);
                add_runs_with(wrong_blocks, data_of(payload, s.before), expected);
                for (const auto &b : decoded->bad) {
                    bad.insert({b.volume.value, b.block.value});
                }
                for (const block_change &c : decoded->changes) {
                    if (c.kind == change_kind::data) {
                        REQUIRE(std::ranges::equal(c.content,
                                                   s.after.at(c.volume.value, c.block.value)));
                    }
                }
            }
            REQUIRE(bad == expected);
        }
    }

    TEST_CASE("codec: runs are those that a byte by byte comparison finds") {
        for (const std::uint64_t seed : seeds(400)) {
            CAPTURE(seed);
            random_source random(seed);
            const page before = some_page(random);
            const page after = edited(before, random);
            std::vector<codec_format::delta_run> model;
            std::size_t cost = 0;
            for (std::size_t i = 0; i < block_bytes; ++i) {
                if (before[i] == after[i]) {
                    continue;
                }
                const std::size_t end =
                    model.empty() ? 0 : std::size_t{model.back().offset} + model.back().length;
                if (!model.empty() && i - end < dedupe::run_gap_bytes) {
                    model.back().length = static_cast<std::uint16_t>(i + 1 - model.back().offset);
                } else {
                    model.push_back({static_cast<std::uint16_t>(i), 1});
                }
            }
            for (const auto &r : model) {
                cost += r.length + 2U + (r.length >= 128 ? 1U : 0U);
            }
            std::vector<codec_format::delta_run> runs;
            const bool cheap = dedupe::find_runs(before, after, runs);
            REQUIRE(cheap == (cost <= dedupe::delta_cost_max));
            if (cheap) {
                REQUIRE(runs == model);
            }
        }
    }

    TEST_CASE("codec: random damage never hands out a wrong block") {
        dedupe::decoder decoder;
        for (const std::uint64_t seed : seeds(40)) {
            CAPTURE(seed);
            const scenario s = random_scenario(seed);
            random_source random(seed + 1000000);
            auto encoder = encoder_for(seed);
            for (const auto &payload : encoder.encode(s.changes.list())) {
                const bytes_view bytes = payload.bytes.view();
                for (int round = 0; round < 20; ++round) {
                    byte_vector damaged(bytes.begin(), bytes.end());
                    for (std::uint64_t n = 1 + below(random, 4); n > 0; --n) {
                        damaged[below(random, damaged.size())] = static_cast<std::byte>(random());
                    }
                    const auto decoded =
                        decoder.decode(damaged, wide_volumes(), s.before.reader(), no_base());
                    if (!decoded) {
                        continue;
                    }
                    for (const block_change &c : decoded->changes) {
                        const page truth = s.after.at(c.volume.value, c.block.value);
                        const bool right = c.kind == change_kind::zero
                                               ? is_zero(truth)
                                               : std::ranges::equal(c.content, truth);
                        REQUIRE(right);
                    }
                }
            }
        }
    }
}
