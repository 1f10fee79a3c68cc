#include "replicator/history/facts.hpp"

#include <algorithm>
#include <tuple>

namespace farshore {
namespace {

bool before(const packed_fact &a, const packed_fact &b) {
    return std::tie(a.key, a.interval, a.source) < std::tie(b.key, b.interval, b.source);
}
bool earlier(const packed_fact &a, const packed_fact &b) {
    return std::tie(a.interval, a.source) < std::tie(b.interval, b.source);
}

std::uint64_t end_of(const packed_fact &f) { return f.key + f.count; }

/// The facts of the blocks [from, to), which are all in each of `live`.
void emit(std::vector<packed_fact> &out, std::vector<packed_fact> &live, std::uint64_t from,
          std::uint64_t to) {
    std::ranges::sort(live, earlier);
    const packed_fact *last = nullptr;
    for (packed_fact &fact : live) {
        if (last != nullptr && last->interval == fact.interval) {
            continue;
        }
        last = &fact;
        packed_fact part = fact;
        part.key = from;
        part.count = to - from;
        out.push_back(part);
    }
}

bool alone(const std::vector<packed_fact> &facts, std::size_t at) {
    return (at == 0 || facts[at - 1].key != facts[at].key) &&
           (at + 1 == facts.size() || facts[at + 1].key != facts[at].key);
}

/// Joins neighbours that are zero before one interval, and have no other fact.
std::vector<packed_fact> joined(const std::vector<packed_fact> &facts) {
    std::vector<packed_fact> out;
    out.reserve(facts.size());
    bool last_alone = false;
    for (std::size_t i = 0; i < facts.size(); ++i) {
        const packed_fact &f = facts[i];
        const bool f_alone = f.zero && alone(facts, i);
        if (f_alone && last_alone && end_of(out.back()) == f.key &&
            out.back().interval == f.interval) {
            out.back().count += f.count;
        } else {
            out.push_back(f);
        }
        last_alone = f_alone;
    }
    return out;
}

/// Zero after zero of the same blocks says no more than the later one.
std::vector<packed_fact> without_repeated_zero(std::vector<packed_fact> facts) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < facts.size(); ++i) {
        if (kept > 0 && facts[i].zero && facts[kept - 1].zero &&
            facts[kept - 1].key == facts[i].key) {
            --kept;
        }
        facts[kept++] = facts[i];
    }
    facts.resize(kept);
    return facts;
}

} // namespace

// A sweep over the blocks: `live` has the facts that reach the place. Between two places where one
// begins or ends, all blocks have the same facts.
std::vector<packed_fact> disjoint_facts(std::vector<packed_fact> facts) {
    std::ranges::sort(facts, before);
    std::vector<packed_fact> out;
    out.reserve(facts.size());
    std::vector<packed_fact> live;
    std::size_t next = 0;
    std::uint64_t at = 0;
    while (next < facts.size() || !live.empty()) {
        if (live.empty()) {
            at = facts[next].key;
        }
        for (; next < facts.size() && facts[next].key == at; ++next) {
            live.push_back(facts[next]);
        }
        std::uint64_t to = next < facts.size() ? facts[next].key : UINT64_MAX;
        for (const packed_fact &f : live) {
            to = std::min(to, end_of(f));
        }
        emit(out, live, at, to);
        at = to;
        std::erase_if(live, [at](const packed_fact &f) { return end_of(f) <= at; });
    }
    return joined(without_repeated_zero(std::move(out)));
}

std::vector<packed_fact> thinned(std::span<const packed_fact> group,
                                 std::span<const interval_id> bounds) {
    std::vector<packed_fact> kept;
    auto window = bounds.end();
    for (const packed_fact &fact : group) {
        const auto in = std::ranges::lower_bound(bounds, fact.interval);
        if (!kept.empty() && in == window) {
            continue;
        }
        window = in;
        if (!kept.empty() && kept.back().zero && fact.zero) {
            kept.pop_back();
        }
        kept.push_back(fact);
    }
    return kept;
}

} // namespace farshore
