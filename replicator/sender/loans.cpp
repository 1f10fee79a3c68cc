#include "replicator/sender/loans.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/endian.hpp"

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

constexpr std::size_t digest_bytes = 16;

bool is_candidate(const block_change &c) {
    return c.kind == change_kind::data && !is_zero(c.content) &&
           (c.before.empty() || !std::ranges::equal(c.before, c.content));
}

void append(wire::loan_request &request, const loan_candidate &c) {
    const bool follows =
        !request.runs.empty() && request.runs.back().volume == c.lender.volume.value &&
        request.runs.back().block + request.runs.back().digests.size() / digest_bytes ==
            c.lender.block.value;
    if (!follows) {
        request.runs.push_back({c.lender.volume.value, c.lender.block.value, {}});
    }
    append_bytes(request.runs.back().digests, c.digest.bytes);
}

} // namespace

std::vector<loan_candidate> find_candidates(pair_index &index, std::size_t group,
                                            std::span<const block_change> changes,
                                            const dedupe::digest_key &key) {
    std::vector<loan_candidate> found;
    std::vector<bytes_view> contents;
    for (const block_change &c : changes) {
        if (!is_candidate(c)) {
            continue;
        }
        const std::uint64_t content = checksum_128(c.content).high;
        if (const auto place = index.find_elsewhere(group, content)) {
            found.push_back({c.volume, c.block, *place, {}});
            contents.push_back(c.content);
        }
        index.note(group, c.volume, c.block, content);
    }
    if (found.size() < loan_candidates_min) {
        return {};
    }
    dedupe::digester digester(key);
    for (std::size_t i = 0; i < found.size(); ++i) {
        found[i].digest = digester.of(contents[i]);
    }
    return found;
}

loan_round::loan_round(std::vector<loan_candidate> candidates, interval_id interval,
                       const pair_index &index, std::uint64_t next_id)
    : candidates_(std::move(candidates)) {
    std::map<std::size_t, std::vector<std::size_t>> by_lender;
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
        by_lender[candidates_[i].lender.group].push_back(i);
    }
    for (const auto &[lender, members] : by_lender) {
        for (std::size_t at = 0; at < members.size(); at += limits::loan_blocks_max) {
            const std::size_t end = std::min(members.size(), at + limits::loan_blocks_max);
            wire::loan_request request;
            request.id = next_id++;
            request.interval = interval.value;
            request.lender = index.name_of(lender);
            auto &asked = asked_[request.id];
            for (std::size_t i = at; i < end; ++i) {
                append(request, candidates_[members[i]]);
                asked.push_back(members[i]);
            }
            requests_.push_back(std::move(request));
        }
    }
}

void loan_round::take(const wire::loan_reply &reply) {
    const auto at = asked_.find(reply.id);
    if (at == asked_.end()) {
        return;
    }
    const std::vector<std::size_t> asked = std::move(at->second);
    asked_.erase(at);
    std::uint64_t slot = reply.first;
    for (std::size_t i = 0; i < asked.size(); ++i) {
        if ((std::to_integer<unsigned>(reply.granted[i / 8]) >> (i % 8) & 1U) != 0) {
            const loan_candidate &c = candidates_[asked[i]];
            granted_.push_back({c.volume, c.block, slot});
            slot = (slot + 1) % reply.slots;
        }
    }
}

std::vector<dedupe::loan> loan_round::granted() const {
    std::vector<dedupe::loan> sorted = granted_;
    std::ranges::sort(sorted, {},
                      [](const dedupe::loan &l) { return std::pair(l.volume, l.block); });
    return sorted;
}

} // namespace farshore
