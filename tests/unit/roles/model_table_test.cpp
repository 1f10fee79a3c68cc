// The tables against the model's (tests/roles): each line of its export is one pair of sites, and
// what has to come of their meeting. CTest's `roles_table` writes the export and names it in
// FARSHORE_ROLES_TABLE; without it there is nothing to compare, and the test says so.

#include "replicator/roles/meeting.hpp"
#include "replicator/roles/shipment.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace farshore {
namespace {

constexpr instance_id known_life{1};

struct told_site {
    site_claim claim;
    counting_claim counts;
};

std::optional<site_role> role_of(const std::string &word) {
    for (const site_role r : site_roles) {
        if (word == name_of(r)) {
            return r;
        }
    }
    return std::nullopt;
}

/// The generation in which a barrier of that number was cut: the last that began before it.
stream_position barrier_of(const lineage &l, std::uint64_t number) {
    stream_position at{{}, interval_id{number}};
    for (const generation &g : l.generations()) {
        if (g.left.interval.value < number || g.left.interval.value == 0) {
            at.stream = stream_id{g.id.value};
        }
    }
    return at;
}

/// ROLE[@OFFER][~] ID:LEFT,ID:LEFT AT ACKED[+]; `~`: its partner was another life; `+`: its history
/// goes back from there to the first barrier.
told_site read_site(std::istringstream &line) {
    std::string role;
    std::string generations;
    std::string at;
    std::string acked;
    REQUIRE((line >> role >> generations >> at >> acked));
    told_site s;
    s.claim.partner = known_life;
    s.claim.instances = std::span(&known_life, 1);
    if (role.back() == '~') {
        role.pop_back();
        s.claim.partner = instance_id{99};
    }
    if (const auto offer = role.find('@'); offer != std::string::npos) {
        s.claim.offer = generation_id{std::stoull(role.substr(offer + 1))};
        role.resize(offer);
    }
    const auto known = role_of(role);
    REQUIRE_MESSAGE(known, role);
    s.claim.role = *known;
    std::vector<generation> all;
    std::istringstream pieces(generations == "-" ? "" : generations);
    for (std::string piece; std::getline(pieces, piece, ',');) {
        const auto colon = piece.find(':');
        REQUIRE(colon != std::string::npos);
        all.push_back({generation_id{std::stoull(piece.substr(0, colon))},
                       {{}, interval_id{std::stoull(piece.substr(colon + 1))}}});
    }
    auto ancestry = lineage::of(std::move(all));
    REQUIRE(ancestry);
    s.claim.ancestry = std::move(*ancestry);
    if (acked == "*") {
        return s;
    }
    const std::uint64_t number = std::stoull(acked);
    s.counts.common = barrier_of(s.claim.ancestry, number);
    for (std::uint64_t n = 1; acked.back() == '+' && n <= number; ++n) {
        const stream_position b = barrier_of(s.claim.ancestry, n);
        if (s.counts.history.empty() || s.counts.history.back().stream != b.stream) {
            s.counts.history.push_back({b.stream, b.interval, b.interval});
        }
        s.counts.history.back().last = b.interval;
    }
    return s;
}

std::string outcome_of(const told_site &a, const told_site &b) {
    const meeting m = meet(a.claim, b.claim);
    std::string text = std::string(name_of(m.outcome)) + ":" +
                       (m.who == meeting_side::first    ? "a"
                        : m.who == meeting_side::second ? "b"
                                                        : "-");
    if (m.outcome == meeting_outcome::follows) {
        const auto base = m.who == meeting_side::first ? counted_from(b.counts, a.counts)
                                                       : counted_from(a.counts, b.counts);
        text += base ? " since=" + std::to_string(base->interval.value) : " everything";
    }
    return text;
}

} // namespace

TEST_SUITE("model_table") {
    TEST_CASE("each pair of sites ends as the model says") {
        // Of this test's own process, set by CTest.
        const char *path = std::getenv("FARSHORE_ROLES_TABLE"); // NOLINT(concurrency-mt-unsafe)
        if (path == nullptr) {
            MESSAGE("FARSHORE_ROLES_TABLE names no export of the model; nothing was compared");
            return;
        }
        std::ifstream file(path);
        REQUIRE(file.is_open());
        std::uint64_t pairs = 0;
        for (std::string text; std::getline(file, text);) {
            if (text.empty() || text.front() == '#') {
                continue;
            }
            INFO(text);
            const auto arrow = text.find(" -> ");
            REQUIRE(arrow != std::string::npos);
            std::istringstream line(text.substr(0, arrow));
            const told_site a = read_site(line);
            const told_site b = read_site(line);
            REQUIRE(outcome_of(a, b) == text.substr(arrow + 4));
            ++pairs;
        }
        CHECK(pairs > 5'000);
    }
}

} // namespace farshore
