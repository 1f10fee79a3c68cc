// A process may hold both halves of groups over one site.

#include "tests/unit/sites/engine_rig.hpp"

namespace farshore {

TEST_SUITE("sites") {
    TEST_CASE(
        "site: a sender and a receiver share state directory, trust and network, and one stops "
        "beside the other") {
        world w;
        receiver_host far(w);
        sim_file_system disk(3);
        REQUIRE(disk.make_directories(state));
        REQUIRE(disk.make_directories("/srv"));
        auto image = disk.open("/srv/data", open_mode::create_new);
        REQUIRE(image);
        REQUIRE((*image)->truncate(limits::MiB));
        const auto here = std::make_shared<site>(state, std::nullopt, w.run(), disk,
                                                 std::vector<executor>{w.io.get_executor()});

        sender_config outward;
        sender_group_config sent;
        sent.name = "shop";
        sent.volumes.push_back({"data", "/srv/data", ""});
        outward.groups.push_back(sent);
        receiver_config inward;
        inward.listen = "other:7420";
        receiver_group_config kept_here;
        kept_here.name = "mail";
        kept_here.replica = "/srv/mail";
        inward.groups.push_back(kept_here);
        sender primary(outward, here);
        receiver copy(inward, here);
        sender_access::set_network(
            primary,
            std::make_unique<sim::sim_network>(w.line, std::string(64, 'c'), receiver_fingerprint),
            "boot");
        REQUIRE(w.await(primary.start()));
        REQUIRE(w.await(copy.start()));

        REQUIRE(w.await(primary.join(far.token())));
        CHECK(w.until([&] { return primary.status().front().state == sender_state::streaming; }));
        REQUIRE(w.await(copy.invite("mail", "other:7420")));
        CHECK(copy.invitations().size() == 1);
        CHECK(here->trust()->peers().contains("shop")); // one store for both
        CHECK(here->trust()->has_open_invitation(w.clock.wall()));

        w.await(copy.stop(duration{}));
        CHECK(primary.status().front().state == sender_state::streaming);
        w.await(primary.stop(duration{}));
    }
}
} // namespace farshore
