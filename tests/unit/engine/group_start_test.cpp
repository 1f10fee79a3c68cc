// One group's disk is no reason to keep another group's machines waiting.

#include "tests/unit/engine/engine_rig.hpp"

namespace farshore::engine {
namespace {

task<void> listen_to(transport::link &l, std::size_t &ended) {
    (void)co_await l.receive();
    ++ended;
}

} // namespace

TEST_SUITE("engine") {
TEST_CASE("group start: a group whose volume is missing is failed and tried again, the other is served") {
    world w;
    receiver_host site(w);
    sim_file_system disk(2);
    REQUIRE(disk.make_directories("/srv"));
    const auto make = [&](const char *path) {
        auto image = disk.open(path, open_mode::create_new);
        REQUIRE(image);
        REQUIRE((*image)->truncate(limits::MiB));
    };
    make("/srv/data");
    sender_config config;
    config.state = state;
    config.memory_bytes_max = 24 * limits::MiB;
    for (const auto &[name, path] : {std::pair{"mail", "/srv/mail"}, std::pair{"shop", "/srv/data"}}) {
        sender_group_config group;
        group.name = name;
        group.volumes.push_back({name, path, ""});
        config.groups.push_back(group);
    }
    sender engine(config, w.sender_run(), disk, {w.io.get_executor()});
    sender_access::set_network(
        engine, std::make_unique<sim::sim_network>(w.line, std::string(64, 'a'), receiver_fingerprint), "boot");
    REQUIRE(w.await(engine.start()));
    REQUIRE(engine.status().size() == 2);
    CHECK(engine.status()[0].name == "mail");
    CHECK(engine.status()[0].state == sender_state::failed);
    CHECK(says(engine.status()[0].error, "mail"));
    const auto refused = engine.pause("mail");
    REQUIRE(!refused);
    CHECK(says(refused.error().context, "not served"));
    REQUIRE(w.await(engine.join(site.token())));
    CHECK(w.until([&] { return engine.status()[1].state == sender_state::streaming; }));
    make("/srv/mail");
    CHECK(w.until([&] { return engine.status()[0].state == sender_state::unpaired; }));
    CHECK_FALSE(engine.status()[0].error);
    CHECK(engine.pause("mail"));
    w.await(engine.stop(duration{}));
}

TEST_CASE("group start: links of a paired sender without a hello are bounded, its session goes on") {
    world w;
    receiver_host site(w);
    sender_host primary(w, 'a');
    REQUIRE(primary.join(site.token()));
    REQUIRE(primary.streams());
    const auto silent =
        w.line.make_connector(address, transport::alpn_session, std::string(64, 'a'), receiver_fingerprint);
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
}
} // namespace farshore::engine
