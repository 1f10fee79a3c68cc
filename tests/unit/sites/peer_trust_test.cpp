// Is this peer the group's: the table, and the same over real handshakes under a CA.

#include "replicator/session/peer_trust.hpp"
#include "replicator/session/tls_network.hpp"
#include "tests/support/link_rig.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

using enum peer_verdict;

peer_evidence evidence(trust_mode mode) {
    peer_evidence e;
    e.mode = mode;
    e.signed_by_ca = mode == trust_mode::site_ca;
    e.fingerprint = "f";
    e.is_sender = true;
    e.sender = "s";
    return e;
}

/// The sender's side of a handshake as tls_network has it.
transport::trust_check expecting(const expected_peer &expected) {
    return [expected](const transport::peer_claim &seen) {
        return accept_receiver(expected, seen.fingerprint, seen.signed_by_ca,
                               seen.has_name(expected.name), seen.names);
    };
}

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("peer trust: a pinned peer is known by its fingerprint and nothing else") {
        peer_evidence e = evidence(trust_mode::pinned);
        for (const char *stored : {"", "s", "other"}) {
            e.stored_sender = stored;
            for (const bool ca : {false, true}) {
                e.signed_by_ca = ca;
                e.name_found = ca;
                e.pinned = "";
                CHECK(judge_peer(e) == unknown);
                e.pinned = "g";
                CHECK(judge_peer(e) == unknown);
                e.pinned = "f";
                CHECK(judge_peer(e) == ours);
            }
        }
        e.fingerprint = e.pinned = "";
        CHECK(judge_peer(e) == unknown);
    }

    TEST_CASE("peer trust: under a site's CA a sender is known by its identity, and by its name "
              "where one is asked for") {
        peer_evidence e = evidence(trust_mode::site_ca);
        CHECK(judge_peer(e) == first_use);
        e.stored_sender = "s";
        CHECK(judge_peer(e) == ours);
        e.pinned = "another certificate, since renewed";
        CHECK(judge_peer(e) == ours);
        e.stored_sender = "t";
        CHECK(judge_peer(e) == other);
        e.sender = "";
        CHECK(judge_peer(e) == unknown);
        e.name_asked = true;
        for (const char *sender : {"", "s", "t"}) {
            e.sender = sender;
            CHECK(judge_peer(e) == wrong_name);
        }
        e.sender = "t";
        e.name_found = true;
        CHECK(judge_peer(e) == ours);
        e.signed_by_ca = false;
        CHECK(judge_peer(e) == unknown);
    }

    TEST_CASE("peer trust: under a site's CA a receiver is known by its name") {
        peer_evidence e = evidence(trust_mode::site_ca);
        e.is_sender = false;
        e.name_asked = true;
        CHECK(judge_peer(e) == wrong_name);
        e.name_found = true;
        CHECK(judge_peer(e) == ours);
        e.signed_by_ca = false;
        CHECK(judge_peer(e) == unknown);
    }

    TEST_CASE("peer trust: content is lent between groups of one sender only, in either mode") {
        const pinned_peer one{"f", "host:1", "s"};
        const pinned_peer same_certificate{"f", "host:2", "t"};
        const pinned_peer same_identity{"g", "host:3", "s"};
        const pinned_peer nothing{};
        using enum trust_mode;
        CHECK(same_sender(pinned, &one, &same_certificate));
        CHECK_FALSE(same_sender(pinned, &one, &same_identity));
        CHECK_FALSE(same_sender(site_ca, &one, &same_certificate));
        CHECK(same_sender(site_ca, &one, &same_identity));
        for (const trust_mode mode : {pinned, site_ca}) {
            CHECK_FALSE(same_sender(mode, &one, nullptr));
            CHECK_FALSE(same_sender(mode, nullptr, nullptr));
            CHECK_FALSE(same_sender(mode, &nothing, &nothing)); // a group that nobody has fed yet
        }
    }

    TEST_CASE("peer trust: the name that is expected") {
        CHECK(name_expected("", "dr.example.net:7420") == "dr.example.net");
        CHECK(name_expected("", "[2001:db8::1]:7420") == "2001:db8::1");
        CHECK(name_expected("dr", "10.0.0.1:7420") == "dr");
    }

    TEST_CASE("peer trust: another certificate of the CA is not the DR site, and hears nothing") {
        test::tls_rig rig;
        rig.a.ca_pem = test::identity_b().certificate_pem; // its CN is site-b
        SUBCASE("the name of the DR site") {
            rig.a.trust = expecting({trust_mode::site_ca, "", "site-b"});
            CHECK(test::connect(rig).a);
        }
        SUBCASE("another name") {
            rig.a.trust = expecting({trust_mode::site_ca, "", "dr.example.net"});
            const auto connector = rig.connector();
            const auto made = test::run(rig, connector->connect(std::chrono::seconds(20)));
            REQUIRE_FALSE(made);
            CHECK(is(made.error(), errc::not_trusted));
            CHECK(made.error().context.find("not for \"dr.example.net\" (CN = site-b)") !=
                  std::string::npos);
            CHECK(made.error().context.find("peer_name") != std::string::npos);
            CHECK(rig.accepted.empty());
        }
        SUBCASE("a token names the certificate itself") {
            rig.a.trust = expecting({trust_mode::site_ca, rig.fingerprint_b, ""});
            CHECK(test::connect(rig).a);
            rig.a.trust = expecting({trust_mode::site_ca, rig.fingerprint_a, ""});
            const auto connector = rig.connector();
            CHECK_FALSE(test::run(rig, connector->connect(std::chrono::seconds(20))));
        }
        SUBCASE("and the peer's names are known afterwards") {
            rig.a.trust = expecting({trust_mode::site_ca, "", "site-b"});
            const auto pair = test::connect(rig);
            CHECK(pair.a->peer_has_name("site-b"));
            CHECK(pair.b->peer_has_name("site-a"));
            CHECK_FALSE(pair.b->peer_has_name("site-b"));
            CHECK_FALSE(pair.b->peer_has_name(""));
        }
    }

    TEST_CASE(
        "peer trust: what ends is said a fortnight before, or in the last third of a short life") {
        const wall_time begin{std::chrono::hours(24 * 20000)};
        const auto days = [](int n) { return std::chrono::hours(24 * n); };
        const auto said = [&](duration life, duration at) {
            return term_warnings({{"it", begin, begin + life}}, begin + at).size();
        };
        CHECK(said(days(365), days(350)) == 0);
        CHECK(said(days(365), days(352)) == 1);
        CHECK(said(days(365), days(365)) == 1);
        CHECK(said(days(7), days(4)) == 0);
        CHECK(said(days(7), days(5)) == 1);
        CHECK(said(days(365), -days(1)) == 1);
        const auto text = term_warnings({{"it", begin, begin + days(1)}}, begin + days(2)).front();
        CHECK(text.starts_with("it ended at 2024-"));
        CHECK(term_warnings({{"it", wall_time(duration::min()), wall_time(duration::max())}}, begin)
                  .empty());
    }
}

} // namespace farshore
