#pragma once
// A replica group on a simulated disk, fed by a model primary: for the unit tests of this folder.

#include "replicator/replica/replica_group.hpp"
#include "tests/support/replica_rig.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

namespace farshore {

using test::primary_model;

inline const std::vector<std::uint64_t> sizes = {256 * 1024, 10'000};

struct rig {
    sim_file_system files{1};
    primary_model model{5, sizes};
    replica_options options;
    std::unique_ptr<replica_group> group;

    rig() {
        options.state_directory = "/state";
        options.segment_bytes = 64 * 1024;
        REQUIRE(replica_group::create(files, options, test::volumes_of(sizes)).has_value());
        open();
    }
    void open() {
        group.reset();
        auto opened = replica_group::open(files, options);
        REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().text()));
        group = std::move(*opened);
    }
    apply_outcome take(const std::vector<buffer> &frames) {
        REQUIRE(test::append_all(*group, frames).has_value());
        REQUIRE(group->sync_journal().has_value());
        auto outcome = test::apply_all(*group);
        REQUIRE_MESSAGE(outcome.has_value(), (outcome ? "" : outcome.error().text()));
        return *outcome;
    }
    apply_outcome write(std::size_t writes = 6, barrier b = primary_model::plain()) {
        return take(model.interval(writes, std::move(b)));
    }
    void spoil(std::uint64_t block) {
        auto image = files.open("/images/vol0.img", open_mode::read_write);
        const byte_vector junk(block_bytes, std::byte{0xee});
        REQUIRE((*image)->write_at(block * block_bytes, junk).has_value());
    }
    /// An interval that changes a few bytes of a block: sent as a delta.
    std::vector<buffer> delta_to(std::uint64_t block) {
        return model.interval_by(
            [&](auto &images, auto &touched) {
                images[0][block * block_bytes + 7] ^= std::byte{1};
                touched.emplace(0, block);
            },
            primary_model::plain());
    }
};

} // namespace farshore
