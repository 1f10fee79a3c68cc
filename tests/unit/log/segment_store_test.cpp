// The files under the interval log and the undo log: removal from the front beside a writer.

#include "replicator/log/segment_store.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <chrono>
#include <future>

namespace farshore {
namespace {

struct rig {
    sim_file_system files{1};
    std::unique_ptr<segment_store> store = open();

    std::unique_ptr<segment_store> open() {
        auto opened = segment_store::open(files, {"/log", segment_kind::undo, 4096});
        REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().text()));
        return std::move(*opened);
    }
    /// One record, which fills its segment.
    result<> add() {
        const byte_vector record(4096, std::byte{7});
        FS_TRY(place, store->begin());
        FS_CHECK(store->write(place.offset, record));
        store->keep(place.offset + record.size());
        return store->sync();
    }
    void add(int count) {
        for (int i = 0; i < count; ++i) {
            REQUIRE(add().has_value());
        }
    }
    std::vector<std::uint64_t> numbers() const {
        std::vector<std::uint64_t> all;
        for (const segment_info &s : store->segments()) {
            all.push_back(s.number);
        }
        return all;
    }
};

using list = std::vector<std::uint64_t>;

TEST_SUITE_BEGIN("log");

TEST_CASE("segment store: the writer and who asks for its size don't wait for a removal") {
    rig r;
    r.add(4);
    std::vector<std::future<bool>> writes;
    r.files.before_call([&](const sim_call &call) {
        if (call.what != sim_operation::remove) {
            return;
        }
        writes.push_back(std::async(std::launch::async, [&r] {
            return r.add().has_value() && r.store->used_bytes() > 0 && r.numbers().front() == 3;
        }));
        CHECK(writes.back().wait_for(std::chrono::seconds(10)) == std::future_status::ready);
    });
    REQUIRE(r.store->remove_before(3).has_value());
    r.files.before_call({});
    REQUIRE(writes.size() == 2);
    for (auto &write : writes) {
        CHECK(write.get());
    }
    CHECK(r.numbers() == list{3, 4, 5, 6});
}

TEST_CASE("segment store: a removal from the front syncs nothing, one from the end does") {
    rig r;
    r.add(6);
    const std::uint64_t before = r.files.syncs();
    REQUIRE(r.store->remove_before(4).has_value());
    CHECK(r.files.syncs() == before);
    CHECK_FALSE(*r.files.exists("/log/" + segment_name(3)));
    REQUIRE(r.store->cut_after({}).has_value());
    r.files.power_cut(0);
    r.store = r.open();
    CHECK(r.numbers().empty());
}

TEST_CASE("segment store: what the disk refuses to remove counts as used and is tried again") {
    rig r;
    r.add(4);
    const std::uint64_t before = r.store->used_bytes();
    r.files.inject({.scope = sim_scope::every, .path_prefix = "/log", .nth = 2, .number = EIO});
    CHECK_FALSE(r.store->remove_before(4).has_value());
    r.files.clear_faults();
    CHECK(r.numbers() == list{4});
    CHECK(r.store->used_bytes() == before / 4 * 3);
    SUBCASE("by the next removal") {
        REQUIRE(r.store->remove_before(1).has_value());
        CHECK(r.store->used_bytes() == before / 4);
        CHECK(r.numbers() == list{4});
    }
    SUBCASE("when all goes") {
        REQUIRE(r.store->cut_after({}).has_value());
        CHECK(r.store->used_bytes() == 0);
    }
    CHECK_FALSE(*r.files.exists("/log/" + segment_name(2)));
    CHECK_FALSE(*r.files.exists("/log/" + segment_name(3)));
    r.files.power_cut(1);
    r.store = r.open();
    CHECK(r.store->used_bytes() <= before / 4);
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
