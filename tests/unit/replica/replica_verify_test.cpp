// Ranges that the primary wants compared, at a replica group on a simulated disk.

#include "replicator/replica/replica_group.hpp"
#include "tests/unit/replica/replica_test_rig.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

TEST_SUITE_BEGIN("replica");

TEST_CASE("replica: verify answers say for each range whether it was equal at that barrier") {
    rig r;
    const dedupe::digest_key key{std::byte{7}};
    r.group->set_verify_key(key);
    r.write(40);
    // Two barriers of one batch that change the same volume: each is compared at its own state.
    std::vector<std::vector<buffer>> frames;
    for (int i = 0; i < 3; ++i) {
        const auto unverified = r.model.interval(10, primary_model::plain());
        barrier b = primary_model::plain();
        dedupe::digester digest(key);
        for (std::uint16_t v = 0; v < 2; ++v) {
            const bytes_view image = r.model.now()[v];
            b.verify.push_back({volume_index{v}, {0, image.size()}, digest.of(image).bytes});
            b.verify.push_back(
                {volume_index{v}, {1234, 5000}, digest.of(image.subspan(1234, 5000)).bytes});
        }
        if (i == 1) {
            b.verify[1].digest[0] ^= std::byte{1};
        }
        // The same changes with the digests of the state after them.
        std::vector<test::data_payload> payloads;
        for (std::size_t f = 0; f + 1 < unverified.size(); ++f) {
            const auto p = *parse_frame(unverified[f].view());
            payloads.push_back(
                {{p.payload.begin(), p.payload.end()}, p.header.blocks, p.header.raw_bytes});
        }
        frames.push_back(test::make_interval(r.model.position(), payloads, b));
    }
    for (const auto &f : frames) {
        REQUIRE(test::append_all(*r.group, f).has_value());
    }
    REQUIRE(r.group->sync_journal().has_value());
    // The one that differs ends its batch: what comes after it is no point.
    auto outcome = r.group->apply();
    REQUIRE(outcome.has_value());
    CHECK(outcome->intervals == 2);
    const auto rest = r.group->apply();
    REQUIRE(rest.has_value());
    CHECK(rest->intervals == 1);
    outcome->verified.insert(outcome->verified.end(), rest->verified.begin(), rest->verified.end());
    REQUIRE(outcome->verified.size() == 12);
    for (std::size_t i = 0; i < 12; ++i) {
        CHECK(outcome->verified[i].at.value == 2 + i / 4);
        CHECK(outcome->verified[i].equal == (i != 5));
    }
}

TEST_CASE("replica: a hole with too much data to look at says nothing, so its barrier is a point") {
    const std::uint64_t size = 260 * limits::MiB;
    sim_file_system files(1);
    REQUIRE(files.make_directories("/images"));
    {
        const auto image = std::move(*files.open("/images/vol0.img", open_mode::create_new));
        const byte_vector zeroes(4 * limits::MiB);
        for (std::uint64_t at = 0; at < size; at += zeroes.size()) {
            REQUIRE(image->write_at(at, zeroes));
        }
    }
    replica_options options;
    options.state_directory = "/state";
    REQUIRE(replica_group::create(files, options, test::volumes_of({size})));
    const auto group = std::move(*replica_group::open(files, options));
    group->set_verify_key({});
    barrier b = primary_model::plain();
    b.time = wall_time(std::chrono::seconds(1'000'000));
    b.verify.push_back({volume_index{0}, {0, size}, {}});
    REQUIRE(test::append_all(*group, test::make_interval({stream_id{1}, interval_id{1}}, {}, b)));
    REQUIRE(group->sync_journal());
    const auto outcome = test::apply_all(*group);
    REQUIRE(outcome);
    REQUIRE(outcome->verified.size() == 1);
    CHECK(outcome->verified[0].unseen);
    CHECK_FALSE(outcome->verified[0].differs());
    CHECK(group->position().damage_count == 0);
    CHECK(group->position().trouble.empty());
    CHECK(group->position().newest_point);
}

TEST_CASE(
    "replica: a hole is verified by its extents, over changes that the images do not show yet") {
    const std::uint64_t size = 1ULL << 30;
    sim_file_system files(1);
    replica_options options;
    options.state_directory = "/state";
    REQUIRE(replica_group::create(files, options, test::volumes_of({size})).has_value());
    auto group = replica_group::open(files, options);
    REQUIRE(group.has_value());
    (*group)->set_verify_key({});
    // One block that is not zero, far inside; one that is, and has data.
    const std::uint64_t data = 700'000'000 / block_bytes;
    std::uint64_t reads = 0;
    files.before_call([&](const sim_call &call) {
        reads += call.what == sim_operation::read && call.path.ends_with(".img") ? 1 : 0;
    });
    std::uint64_t id = 0;
    const auto verified = [&](std::vector<block_change> changes) {
        dedupe::encoder encoder{dedupe::encoder_options{}};
        std::vector<test::data_payload> payloads;
        for (dedupe::encoded_payload &p : encoder.encode(changes)) {
            payloads.push_back(
                {{p.bytes.view().begin(), p.bytes.view().end()}, p.blocks, p.raw_bytes});
        }
        barrier b;
        b.consistent = true;
        b.time = wall_time(std::chrono::seconds(1'000'000 + id));
        b.verify.push_back({volume_index{0}, {0, size / 2}, {}});
        b.verify.push_back({volume_index{0}, {size / 2, size / 2}, {}});
        REQUIRE(test::append_all(
            **group, test::make_interval({stream_id{1}, interval_id{++id}}, payloads, b)));
        REQUIRE((*group)->sync_journal());
        const auto outcome = test::apply_all(**group);
        REQUIRE(outcome);
        REQUIRE(outcome->verified.size() == 2);
        return std::pair(outcome->verified[0].equal, outcome->verified[1].equal);
    };
    CHECK(verified({}) == std::pair(true, true));
    const byte_vector some(block_bytes, std::byte{9});
    block_change write;
    write.block = block_index{data};
    write.content = some;
    CHECK(verified({write}) == std::pair(true, false));
    CHECK(verified({}) == std::pair(true, false));
    block_change zero;
    zero.kind = change_kind::zero;
    zero.block = block_index{data};
    CHECK(verified({zero}) == std::pair(true, true));
    CHECK(verified({}) == std::pair(true, true));
    auto image = files.open("/images/vol0.img", open_mode::read_write);
    REQUIRE((*image)->write_at(4096 * 5, byte_vector(block_bytes))); // data, and zeroes
    CHECK(verified({}) == std::pair(true, true));
    REQUIRE((*image)->write_at(4096 * 5 + 1, as_bytes("x"))); // by somebody else
    CHECK(verified({}) == std::pair(false, true));
    CHECK(reads < 40);
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
