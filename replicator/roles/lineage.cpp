#include "replicator/roles/lineage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace farshore {
namespace {

std::size_t common_prefix(const std::vector<generation> &a, const std::vector<generation> &b) {
    const auto [at, _] = std::ranges::mismatch(a, b);
    return static_cast<std::size_t>(at - a.begin());
}

} // namespace

result<lineage> lineage::of(std::vector<generation> oldest_first) {
    if (oldest_first.size() > generations_max) {
        return fail(errc::limit, fmt::format("{} generations; a group has {} at most",
                                             oldest_first.size(), generations_max));
    }
    std::unordered_set<std::uint64_t> seen;
    for (const generation &g : oldest_first) {
        if (g.id.value == 0 || !seen.insert(g.id.value).second) {
            return fail(errc::invalid,
                        fmt::format("generation {:x} is there twice, or has no id", g.id.value));
        }
    }
    lineage l;
    l.generations_ = std::move(oldest_first);
    return l;
}

std::optional<generation_id> lineage::newest() const {
    return blank() ? std::nullopt : std::optional(generations_.back().id);
}

bool lineage::knows(generation_id id) const {
    return std::ranges::find(generations_, id, &generation::id) != generations_.end();
}

kinship lineage::to(const lineage &other) const {
    const std::size_t shared = common_prefix(generations_, other.generations_);
    for (std::size_t i = shared; i < generations_.size(); ++i) {
        if (other.knows(generations_[i].id)) {
            return kinship::contradicting;
        }
    }
    const bool all_of_it = shared == generations_.size();
    const bool all_of_other = shared == other.generations_.size();
    if (all_of_it || all_of_other) {
        return all_of_it && all_of_other ? kinship::same
               : all_of_it               ? kinship::older
                                         : kinship::newer;
    }
    return shared == 0 ? kinship::unrelated : kinship::forked;
}

lineage lineage::shared_with(const lineage &other) const {
    lineage l;
    const std::size_t shared = common_prefix(generations_, other.generations_);
    l.generations_.assign(generations_.begin(),
                          generations_.begin() + static_cast<std::ptrdiff_t>(shared));
    return l;
}

result<lineage> lineage::child(generation_id id, stream_position left) const {
    std::vector<generation> all = generations_;
    all.push_back({id, left});
    return of(std::move(all));
}

lineage lineage::parent() const {
    lineage l = *this;
    if (!l.blank()) {
        l.generations_.pop_back();
    }
    return l;
}

} // namespace farshore
