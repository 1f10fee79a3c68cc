// The replica group while order is lost: points stand still and the same blocks are written over
// and over. Space, the newest point, both undo logs.

#include "replicator/format/group_state.hpp"
#include "tests/unit/replica/replica_test_rig.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

const barrier inconsistent = primary_model::plain(false);

/// `journal` bytes in small segments.
struct small_rig : rig {
    explicit small_rig(std::uint64_t journal) {
        options.journal_bytes_max = journal;
        options.segment_bytes = 16 * 1024;
        open();
    }
    /// New content for `count` blocks of volume 0, always the same ones.
    std::vector<buffer> overwrite(std::uint64_t count, const barrier &b = inconsistent) {
        return model.interval_by(
            [&](auto &images, auto &touched) {
                for (std::uint64_t block = 0; block < count; ++block) {
                    for (std::uint64_t n = 0; n < block_bytes; ++n) {
                        images[0][block * block_bytes + n] =
                            static_cast<std::byte>(model.below(256));
                    }
                    touched.emplace(0, block);
                }
            },
            b);
    }
    void check_point(std::uint64_t id) {
        const auto opened = group->open_point(interval_id{id});
        REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().text()));
        CHECK(*test::read_point(*opened) == model.at(interval_id{id}));
    }
    std::uint64_t undo_bytes() {
        std::uint64_t sum = 0;
        for (const point_keeping &p : group->points_and_keepers(wall_time{})) {
            sum += p.undo_bytes;
        }
        return sum;
    }
};

TEST_SUITE_BEGIN("replica");

TEST_CASE(
    "replica: overwriting the same blocks without points goes on for ever in a small journal, "
    "and the newest point stays right") {
    constexpr std::uint64_t journal = 1'000'000;
    small_rig r(journal);
    r.write(10);
    r.take(r.overwrite(20, primary_model::plain()));
    r.model.begin_stream();
    std::uint64_t undo = 0;
    for (int i = 0; undo < 50 * journal; ++i) {
        CAPTURE(i);
        r.take(r.overwrite(20));
        undo += 20 * block_bytes;
        CHECK(r.group->used_bytes() <= journal);
        if (i % 7 == 0) {
            REQUIRE(r.group->commit().has_value());
        }
        if (i % 100 == 99) {
            r.check_point(2);
            r.open();
            REQUIRE(test::apply_all(*r.group).has_value());
            CHECK(*test::read_images(*r.group) == r.model.now());
        }
        r.model.forget_between(2, r.model.position().interval.value);
    }
    r.check_point(2);
    CHECK(r.group->points().size() >= 1);
    r.take(r.overwrite(20, primary_model::plain()));
    r.check_point(r.group->position().applied.interval.value);
    CHECK(*test::read_images(*r.group) == r.model.now());
}

TEST_CASE("replica: the history takes each block once between points, also over a restart") {
    small_rig r(1 << 30);
    r.take(r.overwrite(30, primary_model::plain()));
    r.take(r.overwrite(20));
    const std::uint64_t once = r.undo_bytes();
    CHECK(once >= 20 * block_bytes);
    for (int i = 0; i < 10; ++i) {
        r.take(r.overwrite(20));
        if (i == 5) {
            REQUIRE(r.group->commit().has_value());
            r.open();
            REQUIRE(test::apply_all(*r.group).has_value());
        }
    }
    CHECK(r.undo_bytes() == once);
    r.check_point(1);
    r.take(r.overwrite(30));
    CHECK(r.undo_bytes() >= once + 10 * block_bytes);
    CHECK(r.undo_bytes() < once + 12 * block_bytes);
    // A point, and then every block once more.
    r.take(r.overwrite(30, primary_model::plain()));
    r.take(r.overwrite(30));
    r.take(r.overwrite(30));
    CHECK(r.undo_bytes() < once + 45 * block_bytes);
    r.check_point(1);
    r.check_point(14);
}

TEST_CASE("replica: a catch-up, its point and what follows in one go keep both points right") {
    small_rig r(1 << 30);
    r.take(r.overwrite(20, primary_model::plain()));
    r.take(r.overwrite(25));
    const auto opened = std::move(*r.group->open_point(interval_id{1}));
    std::vector<std::vector<buffer>> batch;
    batch.push_back(r.overwrite(20));
    batch.push_back(r.overwrite(25));
    batch.push_back(r.overwrite(15, primary_model::plain())); // interval 5
    batch.push_back(r.overwrite(25));
    batch.push_back(r.overwrite(30));
    for (const auto &frames : batch) {
        REQUIRE(test::append_all(*r.group, frames).has_value());
    }
    REQUIRE(r.group->sync_journal().has_value());
    // Undo of 3 to 5 is in the rollback log, from there on in the history: not in one step.
    std::vector<std::uint64_t> steps;
    for (auto outcome = r.group->apply(); outcome && outcome->intervals > 0;
         outcome = r.group->apply()) {
        steps.push_back(outcome->intervals);
        CHECK(*test::read_point(opened) == r.model.at(interval_id{1}));
    }
    CHECK(steps == std::vector<std::uint64_t>{3, 1, 1});
    r.check_point(1);
    r.check_point(5);
    r.take(r.overwrite(35));
    r.check_point(1);
    r.check_point(5);
    CHECK(*test::read_point(opened) == r.model.at(interval_id{1}));
}

TEST_CASE("replica: append that found no room finds it again after apply alone") {
    small_rig r(1'000'000);
    r.take(r.overwrite(20, primary_model::plain()));
    r.model.begin_stream();
    for (int round = 0; round < 5; ++round) {
        CAPTURE(round);
        auto frames = r.overwrite(20);
        while (test::append_all(*r.group, frames)) {
            REQUIRE(r.group->sync_journal().has_value());
            frames = r.overwrite(20);
        }
        REQUIRE(test::apply_all(*r.group).has_value());
        REQUIRE(test::append_all(*r.group, frames).has_value());
        REQUIRE(r.group->sync_journal().has_value());
        REQUIRE(test::apply_all(*r.group).has_value());
        CHECK(*test::read_images(*r.group) == r.model.now());
        r.check_point(1);
    }
}

TEST_CASE(
    "replica: undo of a catch-up does not cost the points before it, commits free it in time") {
    small_rig r(2'000'000);
    for (int i = 0; i < 8; ++i) {
        r.take(r.overwrite(20, primary_model::plain()));
    }
    REQUIRE(r.group->commit().has_value());
    REQUIRE(r.group->commit().has_value());
    r.model.begin_stream();
    for (int i = 0; i < 100; ++i) { // nobody calls commit
        r.take(r.overwrite(20));
    }
    CHECK(r.group->points().size() == 8);
    for (std::uint64_t id = 1; id <= 8; ++id) {
        r.check_point(id);
    }
}

/// An interval that changes block 3 twice, each time as a delta to what it was before the interval.
std::vector<buffer> twice(small_rig &r) {
    const auto block_at = [](byte_vector &image) {
        return bytes_span(image).subspan(3 * block_bytes, block_bytes);
    };
    byte_vector image = r.model.now()[0];
    const byte_vector before(block_at(image).begin(), block_at(image).end());
    dedupe::encoder encoder({});
    std::vector<test::data_payload> payloads;
    for (const std::size_t place : {100, 2000}) {
        byte_vector after = before;
        after[place] ^= std::byte{0x55};
        std::ranges::copy(after, block_at(image).begin());
        const std::vector<block_change> change = {
            {volume_index{0}, block_index{3}, change_kind::data, 1, after, before}};
        for (const dedupe::encoded_payload &encoded : encoder.encode(change)) {
            payloads.push_back({{encoded.bytes.view().begin(), encoded.bytes.view().end()},
                                encoded.blocks,
                                encoded.raw_bytes});
        }
    }
    REQUIRE(payloads.size() == 2);
    static_cast<void>(r.model.interval_by(
        [&](auto &images, auto &touched) {
            images[0] = image;
            touched.emplace(0, 3);
        },
        inconsistent));
    return test::make_interval(r.model.position(), payloads, inconsistent);
}

TEST_CASE(
    "replica: in steps, a block of both logs is rolled back and read as of before the interval") {
    for (const bool covered : {false, true}) {
        CAPTURE(covered);
        small_rig r(1 << 30);
        r.options.batch_bytes_max = 1; // every frame is a step
        r.open();
        r.take(r.overwrite(5, primary_model::plain()));
        if (covered) { // both records go to the rollback log, else the second one only
            r.take(r.overwrite(5));
        }
        REQUIRE(r.group->commit().has_value());
        const std::uint64_t committed = r.group->position().applied.interval.value;
        for (int i = 0; i < 3; ++i) {
            CHECK(r.take(twice(r)).damaged.empty());
            CHECK(*test::read_images(*r.group) == r.model.now());
            r.check_point(1);
        }
        r.open();
        CHECK(*test::read_images(*r.group) == r.model.at(interval_id{committed}));
        r.check_point(1);
        CHECK(test::apply_all(*r.group)->damaged.empty());
        CHECK(*test::read_images(*r.group) == r.model.now());
        r.check_point(1);
    }
}

TEST_CASE("replica: without any point all undo is for the roll-back and goes with the commits") {
    small_rig r(1'000'000);
    for (int i = 0; i < 100; ++i) {
        r.take(r.overwrite(30));
    }
    REQUIRE(r.group->commit().has_value());
    REQUIRE(r.group->commit().has_value());
    CHECK(r.group->used_bytes() < 300'000);
    CHECK(r.files.list("/state/undo")->empty());
    r.take(r.overwrite(30, primary_model::plain()));
    r.take(r.overwrite(30));
    r.check_point(101);
}

TEST_CASE("replica: a lost commit slot falls back to the older one, whose undo is in both logs") {
    small_rig r(1 << 30);
    r.take(r.overwrite(20, primary_model::plain()));
    for (std::uint64_t blocks = 10; blocks < 30; blocks += 4) { // known ones and new ones
        r.take(r.overwrite(blocks));
        REQUIRE(r.group->commit().has_value());
    }
    r.take(r.overwrite(30));
    r.group.reset();
    for (const std::uint64_t slot : {0, 1}) {
        CAPTURE(slot);
        sim_file_system copy(r.files);
        copy.corrupt("/state/group.state", slot * commit_slot_bytes + 20);
        auto group = replica_group::open(copy, r.options);
        REQUIRE_MESSAGE(group.has_value(), (group ? "" : group.error().text()));
        const auto at = (*group)->position().applied.interval;
        CHECK(*test::read_images(**group) == r.model.at(at));
        REQUIRE(test::apply_all(**group).has_value());
        CHECK((*group)->position().damage_count == 0);
        CHECK(*test::read_images(**group) == r.model.now());
        CHECK(*test::read_point(*(*group)->open_point(interval_id{1})) ==
              r.model.at(interval_id{1}));
    }
}

TEST_CASE("replica: a rollback log that is damaged or gone takes all points with it, for good") {
    small_rig r(1 << 30);
    r.take(r.overwrite(20, primary_model::plain()));
    r.take(r.overwrite(20));
    REQUIRE(r.group->commit().has_value());
    REQUIRE(r.group->commit().has_value());
    r.take(r.overwrite(20)); // all of it in the rollback log only
    r.take(r.overwrite(20));
    r.take(r.overwrite(20));
    r.group.reset();
    const auto names = *r.files.list("/state/rollback");
    REQUIRE(names.size() > 2);
    for (const bool gone : {false, true}) {
        CAPTURE(gone);
        sim_file_system copy(r.files);
        for (std::size_t n = 0; n < names.size(); ++n) {
            const std::string path = "/state/rollback/" + names[n];
            if (gone) {
                REQUIRE(copy.remove(path).has_value());
            } else if (n + 1 < names.size()) {
                copy.corrupt(path, 5000);
            }
        }
        for (int life = 0; life < 3; ++life) {
            CAPTURE(life);
            auto group = replica_group::open(copy, r.options);
            REQUIRE_MESSAGE(group.has_value(), (group ? "" : group.error().text()));
            CHECK((*group)->position().damage_count == 1);
            CHECK((*group)->position().damaged);
            CHECK((*group)->points().empty());
        }
    }
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
