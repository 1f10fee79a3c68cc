// Many groups with little memory: a burst into one of them takes what the others don't use.

#include "tests/unit/sites/engine_rig.hpp"

#include <fmt/format.h>

namespace farshore {
namespace {

constexpr std::size_t group_count = 12;
constexpr std::uint64_t volume_bytes = 16 * limits::MiB;

std::string name_of(std::size_t i) { return fmt::format("g{}", i); }

/// Both sites, all groups in sync.
struct many_groups {
    world w;
    sim_file_system primary_disk{2};
    sim_file_system site_disk{1};
    std::optional<receiver> site;
    std::optional<sender> primary;

    explicit many_groups(std::uint64_t memory) {
        receiver_config there;
        there.state = state;
        there.listen = address;
        there.memory_bytes_max = memory;
        sender_config here;
        here.state = state;
        here.memory_bytes_max = memory;
        REQUIRE(primary_disk.make_directories("/srv"));
        REQUIRE(site_disk.make_directories(state));
        for (std::size_t i = 0; i < group_count; ++i) {
            receiver_group_config copy;
            copy.name = name_of(i);
            copy.replica = "/srv/" + name_of(i);
            there.groups.push_back(copy);
            sender_group_config group;
            group.name = name_of(i);
            group.volumes.push_back({"data", "/srv/" + name_of(i), ""});
            here.groups.push_back(group);
            auto image = primary_disk.open("/srv/" + name_of(i), open_mode::create_new);
            REQUIRE(image);
            REQUIRE((*image)->truncate(volume_bytes));
        }
        const std::vector<executor> loops{w.io.get_executor()};
        site.emplace(there, w.run(), site_disk, loops);
        receiver_access::set_network(*site, receiver_host::plain_network(w.line));
        REQUIRE(w.await(site->start()));
        primary.emplace(here, w.sender_run(), primary_disk, loops);
        sender_access::set_network(
            *primary,
            std::make_unique<sim::sim_network>(w.line, std::string(64, 'a'), receiver_fingerprint),
            "boot");
        REQUIRE(w.await(primary->start()));
        for (std::size_t i = 0; i < group_count; ++i) {
            const auto invited = w.await(site->invite(name_of(i), address));
            REQUIRE(invited);
            REQUIRE(w.await(primary->join(invited->token)));
        }
        REQUIRE(w.until([&] { return all_stream(); }));
    }
    ~many_groups() {
        w.await(primary->stop(duration{}));
        w.await(site->stop(duration{}));
    }

    bool all_stream() const {
        return std::ranges::all_of(primary->status(), [](const sender_group_status &s) {
            return s.state == sender_state::streaming && s.last_barrier;
        });
    }
    bool streams(std::size_t group) const {
        return primary->status()[group].state == sender_state::streaming;
    }
    /// Requests of 1 MiB, between which nothing but clients runs.
    void burst(std::size_t group, int requests, std::uint64_t from = 0) {
        const auto device = sender_access::device(*primary, name_of(group), volume_index{0});
        for (int i = 0; i < requests; ++i) {
            const byte_vector data(limits::MiB, static_cast<std::byte>(++content_));
            REQUIRE(device->write(from + static_cast<std::uint64_t>(i) * limits::MiB, data, false));
        }
    }
    void pass(duration d) { test::run_for(w.io, w.clock, d); }

  private:
    int content_ = 0;
};

} // namespace

TEST_SUITE("sites: memory") {
    TEST_CASE("a burst that is larger than an equal share keeps the order, into one group after "
              "another") {
        many_groups sites(64 * limits::MiB);
        for (std::size_t group = 0; group < group_count; ++group) {
            CAPTURE(group);
            sites.burst(group, 2);
            sites.pass(std::chrono::milliseconds(500));
            CHECK(sites.streams(group));
        }
        CHECK(sites.all_stream());
    }

    TEST_CASE("a group that was written for long gives the memory back to the next ones") {
        many_groups sites(64 * limits::MiB);
        for (int i = 0; i < 16; ++i) {
            sites.burst(0, 2);
            sites.pass(std::chrono::milliseconds(250));
            CHECK(sites.streams(0));
        }
        sites.burst(1, 2); // at once, since a part is kept for first leaps
        sites.pass(std::chrono::seconds(10));
        CHECK(sites.streams(1));
        for (const std::size_t group : {2U, 3U, 2U, 3U}) {
            sites.burst(group, 2);
            sites.pass(std::chrono::seconds(1));
            CHECK(sites.streams(group));
        }
    }

    TEST_CASE(
        "two groups that are written at once and want more than there is both keep the order") {
        many_groups sites(64 * limits::MiB);
        for (int i = 0; i < 24; ++i) {
            for (const std::size_t group : {4U, 9U}) {
                sites.burst(group, 1, static_cast<std::uint64_t>(i % 8) * limits::MiB);
                sites.pass(std::chrono::milliseconds(30));
            }
        }
        sites.pass(std::chrono::seconds(2));
        CHECK(sites.streams(4));
        CHECK(sites.streams(9));
    }
}

} // namespace farshore
