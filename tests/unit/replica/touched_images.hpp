#pragma once
// What befalls the images of a replica group from outside, and what must be seen of it.

#include "tests/unit/replica/replica_test_rig.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

namespace farshore {

constexpr std::int64_t hour = 3'600'000'000'000;

/// The files of `from` below a directory take the place of those there, as a restore makes them:
/// other inodes, new times.
inline void put_back(sim_file_system &files, sim_file_system &from, const std::string &directory) {
    for (const std::string &name : *files.list(directory)) {
        const std::string path = join_path(directory, name);
        if (auto below = files.list(path)) {
            put_back(files, from, path);
        } else {
            REQUIRE(files.remove(path));
        }
    }
    for (const std::string &name : *from.list(directory)) {
        const std::string path = join_path(directory, name);
        if (from.list(path)) {
            continue;
        }
        const auto old = std::move(*from.open(path, open_mode::read));
        byte_vector content(*old->size());
        REQUIRE(old->read_at(0, content));
        const auto made = std::move(*files.open(path, open_mode::create_new));
        REQUIRE(made->write_at(0, content));
        REQUIRE(made->sync_data());
    }
    REQUIRE(files.sync_directory(directory));
}

inline void write_byte(sim_file_system &files, const std::string &path) {
    const auto image = std::move(*files.open(path, open_mode::read_write));
    REQUIRE(image->write_at(100, as_bytes("x")));
    REQUIRE(image->sync_all()); // a power cut does not take it back
}

inline std::vector<byte_vector> images_of(sim_file_system &files) {
    std::vector<byte_vector> all;
    for (std::size_t v = 0; v < sizes.size(); ++v) {
        byte_vector one(sizes[v]);
        REQUIRE(files.open("/images/vol" + std::to_string(v) + ".img", open_mode::read)
                    .value()
                    ->read_at(0, one));
        all.push_back(std::move(one));
    }
    return all;
}

/// Damage, no point until it is healed, and the points of before not served.
inline void check_suspect(rig &r, std::size_t points) {
    CHECK(r.group->position().damage_count == 1);
    CHECK(r.group->position().damaged);
    CHECK_FALSE(r.group->position().newest_point.has_value());
    REQUIRE(r.group->points().size() == points);
    CHECK_FALSE(
        r.group->changed_since(r.group->points().back().id)); // what others wrote is in no undo
    for (const replica_point &p : r.group->points()) {
        CHECK(p.suspect);
        CHECK(is(r.group->open_point(p.id).error(), errc::refused));
        CHECK(r.group->open_point(p.id, true).has_value());
    }
    // Once is enough, and it stays.
    r.open();
    CHECK(r.group->position().damage_count == 1);
    CHECK(r.group->points().front().suspect);
    r.write();
    CHECK(r.group->points().size() == points);
    barrier whole = primary_model::plain();
    whole.heals = 1;
    r.take(r.model.everything(whole));
    REQUIRE(r.group->points().size() == points + 1);
    CHECK_FALSE(r.group->position().damaged);
    CHECK_FALSE(r.group->changed_since(r.group->points()[points - 1].id));
    CHECK(r.group->changed_since(r.group->points().back().id));
    CHECK_FALSE(r.group->points().back().suspect);
    CHECK(r.group->position().newest_point->id == r.group->points().back().id);
    CHECK(*test::read_point(*r.group->open_point(r.group->points().back().id)) == r.model.now());
    CHECK(is(r.group->open_point(r.group->points().front().id).error(), errc::refused));
    r.open();
    REQUIRE(test::apply_all(*r.group)); // what was not committed, again
    CHECK(r.group->points().front().suspect);
    CHECK_FALSE(r.group->points().back().suspect);
}

/// As the receiver stops.
inline void stop(rig &r) {
    REQUIRE(r.group->close());
    r.group.reset();
}

} // namespace farshore
