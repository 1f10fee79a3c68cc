// A scrub of a group whose disk flips bytes: which points are marked, against those that can't be
// read.

#include "replica_test_rig.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/replica/scrub_source.hpp"

#include <doctest/doctest.h>

#include <algorithm>

namespace farshore {
namespace {

TEST_SUITE_BEGIN("replica");

constexpr const char *history = "/state/undo/";

struct scrubbed_rig : rig {
    scrubbed_rig() {
        for (int i = 0; i < 14; ++i) {
            write(4);
        }
        REQUIRE(group->commit().has_value());
    }
    std::vector<scrub_damage> read(scrub_part part, std::uint64_t bytes_each = 1) {
        const auto source = group->scrub(part, 0);
        std::vector<scrub_damage> found;
        for (;;) {
            auto piece = source->next(bytes_each);
            REQUIRE_MESSAGE(piece.has_value(), (piece ? "" : piece.error().text()));
            std::ranges::move(piece->damaged, std::back_inserter(found));
            if (piece->end) {
                return found;
            }
        }
    }
    std::vector<noted_damage> scrub() {
        std::vector<noted_damage> all;
        for (const scrub_part part : {scrub_part::journal, scrub_part::history}) {
            const auto found = read(part);
            auto noted = group->note_damage(found);
            REQUIRE(noted.has_value());
            std::ranges::move(*noted, std::back_inserter(all));
        }
        return all;
    }
    /// Points that can't be read, or show what never was.
    std::set<std::uint64_t> bad_points() {
        std::set<std::uint64_t> bad;
        for (const replica_point &p : group->points()) {
            const auto opened = group->open_point(p.id, true);
            if (!opened) {
                bad.insert(p.id.value);
                continue;
            }
            const auto images = test::read_point(*opened);
            if (!images || *images != model.at(p.id)) {
                bad.insert(p.id.value);
            }
        }
        return bad;
    }
    std::set<std::uint64_t> marked_points() const {
        std::set<std::uint64_t> marked;
        for (const replica_point &p : group->points()) {
            if (p.damaged) {
                marked.insert(p.id.value);
            }
        }
        return marked;
    }
    std::vector<std::pair<std::string, std::uint64_t>> segments() {
        std::vector<std::pair<std::string, std::uint64_t>> all;
        const auto names = files.list("/state/undo");
        REQUIRE(names);
        for (const std::string &name : *names) {
            auto f = files.open(history + name, open_mode::read);
            REQUIRE(f);
            all.emplace_back(history + name, *(*f)->size());
        }
        return all;
    }
};

TEST_CASE("scrub: of a copy that nothing happened to it finds nothing") {
    scrubbed_rig r;
    CHECK(r.scrub().empty());
    CHECK(r.read(scrub_part::images, 1 << 20).empty());
    CHECK(r.group->damages().empty());
    CHECK(r.group->overview().damaged == 0);
}

TEST_CASE("scrub: a flipped byte of the history marks the points that need it, and no others") {
    std::size_t hit = 0;
    std::size_t cases = 0;
    const auto all = scrubbed_rig().segments();
    for (const auto &[path, bytes] : all) {
        for (std::uint64_t at = 32 + 77; at < bytes; at += 1999) {
            CAPTURE(path);
            CAPTURE(at);
            scrubbed_rig r;
            r.files.corrupt(path, at);
            const auto noted = r.scrub();
            // A record whose header is damaged is known until the next start only, and then takes
            // all older ones along.
            std::set<std::uint64_t> bad = r.bad_points();
            for (const noted_damage &n : noted) {
                for (const replica_point &p : r.group->points()) {
                    if (n.run.count == 0 && p.id < n.interval) {
                        bad.insert(p.id.value);
                    }
                }
            }
            CHECK(r.marked_points() == bad);
            ++cases;
            hit += bad.empty() ? 0 : 1;
            for (const replica_point &p : r.group->points()) {
                const auto opened = r.group->open_point(p.id);
                if (bad.contains(p.id.value)) {
                    REQUIRE_FALSE(opened);
                    CHECK(is(opened.error(), errc::refused));
                    CHECK(opened.error().context.find("--suspect") != std::string::npos);
                } else {
                    REQUIRE(opened);
                    CHECK(*test::read_point(*opened) == r.model.at(p.id));
                }
            }
            CHECK((!noted.empty() || bad.empty()));
            CHECK(r.group->overview().damaged == bad.size());
        }
    }
    CHECK(cases > 20);
    CHECK(hit > cases / 2);
}

TEST_CASE("scrub: marks outlive a restart, and the newest good point is an older one then") {
    scrubbed_rig r;
    r.write(6, primary_model::plain(false)); // no point: what it changes, the newest one needs
    REQUIRE(r.group->commit().has_value());
    const auto [path, bytes] = r.segments().back();
    const interval_id newest = r.group->points().back().id;
    std::set<std::uint64_t> bad;
    std::uint64_t at = bytes;
    while (!bad.contains(newest.value)) {
        REQUIRE(at > 2000);
        at -= 997;
        r.files.corrupt(path, at);
        r.scrub();
        bad = r.bad_points();
    }
    CHECK(r.group->position().newest_kept->id == newest);
    const auto good = r.group->position().newest_point;
    REQUIRE((!good || !bad.contains(good->id.value)));
    REQUIRE(r.group->close().has_value());
    r.files.power_cut(0);
    r.open();
    for (const std::uint64_t id : r.marked_points()) {
        CHECK(bad.contains(id));
    }
    CHECK(r.marked_points().contains(newest.value));
    CHECK_FALSE(r.group->open_point(newest));
    CHECK(r.group->forget(good ? good->id : newest).has_value() == false);
}

TEST_CASE("scrub: retention keeps the newest good point, and a mark goes with its points") {
    scrubbed_rig r;
    r.files.corrupt(r.segments().at(1).first, 32 + 128 + 5);
    REQUIRE_FALSE(r.scrub().empty());
    const auto marked = r.marked_points();
    REQUIRE_FALSE(marked.empty());
    REQUIRE(marked.size() < r.group->points().size());
    for (const std::uint64_t id : marked) {
        REQUIRE(r.group->forget(interval_id{id}).has_value());
    }
    CHECK_FALSE(r.group->damages().empty());
    REQUIRE(r.group->retain(wall_time{}).has_value());
    CHECK(r.group->damages().empty());
    REQUIRE(r.group->close().has_value());
    r.open();
    CHECK(r.group->damages().empty());
    CHECK(r.scrub().empty());
}

TEST_CASE("scrub: the same damage is found again, and marked once") {
    scrubbed_rig r;
    r.files.corrupt(r.segments().at(1).first, 32 + 128 + 5);
    REQUIRE_FALSE(r.scrub().empty());
    const std::size_t once = r.group->damages().size();
    CHECK(once > 0);
    CHECK_FALSE(r.scrub().empty());
    CHECK(r.group->damages().size() == once);
}

TEST_CASE("scrub: a source goes on where another one was") {
    scrubbed_rig r;
    const std::string last = r.segments().back().first;
    r.files.corrupt(last, 32 + 128 + 5);
    const auto first = r.group->scrub(scrub_part::history, 0);
    while (first->place() < r.segments().size() - 1) {
        REQUIRE(first->next(1)->damaged.empty());
    }
    const auto second = r.group->scrub(scrub_part::history, first->place());
    std::size_t found = 0;
    for (bool end = false; !end;) {
        const auto piece = second->next(1);
        REQUIRE(piece);
        found += piece->damaged.size();
        end = piece->end;
    }
    CHECK(found == 1);
}

TEST_CASE("scrub: an interval of the journal that can't be read is damage") {
    scrubbed_rig r;
    const auto frames = r.model.interval(6, primary_model::plain());
    REQUIRE(test::append_all(*r.group, frames).has_value());
    REQUIRE(r.group->sync_journal().has_value());
    const auto names = r.files.list("/state/journal");
    REQUIRE(names);
    const std::string path = "/state/journal/" + names->back();
    auto f = r.files.open(path, open_mode::read);
    REQUIRE(f);
    const std::uint64_t size = *(*f)->size();
    CHECK(r.read(scrub_part::journal).empty());
    r.files.corrupt(path, size - frames.back().size() - 5);
    const std::uint64_t counted = r.group->position().damage_count;
    const auto found = r.read(scrub_part::journal);
    REQUIRE(found.size() == 1);
    CHECK(found[0].interval == r.model.position().interval);
    const auto noted = r.group->note_damage(found);
    REQUIRE(noted);
    CHECK(noted->front().point_count == 0);
    CHECK(r.group->position().damage_count == counted + 1);
    CHECK(r.marked_points().empty());
}

TEST_CASE("scrub: what verify finds different marks the points that show it") {
    scrubbed_rig r;
    r.options = {};
    std::array<std::byte, 32> key{};
    r.group->set_verify_key(key);
    r.spoil(3);
    barrier b = primary_model::plain();
    dedupe::digester digest(key);
    byte_vector content(block_bytes);
    std::copy_n(r.model.now()[0].begin() + 3 * block_bytes, block_bytes, content.begin());
    b.verify.push_back({volume_index{0}, {3 * block_bytes, block_bytes}, digest.of(content).bytes});
    const auto outcome = r.take(r.model.interval_by([](auto &, auto &) {}, std::move(b)));
    REQUIRE(outcome.verified.size() == 1);
    REQUIRE_FALSE(outcome.verified[0].equal);
    const auto bad = r.bad_points();
    CHECK_FALSE(bad.empty());
    CHECK(r.marked_points() == bad);
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
