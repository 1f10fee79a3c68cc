#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/sender/loans.hpp"

#include <doctest/doctest.h>

#include <deque>

namespace farshore {
namespace {

struct content_set {
    std::deque<byte_vector> pages;
    std::vector<block_change> changes;

    void add(std::uint64_t block, unsigned seed, bool zero = false) {
        byte_vector page(block_bytes);
        for (std::size_t i = 0; i < page.size() && !zero; ++i) {
            page[i] = static_cast<std::byte>(seed * 7 + i * (seed + 3) % 253 + 1);
        }
        pages.push_back(std::move(page));
        block_change c;
        c.kind = change_kind::data;
        c.volume = volume_index{0};
        c.block = block_index{block};
        c.count = 1;
        c.content = pages.back();
        changes.push_back(c);
    }
};

constexpr dedupe::digest_key key{};

pinned_peer peer(const char *fingerprint) { return {fingerprint, "dr:7420"}; }

/// `clone_peer`: fingerprint of the other group's peer, empty for none.
void make_groups(pair_index &index, const char *clone_peer = "aa") {
    index.add_group("gold", {1000, 50});
    index.add_group("clone", {1000});
    index.set_peer(0, peer("aa"));
    if (*clone_peer != 0) {
        index.set_peer(1, peer(clone_peer));
    }
}

void teach(pair_index &index, std::size_t group, const content_set &set, std::uint64_t from) {
    for (const block_change &c : set.changes) {
        index.note(group, volume_index{0}, block_index{from + c.block.value},
                   checksum_128(c.content).high);
    }
}

content_set twenty() {
    content_set set;
    for (unsigned i = 0; i < 20; ++i) {
        set.add(100 + i, i + 1);
    }
    return set;
}

wire::loan_reply all_granted(const wire::loan_request &request, std::size_t blocks,
                             std::uint64_t first, std::uint64_t slots) {
    wire::loan_reply reply;
    reply.id = request.id;
    reply.first = first;
    reply.slots = slots;
    reply.granted.resize((blocks + 7) / 8);
    for (std::size_t i = 0; i < blocks; ++i) {
        reply.granted[i / 8] |= std::byte{static_cast<std::uint8_t>(1U << (i % 8))};
    }
    return reply;
}

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("loans: content of another group of the pair is found, run by run, and granted slots "
              "go to its blocks") {
        const content_set set = twenty();
        pair_index index(1 << 16);
        make_groups(index);
        teach(index, 0, set, 200);
        const auto found = find_candidates(index, 1, set.changes, key);
        REQUIRE(found.size() == 20);
        CHECK(found[3].lender.group == 0);
        CHECK(found[3].lender.block.value == 303);
        loan_round round(found, interval_id{9}, index, 5);
        REQUIRE(round.requests().size() == 1);
        const wire::loan_request &request = round.requests().front();
        CHECK(request.lender == "gold");
        CHECK(request.interval == 9);
        REQUIRE(request.runs.size() == 1); // neighbours there
        CHECK(request.runs.front().digests.size() == 20 * 16);
        wire::loan_reply reply = all_granted(request, 20, 30, 32);
        reply.granted[0] = std::byte{0xFD}; // not the second
        round.take(reply);
        CHECK(round.complete());
        const auto granted = round.granted();
        REQUIRE(granted.size() == 19);
        CHECK(granted[0].slot == 30);
        CHECK(granted[1].block.value == 102);
        CHECK(granted[1].slot == 31);
        CHECK(granted[2].slot == 0);
        // And now the clone's blocks are known for the other way round.
        CHECK(index.find_elsewhere(0, checksum_128(set.changes[0].content).high)->group == 1);
    }

    TEST_CASE(
        "loans: nothing from a group with another peer, from itself, or too little to ask for") {
        const content_set set = twenty();
        for (const char *fingerprint : {"bb", ""}) {
            pair_index index(1 << 16);
            make_groups(index, fingerprint);
            teach(index, 0, set, 200);
            CHECK(find_candidates(index, 1, set.changes, key).empty());
            CHECK(find_candidates(index, 0, set.changes, key).empty());
        }
        pair_index index(1 << 16);
        make_groups(index);
        teach(index, 0, set, 200);
        const std::span<const block_change> few(set.changes.data(), loan_candidates_min - 1);
        CHECK(find_candidates(index, 1, few, key).empty());
    }

    TEST_CASE("loans: zeroes and blocks that do not change are never asked for") {
        content_set set;
        for (unsigned i = 0; i < 40; ++i) {
            set.add(i, 1, true);
        }
        pair_index index(1 << 16);
        make_groups(index);
        teach(index, 0, set, 0);
        CHECK(find_candidates(index, 1, set.changes, key).empty());
        content_set same = twenty();
        teach(index, 0, same, 200);
        for (block_change &c : same.changes) {
            c.before = c.content;
        }
        CHECK(find_candidates(index, 1, same.changes, key).empty());
    }

    TEST_CASE("loans: a reply of an earlier round is ignored") {
        const content_set set = twenty();
        pair_index index(1 << 16);
        make_groups(index);
        teach(index, 0, set, 200);
        const auto found = find_candidates(index, 1, set.changes, key);
        loan_round round(found, interval_id{9}, index, 5);
        wire::loan_reply old = all_granted(round.requests().front(), 20, 0, 64);
        old.id = 4;
        round.take(old);
        CHECK_FALSE(round.complete());
        CHECK(round.granted().empty());
    }

    TEST_CASE("loans: refusals make the sender ask less and less often, a grant ends that") {
        loan_patience patience;
        CHECK(patience.worth_it());
        patience.outcome(100, 10);
        CHECK_FALSE(patience.worth_it());
        CHECK(patience.worth_it());
        patience.outcome(100, 49);
        int passed = 0;
        while (!patience.worth_it()) {
            ++passed;
        }
        CHECK(passed == 3);
        patience.outcome(100, 50);
        CHECK(patience.worth_it());
    }
}

} // namespace farshore
