#include "replicator/history/unit_cache.hpp"

namespace farshore {

std::shared_ptr<const buffer> unit_cache::find(std::uint64_t stretch, std::uint64_t unit) {
    const std::scoped_lock lock(mutex_);
    const auto at = places_.find({stretch, unit});
    if (at == places_.end()) {
        return nullptr;
    }
    recent_.splice(recent_.begin(), recent_, at->second);
    return at->second->content;
}

void unit_cache::put(std::uint64_t stretch, std::uint64_t unit,
                     std::shared_ptr<const buffer> content) {
    const std::scoped_lock lock(mutex_);
    const key of{stretch, unit};
    if (places_.contains(of)) {
        return;
    }
    recent_.push_front({of, std::move(content)});
    places_.emplace(of, recent_.begin());
    if (recent_.size() > units_max) {
        places_.erase(recent_.back().of);
        recent_.pop_back();
    }
}

void unit_cache::clear() {
    const std::scoped_lock lock(mutex_);
    places_.clear();
    recent_.clear();
}

} // namespace farshore
