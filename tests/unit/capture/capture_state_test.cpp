#include "replicator/base/limits.hpp"
#include "replicator/capture/capture_state.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

const std::string path = "/state/capture.state";

void store(sim_file_system &files, std::uint64_t last, std::uint64_t reserved,
           std::uint64_t acknowledged) {
    byte_vector bytes(capture_state_bytes);
    capture_record record;
    record.sequence = 2;
    record.last_interval = interval_id{last};
    record.reserved_interval = interval_id{reserved};
    record.acknowledged = {stream_id{1}, interval_id{acknowledged}};
    record.boot_id = "boot";
    store_capture_state(bytes, record);
    auto f = files.open(path, open_mode::create);
    REQUIRE(f);
    REQUIRE((*f)->write_at(0, bytes));
}

} // namespace

TEST_SUITE("capture") {
    TEST_CASE(
        "capture state: ids beyond 2^63-1 are damage, and the position is asked from the DR site") {
        constexpr std::uint64_t top = ~std::uint64_t{0};
        constexpr std::uint64_t most = limits::interval_id_max;
        for (const auto &[last, reserved, acknowledged, kept] :
             {std::tuple(most, most, most, true), std::tuple(top, most, most, false),
              std::tuple(top - 1, most, most, false), std::tuple(most, most + 1, most, false),
              std::tuple(most, most, top, false)}) {
            sim_file_system files(1);
            REQUIRE(files.make_directories("/state"));
            store(files, last, reserved, acknowledged);
            auto state = capture_state::open(files, path, "boot");
            REQUIRE(state);
            CHECK(((*state)->found().last_interval.value != 0) == kept);
            if (!kept) {
                CHECK((*state)->reserve(interval_id{1}));
            }
        }
    }

    TEST_CASE("capture state: ids that can't be reserved any more are refused, not wrapped") {
        sim_file_system files(1);
        REQUIRE(files.make_directories("/state"));
        auto state = capture_state::open(files, path, "boot");
        REQUIRE(state);
        for (const std::uint64_t id :
             {limits::interval_id_max, limits::interval_id_max - 1000, ~std::uint64_t{0}}) {
            CHECK(is((*state)->use(interval_id{id}).error(), errc::limit));
            CHECK(is((*state)->reserve(interval_id{id}).error(), errc::limit));
        }
        CHECK((*state)->use(interval_id{limits::interval_id_max / 2}));
    }
}

} // namespace farshore
