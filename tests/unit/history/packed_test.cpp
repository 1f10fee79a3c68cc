// Stretches made of a model's history, read back as of every point that was kept.

#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/history/packed_reader.hpp"
#include "replicator/history/stretch_maker.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

#include <map>
#include <random>

namespace farshore {
namespace {

constexpr std::uint64_t blocks = 28; // few, so that most change again within a window
constexpr std::uint16_t volumes = 2;
constexpr std::array<std::byte, 16> identity{std::byte{7}};

using state = std::map<std::uint64_t, byte_vector>; ///< by key; absent: zero

byte_vector zero_block() { return byte_vector(block_bytes); }
byte_vector content_of(const state &s, std::uint64_t key) {
    const auto at = s.find(key);
    return at == s.end() ? zero_block() : at->second;
}

/// A primary whose every interval is a point, and what undo says of it.
struct model {
    std::mt19937_64 random;
    std::vector<state> states{state{}}; ///< after interval i
    struct fact {
        packed_fact known;
        byte_vector content;
    };
    std::vector<std::vector<fact>> undo{{}}; ///< of interval i

    explicit model(std::uint64_t seed) : random(seed) {}

    byte_vector fresh() {
        byte_vector out(block_bytes);
        for (std::size_t i = 0; i < out.size(); i += 8) {
            out[i] = static_cast<std::byte>(random());
        }
        return out;
    }
    std::uint64_t any_key() {
        return packed_key(volume_index{static_cast<std::uint16_t>(random() % volumes)},
                          random() % blocks);
    }
    byte_vector changed(const byte_vector &from) {
        switch (random() % 4) {
        case 0:
            return fresh();
        case 1:
            return content_of(states.back(), any_key()); // a copy of another block
        case 2:
            return zero_block();
        default:
            byte_vector near = from;
            near[random() % near.size()] ^= std::byte{0x55};
            return near;
        }
    }
    void interval() {
        const interval_id id{states.size()};
        state now = states.back();
        std::vector<fact> facts;
        const auto note = [&](std::uint64_t key, std::uint64_t count, byte_vector old) {
            fact f;
            f.known.key = key;
            f.known.count = count;
            f.known.interval = id;
            f.known.zero = is_zero(old);
            f.content = std::move(old);
            facts.push_back(std::move(f));
        };
        for (std::uint64_t n = random() % 12; n > 0; --n) {
            const std::uint64_t key = any_key();
            const byte_vector old = content_of(states.back(), key);
            byte_vector fresh_one = changed(content_of(now, key));
            note(key, 1, old);
            now[key] = std::move(fresh_one);
        }
        if (random() % 4 == 0) { // a run that is zero before it
            const std::uint64_t first = any_key();
            std::uint64_t count = 0;
            while (packed_block(first) + count < blocks && count < 30 &&
                   is_zero(content_of(states.back(), first + count))) {
                now[first + count] = fresh();
                ++count;
            }
            if (count > 0) {
                note(first, count, zero_block());
            }
        }
        states.push_back(std::move(now));
        undo.push_back(std::move(facts));
    }
};

struct model_contents final : fact_contents {
    const model &of;
    std::vector<const byte_vector *> contents;
    const state *moment = nullptr;

    explicit model_contents(const model &m) : of(m) {}
    result<> read(const packed_fact &fact, bytes_span out) override {
        std::ranges::copy(*contents[fact.source], out.begin());
        return {};
    }
    std::uint64_t checksum(const packed_fact &fact) override {
        return checksum64(*contents[fact.source]);
    }
    result<> read_as_of_moment(std::uint64_t key, bytes_span out) override {
        std::ranges::copy(content_of(*moment, key), out.begin());
        return {};
    }
};

struct model_present final : packed_present {
    const state &now;
    explicit model_present(const state &s) : now(s) {}
    result<> read(volume_index volume, std::uint64_t block, bytes_span out) override {
        std::ranges::copy(content_of(now, packed_key(volume, block)), out.begin());
        return {};
    }
};

/// Rows of stretches as facts that are merged.
struct merged_contents final : fact_contents {
    const packed_reader &reader;
    interval_id moment;
    std::vector<packed_reader::place> places;

    merged_contents(const packed_reader &r, interval_id m) : reader(r), moment(m) {}
    result<> read(const packed_fact &fact, bytes_span out) override {
        return reader.read(places[fact.source], out);
    }
    std::uint64_t checksum(const packed_fact &) override { return 0; }
    result<> read_as_of_moment(std::uint64_t key, bytes_span out) override {
        return reader.read_as_of(moment, packed_volume(key), packed_block(key), out);
    }
};

struct packed_rig {
    sim_file_system files{1};
    model of;
    chain_depths depths{true};
    std::unique_ptr<packed_store> store;
    std::set<interval_id> kept;
    std::uint64_t packed_to = 0;

    explicit packed_rig(std::uint64_t seed) : of(seed) {
        auto opened = packed_store::open(files, "/packed", identity);
        REQUIRE(opened.has_value());
        store = std::move(*opened);
    }
    void finish(stretch_maker &maker) {
        for (;;) {
            const auto more = maker.step(7);
            REQUIRE_MESSAGE(more.has_value(), (more ? "" : more.error().text()));
            if (!*more) {
                break;
            }
        }
        for (const auto &[key, depth] : maker.depths()) {
            depths.set(key, depth);
        }
        const auto adopted = store->adopt_draft();
        REQUIRE_MESSAGE(adopted.has_value(), (adopted ? "" : adopted.error().text()));
        REQUIRE(store->remove_covered().has_value());
    }
    /// Interval i is in segment i.
    void pack(std::uint64_t last, bool with_moment) {
        stretch_input input;
        model_contents contents(of);
        for (std::uint64_t i = packed_to + 1; i <= last; ++i) {
            for (const auto &fact : of.undo[i]) {
                packed_fact f = fact.known;
                f.source = static_cast<std::uint32_t>(contents.contents.size());
                contents.contents.push_back(&fact.content);
                input.facts.push_back(f);
            }
            if (kept.contains(interval_id{i})) {
                input.about.points.push_back({interval_id{i}, {}, {}, 0});
            }
        }
        input.about.first_segment = packed_to + 1;
        input.about.last_segment = last;
        input.about.last_interval = interval_id{last};
        const std::uint64_t moment = packed_to + 1 + of.random() % (last - packed_to);
        input.about.moment = interval_id{with_moment ? moment : 0};
        contents.moment = &of.states[moment];
        stretch_options options{identity, interval_id{packed_to + 1}, 0, 1};
        stretch_maker maker(files, store->draft_path(), options, std::move(input), contents,
                            depths);
        finish(maker);
        packed_to = last;
    }
    void merge(std::size_t first, std::size_t count) {
        const auto list = store->list();
        model_present present(of.states.back());
        packed_caches caches;
        const packed_reader reader(*list, present, caches);
        const packed_foot &oldest = (*list)[first]->foot();
        const packed_foot &newest = (*list)[first + count - 1]->foot();
        merged_contents contents(reader, newest.moment);
        stretch_input input;
        input.merged = true;
        for (std::size_t s = first; s < first + count; ++s) {
            const stretch &from = *(*list)[s];
            REQUIRE(from.visit([&](const packed_row &row) -> result<> {
                            packed_fact f;
                            f.key = packed_key(row.volume, row.block);
                            f.count = row.count;
                            f.interval = row.interval;
                            f.source = static_cast<std::uint32_t>(contents.places.size());
                            f.zero = row.kind == packed_kind::zero;
                            f.led = row.kind == packed_kind::delta;
                            f.depth = row.depth;
                            contents.places.push_back({s, row});
                            input.facts.push_back(f);
                            return {};
                        })
                        .has_value());
            for (const packed_point &p : from.points()) {
                if (kept.contains(p.id)) {
                    input.about.points.push_back(p);
                }
            }
            input.about.merges = std::max(input.about.merges, from.foot().merges + 1);
        }
        input.about.first_segment = oldest.first_segment;
        input.about.last_segment = newest.last_segment;
        input.about.last_interval = newest.last_interval;
        input.about.moment = newest.moment;
        stretch_options options{identity, oldest.first_interval, 0, 1};
        stretch_maker maker(files, store->draft_path(), options, std::move(input), contents,
                            depths);
        finish(maker);
    }
    void check() {
        const auto list = store->list();
        model_present present(of.states.back());
        packed_caches caches;
        const packed_reader reader(*list, present, caches);
        for (const interval_id point : kept) {
            if (point.value > packed_to) {
                continue;
            }
            for (std::uint16_t v = 0; v < volumes; ++v) {
                const auto places = reader.find(point, volume_index{v}, 0, blocks);
                REQUIRE(places.has_value());
                std::map<std::uint64_t, byte_vector> shown;
                for (const auto &place : *places) {
                    byte_vector out(static_cast<std::size_t>(place.row.count * block_bytes));
                    const auto read = reader.read(place, out);
                    REQUIRE_MESSAGE(read.has_value(), (read ? "" : read.error().text()));
                    for (std::uint64_t i = 0; i < place.row.count; ++i) {
                        const auto part = bytes_view(out).subspan(i * block_bytes, block_bytes);
                        REQUIRE(
                            shown
                                .emplace(place.row.block + i, byte_vector(part.begin(), part.end()))
                                .second);
                    }
                }
                for (std::uint64_t b = 0; b < blocks; ++b) {
                    const std::uint64_t key = packed_key(volume_index{v}, b);
                    const byte_vector wanted = content_of(of.states[point.value], key);
                    byte_vector one(block_bytes);
                    REQUIRE(reader.read_as_of(point, volume_index{v}, b, one).has_value());
                    REQUIRE_MESSAGE(one == wanted, "point ", point.value, " block ", b);
                    const byte_vector whole =
                        shown.contains(b) ? shown[b] : content_of(of.states.back(), key);
                    REQUIRE(whole == wanted);
                }
            }
        }
    }
};

} // namespace

TEST_CASE("packed history: every kept point is as it was, packed, merged and merged again") {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        CAPTURE(seed);
        packed_rig rig(seed);
        std::mt19937_64 random(seed * 77);
        for (int round = 0; round < 8; ++round) {
            for (std::uint64_t n = 1 + random() % 8; n > 0; --n) {
                rig.of.interval();
                if (random() % 3 != 0) {
                    rig.kept.insert(interval_id{rig.of.states.size() - 1});
                }
            }
            const std::uint64_t newest = rig.of.states.size() - 1;
            if (newest > rig.packed_to + 1) {
                rig.pack(rig.packed_to + 1 + random() % (newest - rig.packed_to),
                         random() % 5 != 0);
                // What comes after the stretches is asked of the newest state: all of it is packed.
                if (rig.packed_to < newest) {
                    rig.pack(newest, true);
                }
            } else {
                rig.pack(newest, true);
            }
            rig.check();
            if (random() % 2 == 0) { // some are let go
                std::erase_if(rig.kept, [&](interval_id) { return random() % 3 == 0; });
            }
            const std::size_t stretches = rig.store->list()->size();
            if (stretches >= 2 && random() % 2 == 0) {
                const std::size_t first = random() % (stretches - 1);
                rig.merge(first, 2 + random() % (stretches - first - 1));
                rig.check();
            }
            auto again = packed_store::open(rig.files, "/packed", identity);
            REQUIRE(again.has_value());
            REQUIRE((*again)->list()->size() == rig.store->list()->size());
            rig.store = std::move(*again);
        }
    }
}

TEST_CASE(
    "packed history: any flipped byte is an error or changes nothing, and never another content") {
    packed_rig rig(3);
    for (int n = 0; n < 12; ++n) {
        rig.of.interval();
        rig.kept.insert(interval_id{rig.of.states.size() - 1});
    }
    rig.pack(12, true);
    const std::string path = rig.store->list()->front()->path();
    const std::uint64_t size = rig.store->list()->front()->file_bytes();
    for (std::uint64_t at = 0; at < size; at += size / 400 + 1) {
        CAPTURE(at);
        rig.files.corrupt(path, at);
        const auto opened = stretch::open(rig.files, path, identity);
        if (opened) {
            const stretch_list list{*opened};
            model_present present(rig.of.states.back());
            packed_caches caches;
            const packed_reader reader(list, present, caches);
            for (std::uint64_t point = 1; point <= 12; ++point) {
                for (std::uint64_t b = 0; b < blocks; ++b) {
                    byte_vector out(block_bytes);
                    if (reader.read_as_of(interval_id{point}, volume_index{1}, b, out)) {
                        REQUIRE(out ==
                                content_of(rig.of.states[point], packed_key(volume_index{1}, b)));
                    }
                }
            }
        } else {
            REQUIRE(is(opened.error(), errc::corrupt));
        }
        rig.files.corrupt(path, at); // back
    }
    rig.check();
}

TEST_CASE(
    "facts: runs of zero are cut where others begin, and are one again where nothing is between") {
    const auto fact = [](std::uint64_t key, std::uint64_t count, std::uint64_t interval,
                         bool zero) {
        packed_fact f;
        f.key = key;
        f.count = count;
        f.interval = interval_id{interval};
        f.zero = zero;
        return f;
    };
    std::vector<packed_fact> given{fact(0, 100, 1, true), fact(50, 1, 2, false),
                                   fact(60, 80, 3, true)};
    for (std::uint32_t i = 0; i < given.size(); ++i) {
        given[i].source = i;
    }
    const auto got = disjoint_facts(given);
    std::vector<std::array<std::uint64_t, 3>> seen;
    for (const packed_fact &f : got) {
        seen.push_back({f.key, f.count, f.interval.value});
    }
    const std::vector<std::array<std::uint64_t, 3>> wanted{
        {0, 50, 1}, {50, 1, 1}, {50, 1, 2}, {51, 9, 1}, {60, 80, 3}};
    CHECK(seen == wanted);
}

TEST_CASE("packed history: a delta of nothing needs no unit, and what is lost is an error") {
    sim_file_system files(1);
    const byte_vector same(block_bytes, std::byte{0x31});
    auto writer = stretch_writer::create(files, "/one", {identity, interval_id{1}, 2, 1});
    REQUIRE(writer.has_value());
    packed_row row;
    row.interval = interval_id{1};
    REQUIRE((*writer)->add_delta(row, 0, same, {}).has_value());
    row.block = 1;
    REQUIRE((*writer)->add_lost(row, 0, checksum64(same)).has_value());
    row.block = 2;
    REQUIRE((*writer)->add_lost(row, 0, 0).has_value());
    stretch_facts about;
    about.first_segment = about.last_segment = 1;
    about.last_interval = about.moment = interval_id{1};
    REQUIRE((*writer)->finish(about).has_value());
    const auto opened = stretch::open(files, "/one", identity);
    REQUIRE(opened.has_value());
    state now;
    for (std::uint64_t b = 0; b < 3; ++b) {
        now[packed_key(volume_index{0}, b)] = same;
    }
    const stretch_list list{*opened};
    model_present present(now);
    packed_caches caches;
    const packed_reader reader(list, present, caches);
    byte_vector out(block_bytes);
    CHECK(reader.read_as_of(interval_id{0}, volume_index{0}, 0, out).has_value());
    CHECK(out == same);
    CHECK(reader.read_as_of(interval_id{0}, volume_index{0}, 1, out).has_value()); // it is the same
    const auto lost = reader.read_as_of(interval_id{0}, volume_index{0}, 2, out);
    REQUIRE_FALSE(lost.has_value());
    CHECK(is(lost.error(), errc::corrupt));
}

TEST_CASE("chain depths: what is not known counts as the most, and a full table forgets all") {
    chain_depths fresh(true);
    CHECK(fresh.of(5) == 0);
    chain_depths later(false);
    CHECK(later.of(5) == packed_depth_max);
    for (std::uint64_t i = 0; i < 5000; ++i) {
        later.set(packed_key(volume_index{static_cast<std::uint16_t>(i % 7)}, i), i % 8);
    }
    CHECK(later.blocks() == 5000);
    for (std::uint64_t i = 0; i < 5000; ++i) {
        CHECK(later.of(packed_key(volume_index{static_cast<std::uint16_t>(i % 7)}, i)) == i % 8);
    }
}

} // namespace farshore
