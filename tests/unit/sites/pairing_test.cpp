// Who may feed a group.

#include "replicator/format/messages.hpp"
#include "replicator/session/trust.hpp"
#include "tests/unit/sites/engine_rig.hpp"

namespace farshore {
namespace {

task<void> listen_to(transport::link &l, std::size_t &ended) {
    (void)co_await l.receive();
    ++ended;
}

} // namespace

TEST_SUITE("sites") {
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
        // While another invitation is open the door is, and the receiver has to say which token is
        // wrong.
        const std::string open = site.token();
        const auto again = primary.join(token);
        REQUIRE(!again);
        CHECK(again.error().context.find("used before") != std::string::npos);
        const auto old = primary.join(late);
        REQUIRE(!old);
        CHECK(old.error().context.find("expired") != std::string::npos);
        CHECK(primary.streams());
    }

    TEST_CASE("pairing: a receiver that can't be reached is no reason to make a new token") {
        world w;
        receiver_host site(w);
        sender_host primary(w, 'a');
        const auto nobody = primary.join(
            site.world_.await(site.engine->invite("shop", "elsewhere:1")).value().token);
        REQUIRE(!nobody);
        CHECK(nobody.error().text().find("one hour") == std::string::npos);
        CHECK(!is(nobody.error(), errc::not_found));
        w.line.cut(duration{});
        const auto cut = primary.join(site.token());
        REQUIRE(!cut);
        CHECK(cut.error().text().find("one hour") == std::string::npos);
    }

    TEST_CASE("pairing: strangers are so many at a time while an invitation is open, and shut "
              "nobody out") {
        world w;
        receiver_host site(w);
        sender_host primary(w, 'a');
        const std::string token = site.token();
        const auto stranger = w.line.make_connector(address, transport::alpn_join,
                                                    std::string(64, 'x'), receiver_fingerprint);
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
        receiver_access::set_network(
            other_receiver, std::make_unique<sim::sim_network>(w.line, receiver_fingerprint, ""));
        const auto refused = w.await(other_receiver.start());
        REQUIRE(!refused);
        CHECK(is(refused.error(), errc::busy));
        CHECK(refused.error().context == "the state directory /state is used by another daemon");
        sender_config at_primary;
        at_primary.state = state;
        sender other_sender(at_primary, w.run(), primary.disk, {ex});
        sender_access::set_network(
            other_sender,
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
        SUBCASE("another identity that is paired for another group") {
            const auto token = parse_token(site.token("mail"));
            const auto way_in = w.line.make_connector(address, transport::alpn_join,
                                                      std::string(64, 'c'), receiver_fingerprint);
            const auto link = w.await(way_in->connect(std::chrono::seconds(1)));
            REQUIRE(link);
            wire::join_request request;
            request.group = "mail";
            request.secret = token->secret;
            transport::message m;
            m.type = static_cast<std::uint16_t>(wire::message_type::join_request);
            m.payload = wire::encode(request);
            REQUIRE(w.await((*link)->send(std::move(m))));
            const auto reply = w.await((*link)->receive());
            REQUIRE(reply);
            REQUIRE(wire::parse<wire::join_reply>(reply->payload.view())->ok);
            (*link)->close();
            sender_host second(first, 'c');
            CHECK(w.until(
                [&] { return says(second.status().error, "not paired for group \"shop\""); }));
            REQUIRE(site.world_.await(site.engine->unpair("mail")));
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

    TEST_CASE("pairing: of two senders with one identity, as a host and its clone, the second is "
              "refused") {
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
            REQUIRE(site.world_.await(site.engine->unpair("shop")));
            CHECK(second.streams());
        }
    }

    TEST_CASE("pairing: a full disk at the receiver changes nothing and uses no token up") {
        world w;
        receiver_host site(w);
        sender_host primary(w, 'a');
        const std::string token = site.token();
        site.fill();
        CHECK_FALSE(site.world_.await(site.engine->invite("shop", address)));
        const auto refused = primary.join(token);
        REQUIRE(!refused);
        CHECK(refused.error().context.find("No space left") != std::string::npos);
        CHECK(site.engine->peers().empty());
        CHECK(primary.status().state == sender_state::unpaired);
        site.give_space();
        REQUIRE(primary.join(token));
        REQUIRE(primary.streams());

        site.fill();
        CHECK_FALSE(site.world_.await(site.engine->unpair("shop")));
        CHECK(site.engine->peers().size() == 1);
        site.give_space();
        CHECK(site.world_.await(site.engine->unpair("shop")));
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
        CHECK_FALSE(primary.world_.await(primary.engine->unpair("shop")));
        CHECK(primary.status().state != sender_state::unpaired);
        primary.disk.set_capacity(1ULL << 40);
        CHECK(primary.world_.await(primary.engine->unpair("shop")));
        CHECK(primary.status().state == sender_state::unpaired);
    }
}

} // namespace farshore
