// A group's role as it is kept and as it is said.

#include "replicator/session/group_role.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

TEST_SUITE_BEGIN("session");

group_role some_role() {
    group_role r;
    r.state.role = site_role::handing_over;
    r.state.ancestry = *lineage::of({{generation_id{0xfedcba9876543210}, {}},
                                     {generation_id{7}, {stream_id{UINT64_MAX}, interval_id{12}}}});
    r.state.trial = promotion_trial::heard_of;
    r.state.offered = generation_id{9};
    r.state.offers = 3;
    r.state.void_upto = 2;
    r.serving = {wall_time(std::chrono::seconds(1'800'000'000)), interval_id{44}, interval_id{43}};
    r.leave_as = "discarded-0000000000000007";
    return r;
}

TEST_CASE("role: what is kept is read again, and without a file it is what was asked for") {
    sim_file_system files(1);
    REQUIRE(files.make_directories("/state"));
    CHECK(*read_group_role(files, "/state/role.json", some_role()) == some_role());
    REQUIRE(files.replace_file("/state/role.json", as_bytes(text_of(some_role()))));
    CHECK(*read_group_role(files, "/state/role.json", {}) == some_role());
    REQUIRE(files.replace_file("/state/role.json", as_bytes(text_of(group_role{}))));
    CHECK(*read_group_role(files, "/state/role.json", some_role()) == group_role{});
}

TEST_CASE("role: a file that can't be right is refused, with what to do") {
    sim_file_system files(1);
    REQUIRE(files.make_directories("/state"));
    const std::string good = text_of(some_role());
    const auto changed = [&](const std::string &from, const std::string &to) {
        std::string text = good;
        REQUIRE(text.find(from) != std::string::npos);
        return text.replace(text.find(from), from.size(), to);
    };
    for (const std::string &text :
         {std::string(), std::string("[]"), good.substr(0, good.size() / 2),
          changed("handing_over", "promoted"), changed("heard_of", "2"),
          changed("\"role\": \"handing_over\"", "\"role\": 2"),
          changed("\"offers\": 3", "\"offers\": \"3\""),
          changed("fedcba9876543210", "0000000000000007"), changed("fedcba9876543210", "x"),
          changed("fedcba9876543210", "0000000000000000")}) {
        CAPTURE(text);
        REQUIRE(files.replace_file("/state/role.json", as_bytes(text)));
        const auto read = read_group_role(files, "/state/role.json", {});
        REQUIRE_FALSE(read);
        CHECK(is(read.error(), errc::corrupt));
        CHECK(read.error().text().find("/state/role.json") != std::string::npos);
        CHECK(read.error().text().find("backup") != std::string::npos);
    }
    REQUIRE(files.replace_file("/state/role.json",
                               as_bytes(changed("\"version\": 1", "\"version\": 2"))));
    CHECK(is(read_group_role(files, "/state/role.json", {}).error(), errc::unsupported));
}

TEST_CASE("role: what is said is heard, but for what only its own site needs") {
    const role_state said = some_role().state;
    const auto bytes = wire::encode(claim_message(said));
    const auto heard = role_of_claim(*wire::parse<wire::site_claim>(bytes.view()));
    REQUIRE(heard);
    role_state expected = said;
    expected.trial = promotion_trial::none;
    CHECK(*heard == expected);
}

TEST_CASE("role: a lineage that no site can have is the peer's fault") {
    wire::site_claim claim = claim_message(some_role().state);
    claim.lineage[1].id = claim.lineage[0].id;
    const auto twice = role_of_claim(claim);
    REQUIRE_FALSE(twice);
    CHECK(twice.error().whose == fault::peer);
    claim.lineage[1].id = 0;
    CHECK_FALSE(role_of_claim(claim));
    claim.lineage.assign(generations_max + 1, {1, {}});
    CHECK_FALSE(wire::parse<wire::site_claim>(wire::encode(claim).view()));
    claim.lineage.clear();
    claim.role = 4;
    CHECK_FALSE(wire::parse<wire::site_claim>(wire::encode(claim).view()));
}

TEST_CASE("role: the first generation follows from the primary and the group") {
    const wire::id16 a{std::byte{1}};
    const wire::id16 b{std::byte{2}};
    CHECK(first_generation(a, "shop") == first_generation(a, "shop"));
    CHECK(first_generation(a, "shop") != first_generation(b, "shop"));
    CHECK(first_generation(a, "shop") != first_generation(a, "mail"));
    CHECK(first_generation(a, "shop").value != 0);
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
