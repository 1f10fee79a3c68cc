// One group's disk is no reason to keep another group's machines waiting.

#include "replicator/session/group_starts.hpp"
#include "tests/unit/sites/engine_rig.hpp"

#include <utility>

namespace farshore {
namespace {

task<void> listen_to(transport::link &l, std::size_t &ended) {
    (void)co_await l.receive();
    ++ended;
}

/// A sender with the groups "mail" (/srv/mail) and "shop" (/srv/data), whose volumes are not made
/// yet.
struct two_groups {
    explicit two_groups(world &w) : two_groups(w, sim_file_system(2), "boot") {}
    two_groups(world &w, const sim_file_system &from, const char *boot)
        : disk(from), engine(config_on(disk), w.sender_run(), disk, {w.io.get_executor()}) {
        sender_access::set_network(
            engine,
            std::make_unique<sim::sim_network>(w.line, std::string(64, 'a'), receiver_fingerprint),
            boot);
    }
    void make(const char *path, std::uint64_t bytes = limits::MiB, bool filled = false) {
        auto image = disk.open(path, open_mode::create_new);
        REQUIRE(image);
        REQUIRE((*image)->truncate(bytes));
        const byte_vector piece(limits::MiB, std::byte{0x5A});
        for (std::uint64_t at = 0; filled && at < bytes; at += piece.size()) {
            REQUIRE((*image)->write_at(at, piece));
        }
    }
    static sender_config config_on(sim_file_system &disk) {
        REQUIRE(disk.make_directories("/srv"));
        sender_config config;
        config.state = state;
        config.memory_bytes_max = 24 * limits::MiB;
        for (const auto &[name, path] :
             {std::pair{"mail", "/srv/mail"}, std::pair{"shop", "/srv/data"}}) {
            sender_group_config group;
            group.name = name;
            group.volumes.push_back({name, path, ""});
            config.groups.push_back(group);
        }
        return config;
    }

    sim_file_system disk;
    sender engine;
};

/// Both sites of the group "shop", in sync.
struct streaming_pair {
    world w;
    receiver_host site{w};
    sender_host primary{w, 'a'};
    streaming_pair() {
        REQUIRE(primary.join(site.token()));
        REQUIRE(primary.streams());
    }
};

/// Threads of one group's disk, the first one's or another's, that run only when the test lets
/// them.
struct hanging_disk {
    explicit hanging_disk(world &w) : world_(w) {}
    pool_maker first_only() { return only(0); }
    pool_maker second_only() { return only(3); } ///< a group of the DR site takes three
    pool_maker only(int number) {
        return [this, number](std::size_t, int) {
            return made_++ == number ? executor(io_.get_executor())
                                     : executor(world_.io.get_executor());
        };
    }
    void answers() {
        io_.restart();
        io_.poll();
    }
    /// A stop that has had its time, and waits for the disk; true when it is done.
    template <class Daemon>
    bool &begin_stop(Daemon &daemon) {
        asio::co_spawn(world_.io, mark_done(daemon.stop(duration{}), stopped_), asio::detached);
        test::run_for(world_.io, world_.clock, std::chrono::seconds(8));
        return stopped_;
    }
    bool ends() {
        return world_.run_until([&] { return answers(), stopped_; }, std::chrono::minutes(1));
    }
    template <class Daemon>
    void stop(Daemon &daemon) {
        bool done = false;
        asio::co_spawn(world_.io, mark_done(daemon.stop(duration{}), done), asio::detached);
        REQUIRE(world_.run_until([&] { return answers(), done; }, std::chrono::minutes(1)));
    }

  private:
    world &world_;
    asio::io_context io_;
    int made_ = 0;
    bool stopped_ = false;
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("group start: a group whose volume is missing is failed and tried again, the other "
              "is served") {
        world w;
        receiver_host site(w);
        two_groups host(w);
        host.make("/srv/data");
        sender &engine = host.engine;
        REQUIRE(w.await(engine.start()));
        REQUIRE(engine.status().size() == 2);
        CHECK(engine.status()[0].name == "mail");
        CHECK(engine.status()[0].state == sender_state::failed);
        CHECK(says(engine.status()[0].error, "mail"));
        const auto refused = w.await(engine.pause("mail"));
        REQUIRE(!refused);
        CHECK(says(refused.error().context, "not served"));
        REQUIRE(w.await(engine.join(site.token())));
        CHECK(w.until([&] { return engine.status()[1].state == sender_state::streaming; }));
        host.make("/srv/mail");
        CHECK(w.until([&] { return engine.status()[0].state == sender_state::unpaired; }));
        CHECK_FALSE(engine.status()[0].error);
        CHECK(w.await(engine.pause("mail")));
        w.await(engine.stop(duration{}));
    }

    TEST_CASE("group start: a group whose disk does not answer holds up no other, and is served "
              "when it does") {
        world w;
        receiver_host site(w);
        two_groups host(w);
        host.make("/srv/data");
        host.make("/srv/mail");
        hanging_disk hung(w);
        host.engine.use_pools(hung.first_only());
        const time_point begun = w.clock.now();
        REQUIRE(w.await(host.engine.start()));
        CHECK(w.clock.now() - begun <= group_start_patience);
        CHECK(says(host.engine.status()[0].error, "its disks have not answered"));
        REQUIRE(w.await(host.engine.join(site.token())));
        CHECK(w.until([&] { return host.engine.status()[1].state == sender_state::streaming; }));
        CHECK(says(w.await(host.engine.pause("mail")).error().context,
                   "its disks have not answered"));
        CHECK(w.until([&] {
            return hung.answers(), host.engine.status()[0].state == sender_state::unpaired;
        }));
        CHECK_FALSE(host.engine.status()[0].error);
        hung.stop(host.engine);
    }

    TEST_CASE("group start: at the DR site a copy whose disk does not answer is neither made anew "
              "nor in others' way") {
        streaming_pair pair;
        auto &[w, site, primary] = pair;
        REQUIRE(w.await(primary.engine->wait("shop", false, std::chrono::minutes(1))));
        site.stop();
        hanging_disk hung(w);
        site.pools = hung.first_only();
        site.start();
        CHECK(site.status().state == receiver_state::failed);
        CHECK(says(site.status().error, "its disks have not answered"));
        CHECK(site.engine->status()[1].state == receiver_state::empty);
        const auto points = w.await(site.engine->points("shop"));
        REQUIRE_FALSE(points); // an empty list would say that there are none
        CHECK(says(points.error().context, "its disks have not answered"));
        const auto opened =
            w.await(site.engine->open("shop", {.point = "latest", .nbd = "unix:/tmp/none.sock"}));
        REQUIRE_FALSE(opened);
        CHECK(says(opened.error().context, "its disks have not answered"));
        CHECK(w.until([&] { return says(primary.status().error, "its disks have not answered"); }));
        CHECK(w.until(
            [&] { return hung.answers(), primary.status().state == sender_state::streaming; }));
        CHECK(site.status().durable_barrier);
        site.end_serving();
        hung.stop(*site.engine);
        site.engine.reset();
    }

    TEST_CASE(
        "group start: links of a paired sender without a hello are bounded, its session goes on") {
        streaming_pair pair;
        auto &[w, site, primary] = pair;
        const auto silent = w.line.make_connector(address, transport::alpn_session,
                                                  std::string(64, 'a'), receiver_fingerprint);
        std::vector<std::unique_ptr<transport::link>> links;
        std::size_t ended = 0;
        constexpr std::size_t most = limits::data_links_max + 1; // it has one group
        for (std::size_t i = 0; i < most + 20; ++i) {
            links.push_back(w.await(silent->connect(std::chrono::seconds(1))).value());
            asio::co_spawn(w.io, listen_to(*links.back(), ended), asio::detached);
        }
        test::run_for(w.io, w.clock, std::chrono::seconds(1)); // each of them has ten
        CHECK(ended == 20);
        CHECK(primary.status().state == sender_state::streaming);
        test::run_for(w.io, w.clock, std::chrono::seconds(20));
        CHECK(ended == links.size());
    }

    TEST_CASE(
        "group start: a stop closes the other groups clean while a disk still does not answer") {
        world w;
        receiver_host site(w);
        two_groups host(w);
        host.make("/srv/data");
        host.make("/srv/mail");
        hanging_disk hung(w);
        host.engine.use_pools(hung.first_only());
        REQUIRE(w.await(host.engine.start()));
        REQUIRE(w.await(host.engine.join(site.token())));
        REQUIRE(w.until([&] { return host.engine.status()[1].state == sender_state::streaming; }));
        const auto device = sender_access::device(host.engine, "shop", volume_index{0});
        REQUIRE(device->write(0, byte_vector(4096, std::byte{1}), false));
        REQUIRE(w.await(host.engine.wait("shop", false, std::chrono::minutes(1))));
        const bool &stopped = hung.begin_stop(host.engine);
        CHECK_FALSE(stopped);
        two_groups next(w, host.disk, "another boot");
        REQUIRE(w.await(next.engine.start()));
        CHECK(next.engine.status()[1].volumes[0].dirty_bytes ==
              0); // nothing is taken for written after it
        w.await(next.engine.stop(duration{}));
        CHECK(hung.ends());
    }

    TEST_CASE("group start: at the DR site a stop closes the other copies while a disk still does "
              "not answer") {
        streaming_pair pair;
        auto &[w, site, primary] = pair;
        site.stop();
        hanging_disk hung(w);
        site.pools = hung.second_only();
        site.start();
        REQUIRE(w.until([&] {
            return primary.status().state == sender_state::streaming && site.status().connected;
        }));
        site.end_serving();
        const bool &stopped = hung.begin_stop(*site.engine);
        CHECK_FALSE(stopped);
        CHECK(site.status().state == receiver_state::empty); // closed
        CHECK(hung.ends());
        site.engine.reset();
    }

    TEST_CASE(
        "group start: a pairing that ends while its sender is being greeted makes no session") {
        streaming_pair pair;
        auto &[w, site, primary] = pair;
        site.stop();
        hanging_disk hung(w);
        site.pools = hung.first_only();
        site.start();
        REQUIRE(w.until([&] { return hung.answers(), site.status().connected; }));
        REQUIRE(primary.world_.await(primary.engine->resync("shop", false))); // on a new connection
        test::run_for(w.io, w.clock, std::chrono::seconds(2));
        REQUIRE(site.world_.await(site.engine->unpair("shop")));
        bool connected = false;
        static_cast<void>(
            w.run_until([&] { return hung.answers(), connected |= site.status().connected, false; },
                        std::chrono::seconds(10)));
        CHECK_FALSE(connected);
        CHECK_FALSE(primary.status().connected);
        site.end_serving();
        hung.stop(*site.engine);
        site.engine.reset();
    }

    TEST_CASE("group start: a disk that stops answering keeps no other group's catch-up waiting "
              "for its content") {
        world w;
        receiver_host site(w);
        two_groups host(w);
        host.make("/srv/data", 80 * limits::MiB, true); // so much that the others are asked first
        host.make("/srv/mail");
        hanging_disk hung(w);
        host.engine.use_pools(hung.first_only());
        std::optional<result<>> started;
        asio::co_spawn(w.io, store_result(host.engine.start(), started), asio::detached);
        REQUIRE(w.until([&] { return hung.answers(), started.has_value(); }));
        REQUIRE(w.await(host.engine.join(site.token())));
        CHECK(w.until([&] { return host.engine.status()[1].state == sender_state::streaming; }));
        hung.stop(host.engine);
    }

    TEST_CASE(
        "group start: a copy that was made and could not be opened at once is opened by itself") {
        for (std::uint64_t nth = 1; nth <= 40; ++nth) {
            CAPTURE(nth);
            world w;
            receiver_host site(w);
            sender_host primary(w, 'a');
            site.disk.inject({sim_scope::mutating, "/state/groups/shop", nth, false, ENOSPC});
            REQUIRE(primary.join(site.token()));
            CHECK(primary.streams());
        }
    }
}
} // namespace farshore
