// A paired sender that says of roles what can't be, or at the wrong moment: the copy follows on, no
// site serves that should not, and honest sessions go on afterwards.

#include "replicator/session/envelope.hpp"
#include "replicator/session/group_role.hpp"
#include "tests/unit/sites/engine_rig.hpp"

namespace farshore {
namespace {

constexpr generation_id own{0x1234};

/// The control link of a session with the receiver's group "mail", by hand.
struct role_sender {
    world &w;
    std::unique_ptr<transport::link> control;
    wire::site_claim heard; ///< the receiver's
    wire::refusal refusal;
    bool welcomed = false;

    role_sender(world &world, std::uint64_t features, const role_state &claims) : w(world) {
        auto c = w.line.make_connector(address, transport::alpn_session, std::string(64, 'e'),
                                       receiver_fingerprint);
        auto got = w.await(c->connect(std::chrono::seconds(1)));
        REQUIRE(got);
        control = std::move(*got);
        wire::hello h;
        h.group = "mail";
        h.session = 4711;
        h.sender[0] = std::byte{7};
        h.instance = 1;
        h.features_offered = features;
        h.volumes.push_back({"v0", limits::MiB});
        say(h);
        if (features != 0) {
            auto first = w.await(control->receive());
            REQUIRE(first);
            REQUIRE(is_a(*first, wire::message_type::site_claim));
            heard = *wire::parse<wire::site_claim>(first->payload.view());
            say(claim_message(claims));
        }
        const auto answer = w.await(control->receive());
        REQUIRE(answer);
        welcomed = is_a(*answer, wire::message_type::welcome);
        if (is_a(*answer, wire::message_type::refusal)) {
            refusal = *wire::parse<wire::refusal>(answer->payload.view());
        }
    }
    template <class Message>
    void say(const Message &m) {
        REQUIRE(w.await(control->send(envelope_of(m))));
    }
    /// The session ends, with these words if any.
    bool ends(const char *words = "") {
        while (auto got = w.await(control->receive())) {
            if (is_a(*got, wire::message_type::refusal)) {
                refusal = *wire::parse<wire::refusal>(got->payload.view());
            }
        }
        return refusal.text.find(words) != std::string::npos;
    }
};

role_state serving_since(std::initializer_list<generation_id> ids) {
    role_state s;
    s.role = site_role::serving;
    std::vector<generation> all;
    for (const generation_id id : ids) {
        all.push_back(
            {id, all.empty() ? stream_position{} : stream_position{stream_id{3}, interval_id{4}}});
    }
    s.ancestry = *lineage::of(all);
    return s;
}

wire::role_offer offer_of_nothing(std::uint64_t number) {
    wire::role_offer o;
    o.number = number;
    o.begins = 0x77;
    o.parent = own.value;
    o.barrier = {stream_id{9}, interval_id{900}};
    return o;
}

struct offered_site {
    world w;
    receiver_host site{w, trusting::site_ca};
    receiver_group_status mail() const { return site.engine->status()[1]; }
    void follows_on() {
        CHECK_FALSE(mail().serving);
        CHECK(mail().state != receiver_state::failed);
        CHECK(mail().state != receiver_state::promoted);
    }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE(
        "hostile roles: an offer of a barrier that is not here is void, and taken by nobody") {
        offered_site a;
        const role_state serving = serving_since({own});
        {
            role_sender s(a.w, wire::feature_roles, serving);
            REQUIRE(s.welcomed);
            s.say(offer_of_nothing(7));
            CHECK(s.ends());
        }
        a.follows_on();
        role_sender again(a.w, wire::feature_roles, serving);
        CHECK(again.welcomed);
        CHECK(again.heard.void_upto == 7);
        CHECK(again.heard.role == static_cast<std::uint8_t>(site_role::following));
        // Of a generation that it does not follow, too.
        wire::role_offer other = offer_of_nothing(8);
        other.parent = 0x99;
        again.say(other);
        CHECK(again.ends());
        a.follows_on();
    }

    TEST_CASE("hostile roles: an offer by who knows no roles, and a second one, end the session") {
        offered_site a;
        {
            role_sender s(a.w, 0, {});
            REQUIRE(s.welcomed);
            s.say(offer_of_nothing(1));
            CHECK(s.ends("role_offer"));
        }
        a.follows_on();
        CHECK(says(a.mail().error, "the sender broke the protocol"));
    }

    TEST_CASE("hostile roles: who hands over is told that its offers are void, and is refused") {
        offered_site a;
        role_state s = serving_since({own});
        {
            role_sender first(a.w, wire::feature_roles, s);
        }
        s.role = site_role::handing_over;
        s.offered = generation_id{0x77};
        s.offers = 5;
        role_sender handing(a.w, wire::feature_roles, s);
        CHECK_FALSE(handing.welcomed);
        CHECK(handing.refusal.code == static_cast<std::uint8_t>(wire::refusal_code::role));
        role_sender told(a.w, wire::feature_roles, s);
        CHECK(told.heard.void_upto == 5);
        a.follows_on();
    }

    TEST_CASE("hostile roles: claims that can't be, or of another history, leave all as it was") {
        offered_site a;
        {
            role_sender first(a.w, wire::feature_roles, serving_since({own, generation_id{5}}));
        }
        const auto refused = [&](const role_state &claims) {
            role_sender s(a.w, wire::feature_roles, claims);
            CHECK_FALSE(s.welcomed);
            CHECK(s.refusal.code == static_cast<std::uint8_t>(wire::refusal_code::role));
            a.follows_on();
        };
        refused(serving_since({generation_id{0x4444}})); // unrelated
        refused(serving_since({own}));                   // older than the copy's
        refused(serving_since({own, generation_id{6}})); // forked
        role_state follows = serving_since({own, generation_id{5}});
        follows.role = site_role::following;
        refused(follows);
        follows.role = site_role::fenced;
        refused(follows);
        role_sender good(a.w, wire::feature_roles,
                         serving_since({own, generation_id{5}, generation_id{8}}));
        CHECK(good.welcomed);
    }
}

} // namespace farshore
