// A primary that is put back to an older time, and clones of one: after a catch-up both sites are
// equal, whatever was put back, and the operator is told.

#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "tests/unit/sites/engine_rig.hpp"

namespace farshore {
namespace {

constexpr std::uint64_t volume_bytes = 4 * limits::MiB;

struct two_ends {
    world w;
    std::optional<receiver_host> site;
    std::optional<sender_host> primary;

    two_ends() {
        site.emplace(w);
        primary.emplace(w, 'a', trusting::tokens, volume_bytes);
        REQUIRE(primary->join(site->token()));
        REQUIRE(primary->streams());
    }
    void write(sender_host &host, std::uint64_t region, char what) {
        const byte_vector data(5000, static_cast<std::byte>(what));
        REQUIRE(sender_access::device(*host.engine, "shop", volume_index{})
                    ->write(region * region_bytes + 100, data, false));
    }
    void settle(sender_host &host) {
        const auto reached = w.await(host.engine->wait("shop", false, std::chrono::minutes(1)));
        REQUIRE(reached);
    }
    void idle() {
        static_cast<void>(w.run_until([] { return false; }, std::chrono::seconds(15)));
    }
    /// Another host with these disks, another boot.
    void put_back(const sim_file_system &then) {
        primary.reset();
        sim_file_system disk(then);
        disk.mount_anew(1);
        primary.emplace(w, 'a', trusting::tokens, disk);
    }
    bool equal(sender_host &host) {
        byte_vector here(volume_bytes);
        byte_vector there(volume_bytes);
        auto a = host.disk.open("/srv/data", open_mode::read);
        auto b = site->disk.open("/srv/data.img", open_mode::read);
        return a && b && (*a)->read_at(0, here) && (*b)->read_at(0, there) && here == there;
    }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("rollback: volume and state together, from a snapshot taken while they ran") {
        two_ends t;
        t.write(*t.primary, 1, 'a');
        t.settle(*t.primary);
        const sim_file_system then(t.primary->disk);
        for (int i = 0; i < 5; ++i) {
            t.write(*t.primary, 10 + static_cast<std::uint64_t>(i), 'b');
            t.write(*t.primary, 1, static_cast<char>('c' + i));
            t.settle(*t.primary);
        }
        t.put_back(then);
        t.write(*t.primary, 30, 'z');
        t.settle(*t.primary);
        CHECK(t.equal(*t.primary));
    }

    TEST_CASE("rollback: volume and state together, from a snapshot of a stopped host") {
        two_ends t;
        t.write(*t.primary, 1, 'a');
        t.settle(*t.primary);
        t.w.await(t.primary->engine->stop(std::chrono::seconds(5)));
        const sim_file_system then(t.primary->disk);
        t.put_back(then);
        REQUIRE(t.primary->streams());
        t.write(*t.primary, 1, 'b');
        t.write(*t.primary, 40, 'c');
        t.settle(*t.primary);
        t.put_back(then);
        CHECK(t.w.until(
            [&] { return says(t.primary->status().error, "put back to an older time"); }));
        t.settle(*t.primary);
        CHECK(t.equal(*t.primary));
        CHECK(t.w.until([&] { return !t.primary->status().error; }));
    }

    TEST_CASE("rollback: clones of a primary that take turns don't mix") {
        two_ends t;
        t.write(*t.primary, 1, 'a');
        t.settle(*t.primary);
        t.w.await(t.primary->engine->stop(std::chrono::seconds(5)));
        sim_file_system disks[2] = {sim_file_system(t.primary->disk),
                                    sim_file_system(t.primary->disk)};
        for (int turn = 0; turn < 6; ++turn) {
            CAPTURE(turn);
            t.primary.reset();
            t.primary.emplace(t.w, 'a', trusting::tokens, disks[turn % 2]);
            t.write(*t.primary, static_cast<std::uint64_t>(2 + turn),
                    static_cast<char>('a' + turn));
            t.write(*t.primary, 20, static_cast<char>('A' + turn));
            t.settle(*t.primary);
            CHECK(t.equal(*t.primary));
            t.w.await(t.primary->engine->stop(std::chrono::seconds(5)));
            disks[turn % 2].put_back(t.primary->disk, "/");
        }
    }

    TEST_CASE("rollback: state alone") {
        two_ends t;
        t.write(*t.primary, 1, 'a');
        t.settle(*t.primary);
        t.w.await(t.primary->engine->stop(std::chrono::seconds(5)));
        const sim_file_system then(t.primary->disk);
        t.put_back(then);
        t.write(*t.primary, 1, 'b');
        t.write(*t.primary, 50, 'c');
        t.settle(*t.primary);
        t.w.await(t.primary->engine->stop(std::chrono::seconds(5)));
        sim_file_system mixed(t.primary->disk);
        mixed.put_back(then, state);
        t.put_back(mixed);
        CHECK(says(t.primary->status().error, "somebody wrote to it while it was not served"));
        t.settle(*t.primary);
        CHECK(t.equal(*t.primary));
    }

    TEST_CASE("rollback: what a plain kill leaves is compared, and nothing else") {
        two_ends t;
        for (std::uint64_t i = 0; i < 60; ++i) {
            t.write(*t.primary, i, 'a');
        }
        t.settle(*t.primary);
        t.idle();
        std::string said;
        log::set_sink(
            [&said](log::level, std::string_view text) { said.append(text).append("\n"); });
        const sim_file_system as_it_was(
            t.primary->disk); // of one that is killed: the same mount, the same boot
        t.primary.reset();
        t.primary.emplace(t.w, 'a', trusting::tokens, as_it_was);
        CHECK(t.primary->streams());
        log::set_sink({});
        CHECK(said.find("compare_changed") == std::string::npos);
        CHECK(said.find("compare_all") == std::string::npos);
        CHECK(said.find("same boot, 0 of 64 regions dirty") != std::string::npos);
        CHECK(t.equal(*t.primary));
    }
}

} // namespace farshore
