// A group whose history is packed while it lives: points, views over it, thinning, restarts.

#include "replicator/replica/history_packer.hpp"
#include "replicator/replica/scrub_source.hpp"
#include "tests/unit/replica/replica_test_rig.hpp"

#include <doctest/doctest.h>

#include <map>
#include <random>

namespace farshore {
namespace {

TEST_SUITE_BEGIN("packing");

struct packing_rig : rig {
    packing_rig() {
        options.segment_bytes = 16 * 1024;
        options.stretch_bytes = 96 * 1024;
        open();
    }
    void pack_all() {
        for (int i = 0; i < 100'000; ++i) {
            const auto more = group->pack();
            REQUIRE_MESSAGE(more.has_value(), (more ? "" : more.error().text()));
            if (!*more) {
                return;
            }
        }
        FAIL("packing has no end");
    }
    void commit() {
        REQUIRE(group->commit().has_value());
        REQUIRE(group->commit().has_value());
    }
    std::vector<std::string> packed() { return *files.list("/state/packed"); }
    void check_points() {
        for (const replica_point &p : group->points()) {
            const auto opened = group->open_point(p.id);
            REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().text()));
            const auto shown = test::read_point(*opened);
            REQUIRE_MESSAGE(shown.has_value(), (shown ? "" : shown.error().text()));
            REQUIRE_MESSAGE(*shown == model.at(p.id), "point ", p.id.value);
        }
    }
};

/// Blocks that are read without waiting are right; how many were, of how many.
struct tried {
    std::size_t read = 0;
    std::size_t all = 0;
};
void try_blocks(const open_replica_point &point, const test::image_set &expected, tried &sum) {
    for (std::size_t v = 0; v < point.devices.size(); ++v) {
        block_device &device = *point.devices[v];
        byte_vector block(block_bytes);
        for (std::uint64_t at = 0; at + block_bytes <= device.size(); at += block_bytes) {
            const auto read = device.try_read(at, block);
            REQUIRE(read.has_value());
            ++sum.all;
            if (*read) {
                ++sum.read;
                REQUIRE(
                    std::ranges::equal(block, bytes_view(expected[v]).subspan(at, block_bytes)));
            }
        }
    }
}

TEST_CASE("packing: every point is as it was, packed, after restarts, while apply goes on") {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        CAPTURE(seed);
        packing_rig r;
        std::mt19937_64 random(seed);
        std::map<std::uint64_t, open_replica_point> opened;
        std::size_t most = 0;
        tried tries;
        for (int round = 0; round < 60; ++round) {
            r.write(1 + random() % 10);
            if (random() % 3 == 0) {
                r.commit();
            }
            if (random() % 4 == 0) {
                r.pack_all();
                most = std::max(most, r.packed().size());
            }
            if (random() % 6 == 0) {
                const auto points = r.group->points();
                const interval_id id = points[random() % points.size()].id;
                auto point = r.group->open_point(id);
                REQUIRE(point.has_value());
                opened.insert_or_assign(id.value, std::move(*point));
            }
            if (!opened.empty() && random() % 3 == 0) {
                const auto at = std::next(opened.begin(),
                                          static_cast<std::ptrdiff_t>(random() % opened.size()));
                REQUIRE(*test::read_point(at->second) == r.model.at(interval_id{at->first}));
                try_blocks(at->second, r.model.at(interval_id{at->first}), tries);
            }
            if (random() % 20 == 0) {
                opened.clear();
                r.open();
            }
        }
        r.commit();
        r.pack_all();
        CHECK(most >= 2);
        CHECK(tries.read > 0); // what did not change since
        CHECK(tries.read < tries.all);
        CHECK(r.group->points().size() == 60);
        for (const auto &[id, point] : opened) {
            REQUIRE(*test::read_point(point) == r.model.at(interval_id{id}));
        }
        r.check_points();
        opened.clear();
        r.open();
        r.check_points();
        CHECK(*test::read_images(*r.group) == r.model.now());
    }
}

TEST_CASE("packing: points that are let go give their space back, and the others stay") {
    packing_rig r;
    for (int i = 0; i < 300; ++i) {
        r.write(6);
        if (i % 10 == 0) {
            r.commit();
            r.pack_all();
        }
    }
    r.commit();
    r.pack_all();
    const std::uint64_t before = r.group->used_bytes();
    CHECK(r.packed().size() >= 2);
    r.options.retain = {{std::chrono::seconds(60), std::chrono::hours(1)}};
    r.open();
    const wall_time now = r.group->points().back().time;
    REQUIRE(r.group->pin(interval_id{137}, true).has_value());
    REQUIRE(r.group->retain(now).has_value());
    const auto kept = r.group->points();
    CHECK(kept.size() < 10);
    r.pack_all();
    CHECK(r.group->used_bytes() < before / 2);
    CHECK(std::ranges::any_of(r.group->points(),
                              [](const replica_point &p) { return p.id.value == 137; }));
    r.check_points();
    r.open();
    CHECK(r.group->points().size() == kept.size());
    r.check_points();
    for (int i = 0; i < 60; ++i) { // and it goes on
        r.write(6);
    }
    r.commit();
    r.pack_all();
    r.check_points();
}

TEST_CASE("packing: what changed since a point is known from stretches as from undo") {
    packing_rig r;
    for (int i = 0; i < 80; ++i) {
        r.write(3);
    }
    r.commit();
    const auto read = [&](interval_id since, interval_id id) {
        std::vector<std::vector<std::uint64_t>> all;
        const auto opened = r.group->open_point(id, false, since);
        REQUIRE(opened.has_value());
        for (const auto &device : opened->devices) {
            std::vector<std::uint64_t> flags;
            for (std::uint64_t b = 0; b * block_bytes < device->size(); ++b) {
                const std::uint64_t length =
                    std::min<std::uint64_t>(block_bytes, device->size() - b * block_bytes);
                const auto s = device->status({b * block_bytes, length}, status_context::dirty, 1);
                REQUIRE(s.has_value());
                flags.push_back(s->front().flags);
            }
            all.push_back(std::move(flags));
        }
        return all;
    };
    const auto raw = read(interval_id{20}, interval_id{50});
    const auto regions = r.group->changed_since(interval_id{33});
    r.pack_all();
    REQUIRE(!r.packed().empty());
    const auto packed = read(interval_id{20}, interval_id{50});
    // Zero that was zero again is no change, and the stretches know.
    for (std::size_t v = 0; v < raw.size(); ++v) {
        for (std::size_t b = 0; b < raw[v].size(); ++b) {
            const auto block_of = [&](std::uint64_t id) {
                const byte_vector &image = r.model.at(interval_id{id})[v];
                const auto at = static_cast<std::ptrdiff_t>(b * block_bytes);
                const auto end =
                    std::min<std::ptrdiff_t>(at + static_cast<std::ptrdiff_t>(block_bytes),
                                             static_cast<std::ptrdiff_t>(image.size()));
                return byte_vector(image.begin() + at, image.begin() + end);
            };
            CHECK(packed[v][b] <= raw[v][b]);
            CHECK((packed[v][b] == 1 || block_of(20) == block_of(50)));
        }
    }
    CHECK(r.group->changed_since(interval_id{33}) == regions);
    CHECK(r.group->changed_since(r.group->position().applied).has_value());
    CHECK_FALSE(
        r.group->changed_since(stream_position{stream_id{99}, interval_id{33}}).has_value());
    CHECK(r.group->changed_since(stream_position{r.model.position().stream, interval_id{33}})
              .has_value());
}

TEST_CASE("packing: a stretch that is damaged takes what is older along, and says so") {
    packing_rig r;
    for (int i = 0; i < 120; ++i) {
        r.write(6);
        if (i % 10 == 0) {
            r.commit();
            r.pack_all();
        }
    }
    r.commit();
    r.pack_all();
    while (r.packed().size() < 3) {
        r.write(20);
        r.commit();
        r.pack_all();
    }
    const std::size_t all = r.group->points().size();
    const std::string middle = "/state/packed/" + r.packed()[1];
    r.group.reset();
    const auto file = r.files.open(middle, open_mode::read_write);
    REQUIRE((*file)->truncate(*(*file)->size() - 1).has_value());
    r.open();
    const auto points = r.group->points();
    CHECK(points.size() < all);
    CHECK(points.size() > 1);
    CHECK_FALSE(r.group->position().damaged);
    r.check_points();
}

TEST_CASE("packing: a unit that is damaged is an error for who needs it, and for nobody else") {
    packing_rig r;
    for (int i = 0; i < 60; ++i) {
        r.write(6);
    }
    r.commit();
    r.pack_all();
    const auto names = r.packed();
    REQUIRE(!names.empty());
    r.files.corrupt("/state/packed/" + names.front(), 100); // in its first unit
    r.open();
    std::size_t wrong = 0;
    for (const replica_point &p : r.group->points()) {
        const auto shown = test::read_point(*r.group->open_point(p.id));
        if (shown) {
            REQUIRE(*shown == r.model.at(p.id));
        } else {
            CHECK(is(shown.error(), errc::corrupt));
            CHECK(shown.error().context.find("/state/packed/") != std::string::npos);
            ++wrong;
        }
    }
    CHECK(wrong > 0);
    CHECK(wrong < r.group->points().size());
}

/// Reads everything and has what is damaged noted.
void scrub(replica_group &group) {
    const auto source = group.scrub(scrub_part::history, 0);
    for (;;) {
        const auto piece = source->next(64 * 1024);
        REQUIRE_MESSAGE(piece.has_value(), (piece ? "" : piece.error().text()));
        REQUIRE(group.note_damage(piece->damaged).has_value());
        if (piece->end) {
            return;
        }
    }
}

/// Exactly the points that can't be read right are marked; how many that are.
std::size_t check_marks(packing_rig &r) {
    std::size_t wrong = 0;
    for (const replica_point &p : r.group->points()) {
        const auto opened = r.group->open_point(p.id, true);
        REQUIRE(opened.has_value());
        const auto shown = test::read_point(*opened);
        if (shown) {
            REQUIRE(*shown == r.model.at(p.id));
        }
        wrong += shown ? 0 : 1;
        CHECK_MESSAGE(p.damaged == !shown.has_value(), "point ", p.id.value);
    }
    return wrong;
}

TEST_CASE("packing: a scrub marks the points that need a damaged unit, through deltas and copies") {
    std::size_t marked = 0;
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        CAPTURE(seed);
        packing_rig r;
        for (std::uint64_t i = 0; i < 60 + seed * 3; ++i) {
            r.write(4);
            if (i % 25 == 24) {
                r.commit();
                r.pack_all();
            }
        }
        r.commit();
        r.pack_all();
        scrub(*r.group);
        CHECK(check_marks(r) == 0);
        const auto names = r.packed();
        const std::string path = "/state/packed/" + names[seed % names.size()];
        r.files.corrupt(path, 64 + seed * 977); // in one of its first units
        r.open();
        scrub(*r.group);
        marked += check_marks(r);
    }
    CHECK(marked > 0);
}

TEST_CASE("packing: raw undo that can't be read is packed as lost, and its points are marked") {
    packing_rig r;
    r.options.stretch_bytes = 1ULL << 30; // nothing yet
    r.open();
    for (int i = 0; i < 40; ++i) {
        r.write(4);
    }
    r.commit();
    REQUIRE(r.packed().empty());
    const auto segments = *r.files.list("/state/undo");
    REQUIRE(segments.size() > 4);
    r.files.corrupt("/state/undo/" + segments[2], 3000);
    r.options.stretch_bytes = 96 * 1024;
    r.open();
    r.commit();
    r.pack_all();
    REQUIRE(!r.packed().empty());
    CHECK(check_marks(r) > 0);
    r.open();
    CHECK(check_marks(r) > 0);
    scrub(*r.group);
    CHECK(check_marks(r) > 0);
}

TEST_CASE("packing: what is being packed is nobody's opening") {
    packing_rig r;
    for (int i = 0; i < 60; ++i) {
        r.write(6);
    }
    r.commit();
    std::size_t steps = 0;
    for (bool more = true; more; ++steps) {
        more = *r.group->pack();
        for (const point_keeping &k : r.group->points_and_keepers(wall_time{})) {
            REQUIRE_FALSE(k.open);
        }
        if (steps == 3) {
            CHECK(r.group->forget(interval_id{7}).has_value());
        }
    }
    CHECK(steps > 4);
    r.check_points();
}

TEST_CASE("packing: who merges what is the oldest run whose points were let go") {
    using all = std::vector<merge_candidate>;
    CHECK(choose_merge(all{}) == merge_choice{});
    CHECK(choose_merge(all{{10, 20, 20}, {10, 20, 18}}) == merge_choice{});
    CHECK(choose_merge(all{{10, 4, 1}, {10, 4, 1}}) == merge_choice{});
    CHECK(choose_merge(all{{10, 20, 6}}) == merge_choice{});
    CHECK(choose_merge(all{{10, 20, 2}}) == merge_choice{0, 1});
    CHECK(choose_merge(all{{10, 9, 9}, {10, 9, 1}, {10, 9, 1}, {10, 9, 0}, {10, 0, 0}}) ==
          merge_choice{1, 4});
    CHECK(choose_merge(all{{merged_rows_max, 70, 1}, {10, 70, 1}}) == merge_choice{0, 1});
    CHECK(choose_merge(all{{10, 1, 1}, {10, 1, 1}, {10, 1, 1}, {10, 1, 1}}) == merge_choice{});
    // And eight small ones of about one size.
    all small(7, merge_candidate{10, 1, 1});
    CHECK(choose_merge(small) == merge_choice{});
    small.push_back({100, 1, 1});
    CHECK(choose_merge(small) == merge_choice{0, 8});
    small.insert(small.begin(), {90'000, 1, 1});
    CHECK(choose_merge(small) == merge_choice{1, 8});
    small[4].rows = 5'000;
    CHECK(choose_merge(small) == merge_choice{});
    CHECK(choose_merge(all(20, merge_candidate{merged_rows_max / 4, 9, 9})) == merge_choice{});
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
