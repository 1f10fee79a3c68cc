// Who may feed a group: both daemons' engines over a line in memory, with their disks simulated.

#include "replicator/base/limits.hpp"
#include "replicator/engine/receiver.hpp"
#include "replicator/engine/sender.hpp"
#include "replicator/engine/sender_access.hpp"
#include "replicator/engine/trust.hpp"
#include "tests/sim/sim_network.hpp"
#include "tests/support/sim_clock.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

namespace farshore::engine {
namespace {

constexpr const char *address = "site:7420";
constexpr const char *state = "/state";
const std::string receiver_fingerprint(64, 'b');

template <class T> task<void> store_result(task<T> t, std::optional<T> &out) { out.emplace(co_await std::move(t)); }
task<void> mark_done(task<void> t, bool &done) {
    co_await std::move(t);
    done = true;
}

/// What the hosts share.
struct world {
    test::sim_clock clock;
    asio::io_context io;
    transport::memory_network line{io.get_executor(), clock, {}};

    runtime run() {
        const executor ex = io.get_executor();
        return {ex, ex, ex, &clock};
    }
    template <class T> T await(task<T> t) {
        std::optional<T> out;
        asio::co_spawn(io, store_result(std::move(t), out), asio::detached);
        REQUIRE(test::run_until(io, clock, [&] { return out.has_value(); }, std::chrono::minutes(5)));
        return std::move(*out);
    }
    void await(task<void> t) {
        bool done = false;
        asio::co_spawn(io, mark_done(std::move(t), done), asio::detached);
        REQUIRE(test::run_until(io, clock, [&] { return done; }, std::chrono::minutes(5)));
    }
    bool until(const std::function<bool()> &condition) {
        return test::run_until(io, clock, condition, std::chrono::seconds(20));
    }
};

/// How the sites trust each other.
enum class trusting : std::uint8_t { tokens, site_ca };

struct receiver_host {
    receiver_host(world &w, trusting how = trusting::tokens) : world_(w), disk(1) {
        REQUIRE(disk.make_directories(state));
        receiver_config config;
        config.state = state;
        config.listen = address;
        receiver_group_config group;
        group.name = "shop";
        group.replica = "/srv";
        group.journal_bytes_max = 16 * limits::MiB;
        config.groups.push_back(group);
        if (how == trusting::site_ca) {
            config.tls.emplace();
        }
        engine.emplace(config, w.run(), disk, std::vector<executor>{w.io.get_executor()});
        receiver_access::set_network(*engine, std::make_unique<sim::sim_network>(w.line, receiver_fingerprint, ""));
        REQUIRE(w.await(engine->start()));
    }
    ~receiver_host() { world_.await(engine->stop(duration{})); }
    std::string token() { return engine->invite("shop", address).value().token; }
    void fill() { disk.set_capacity(disk.used_bytes()); }
    void give_space() { disk.set_capacity(1ULL << 40); }

    world &world_;
    sim_file_system disk;
    std::optional<receiver> engine;
};

struct sender_host {
    sender_host(world &w, char letter, trusting how = trusting::tokens) : world_(w), disk(2), how_(how) {
        REQUIRE(disk.make_directories("/srv"));
        auto image = disk.open("/srv/data", open_mode::create_new);
        REQUIRE(image);
        REQUIRE((*image)->truncate(limits::MiB));
        start(letter);
    }
    /// A host with a disk that was another one's.
    sender_host(world &w, char letter, trusting how, const sim_file_system &from) : world_(w), disk(from), how_(how) {
        start(letter);
    }
    /// Another host with the same disks.
    sender_host(const sender_host &origin, char letter) : world_(origin.world_), disk(origin.disk), how_(origin.how_) {
        start(letter);
    }
    ~sender_host() { world_.await(engine->stop(duration{})); }

    result<peer_status> join(const std::string &token) { return world_.await(engine->join(token)); }
    sender_group_status status() const { return engine->status().front(); }
    bool streams() {
        return world_.until([&] { return status().state == sender_state::streaming; });
    }

    world &world_;
    sim_file_system disk;
    std::optional<sender> engine;

  private:
    const trusting how_;

    void start(char letter) {
        sender_config config;
        config.state = state;
        sender_group_config group;
        group.name = "shop";
        if (how_ == trusting::site_ca) {
            config.tls.emplace();
            group.peer = address;
        }
        group.volumes.push_back({"data", "/srv/data", ""});
        config.groups.push_back(group);
        engine.emplace(config, world_.run(), disk, std::vector<executor>{world_.io.get_executor()});
        sender_access::set_network(*engine,
                                   std::make_unique<sim::sim_network>(
                                       world_.line, std::string(64, letter),
                                       how_ == trusting::site_ca ? "" : receiver_fingerprint),
                                   "boot");
        REQUIRE(world_.await(engine->start()));
    }
};

task<void> listen_to(transport::link &l, std::size_t &ended) {
    (void)co_await l.receive();
    ++ended;
}

bool says(const std::optional<std::string> &text, const char *word) {
    return text && text->find(word) != std::string::npos;
}

} // namespace

TEST_SUITE("engine") {
TEST_CASE("pairing: a token that has expired or was used pairs nobody") {
    world w;
    receiver_host site(w);
    sender_host primary(w, 'a');
    const std::string late = site.token();
    w.clock.jump_wall(invitation_lifetime);
    CHECK_FALSE(primary.join(late));
    CHECK(primary.status().state == sender_state::unpaired);
    CHECK(site.engine->peers().empty());

    const std::string token = site.token();
    REQUIRE(primary.join(token));
    CHECK_FALSE(primary.join(token));
    // While another invitation is open the door is, and the receiver has to say which token is wrong.
    const std::string open = site.token();
    const auto again = primary.join(token);
    REQUIRE(!again);
    CHECK(again.error().context.find("used before") != std::string::npos);
    const auto old = primary.join(late);
    REQUIRE(!old);
    CHECK(old.error().context.find("expired") != std::string::npos);
    CHECK(primary.streams());
}

TEST_CASE("pairing: strangers are so many at a time while an invitation is open, and shut nobody out") {
    world w;
    receiver_host site(w);
    sender_host primary(w, 'a');
    const std::string token = site.token();
    const auto stranger = w.line.make_connector(address, transport::alpn_join, std::string(64, 'x'),
                                                receiver_fingerprint);
    std::vector<std::unique_ptr<transport::link>> links;
    std::size_t ended = 0;
    for (std::size_t i = 0; i < limits::sessions_unauthenticated_max + 10; ++i) {
        links.push_back(w.await(stranger->connect(std::chrono::seconds(1))).value());
        asio::co_spawn(w.io, listen_to(*links.back(), ended), asio::detached);
    }
    test::run_for(w.io, w.clock, std::chrono::seconds(1)); // each of them has ten
    CHECK(ended == 10);
    CHECK(primary.join(token));
    CHECK(ended == 11);
    test::run_for(w.io, w.clock, std::chrono::seconds(20));
    CHECK(ended == links.size());
}

TEST_CASE("pairing: a state directory is one daemon's") {
    world w;
    receiver_host site(w);
    sender_host primary(w, 'a');
    const executor ex = w.io.get_executor();
    receiver_config at_site;
    at_site.state = state;
    receiver other_receiver(at_site, w.run(), site.disk, {ex});
    receiver_access::set_network(other_receiver, std::make_unique<sim::sim_network>(w.line, receiver_fingerprint, ""));
    const auto refused = w.await(other_receiver.start());
    REQUIRE(!refused);
    CHECK(is(refused.error(), errc::busy));
    CHECK(refused.error().context == "the state directory /state is used by another daemon");
    sender_config at_primary;
    at_primary.state = state;
    sender other_sender(at_primary, w.run(), primary.disk, {ex});
    sender_access::set_network(other_sender,
                               std::make_unique<sim::sim_network>(w.line, std::string(64, 'a'), receiver_fingerprint),
                               "boot");
    const auto refused_too = w.await(other_sender.start());
    REQUIRE(!refused_too);
    CHECK(is(refused_too.error(), errc::busy));
}

TEST_CASE("pairing: a sender without a pairing is refused, and takes no part") {
    world w;
    receiver_host site(w);
    sender_host first(w, 'a');
    REQUIRE(first.join(site.token()));
    REQUIRE(first.streams());
    SUBCASE("another identity that has the first one's state") {
        sender_host second(first, 'c');
        CHECK(w.until([&] { return second.status().error.has_value(); }));
        CHECK_FALSE(second.status().connected);
    }
    SUBCASE("another identity with a token") {
        sender_host second(w, 'c');
        const auto joined = second.join(site.token());
        REQUIRE(!joined);
        CHECK(joined.error().context.find("paired with another sender") != std::string::npos);
        CHECK(second.status().state == sender_state::unpaired);
    }
    CHECK(site.engine->peers().size() == 1);
    CHECK(site.engine->peers().front().fingerprint == std::string(64, 'a'));
    CHECK(first.status().connected);
}

TEST_CASE("pairing: of two senders with one identity, as a host and its clone, the second is refused") {
    world w;
    receiver_host site(w);
    sender_host first(w, 'a');
    REQUIRE(first.join(site.token()));
    REQUIRE(first.streams());
    sender_host clone(first, 'a');
    CHECK(w.until([&] { return says(clone.status().error, "another sender is connected"); }));
    CHECK_FALSE(clone.status().connected);
    CHECK(first.status().connected);
    CHECK(first.status().state == sender_state::streaming);
}

TEST_CASE("pairing: under a site's CA a group is its first sender's until it is unpaired") {
    world w;
    receiver_host site(w, trusting::site_ca);
    std::optional<sender_host> first(std::in_place, w, 'a', trusting::site_ca);
    REQUIRE(first->streams());
    CHECK(site.engine->peers().size() == 1);
    w.await(first->engine->stop(duration{}));
    const sim_file_system disk_of_first(first->disk);
    first.reset();

    sender_host second(w, 'c', trusting::site_ca);
    CHECK(w.until([&] { return says(second.status().error, "farshore unpair shop"); }));
    CHECK_FALSE(second.status().connected);
    CHECK(second.status().state != sender_state::streaming);

    SUBCASE("the first one may have a new certificate") {
        first.emplace(w, 'd', trusting::site_ca, disk_of_first);
        CHECK(first->streams());
    }
    SUBCASE("unpaired, the next one takes it") {
        REQUIRE(site.engine->unpair("shop"));
        CHECK(second.streams());
    }
}

TEST_CASE("pairing: a full disk at the receiver changes nothing and uses no token up") {
    world w;
    receiver_host site(w);
    sender_host primary(w, 'a');
    const std::string token = site.token();
    site.fill();
    CHECK_FALSE(site.engine->invite("shop", address));
    const auto refused = primary.join(token);
    REQUIRE(!refused);
    CHECK(refused.error().context.find("No space left") != std::string::npos);
    CHECK(site.engine->peers().empty());
    CHECK(primary.status().state == sender_state::unpaired);
    site.give_space();
    REQUIRE(primary.join(token));
    REQUIRE(primary.streams());

    site.fill();
    CHECK_FALSE(site.engine->unpair("shop"));
    CHECK(site.engine->peers().size() == 1);
    site.give_space();
    CHECK(site.engine->unpair("shop"));
    CHECK(site.engine->peers().empty());
}

TEST_CASE("pairing: a full disk at the sender changes nothing there") {
    world w;
    receiver_host site(w);
    sender_host primary(w, 'a');
    primary.disk.set_capacity(primary.disk.used_bytes());
    CHECK_FALSE(primary.join(site.token()));
    CHECK(primary.status().state == sender_state::unpaired);
    primary.disk.set_capacity(1ULL << 40);
    REQUIRE(primary.join(site.token()));
    REQUIRE(primary.streams());

    primary.disk.set_capacity(primary.disk.used_bytes());
    CHECK_FALSE(primary.engine->unpair("shop"));
    CHECK(primary.status().state != sender_state::unpaired);
    primary.disk.set_capacity(1ULL << 40);
    CHECK(primary.engine->unpair("shop"));
    CHECK(primary.status().state == sender_state::unpaired);
}
}

} // namespace farshore::engine
