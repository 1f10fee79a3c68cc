// What a sender is asked by the operator about its groups, and its throttle.

#include "replicator/sender/sender_impl.hpp"

#include <algorithm>
#include <utility>

namespace farshore {

std::vector<sender_group_status> sender::status() const {
    std::vector<sender_group_status> out;
    const std::vector<std::string> warnings = impl_->here->warnings();
    for (std::size_t i = 0; i < impl_->slots.size(); ++i) {
        if (impl_->slots[i].released) {
            continue;
        }
        const sender_group *g = impl_->running(impl_->config.groups[i].name);
        out.push_back(g != nullptr ? g->status() : impl_->status_of_failed(i));
        out.back().warnings.insert(out.back().warnings.end(), warnings.begin(), warnings.end());
    }
    return out;
}

sender_group_status sender::impl::status_of_failed(std::size_t index) const {
    const sender_group_config &g = config.groups[index];
    sender_group_status s;
    s.name = g.name;
    s.state = sender_state::failed;
    if (const pinned_peer *known = here->trust()->find(g.name)) {
        s.peer = known->address;
    }
    s.spool_limit_bytes = g.spool_bytes_max;
    for (const sender_volume_config &v : g.volumes) {
        s.volumes.push_back({v.name, 0, 0});
    }
    s.error = why_not(index);
    return s;
}

task<result<wait_outcome>> sender::wait(std::string group, bool durable_only, duration timeout) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->wait(durable_only, timeout);
}
task<result<bookmark_outcome>> sender::bookmark(std::string group, bookmark_request wanted) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->bookmark(std::move(wanted));
}
task<result<>> sender::pause(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->set_paused(true);
}
task<result<>> sender::resume(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->set_paused(false);
}
task<result<>> sender::resync(std::string group, bool full) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->resync(full);
}
task<result<verify_outcome>> sender::verify(std::string group, progress_report progress) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->verify(std::move(progress));
}

task<result<>> sender::throttle_set(std::string group,
                                    std::optional<std::uint64_t> bytes_per_second,
                                    std::optional<duration> lasts) {
    if (!group.empty()) {
        FS_CO_TRY(g, impl_->find(group));
        co_return co_await g->throttle_set(bytes_per_second, lasts);
    }
    co_return co_await impl_->throttle.set(bytes_per_second, lasts);
}
task<result<>> sender::throttle_clear(std::string group) {
    if (!group.empty()) {
        FS_CO_TRY(g, impl_->find(group));
        co_return co_await g->throttle_clear();
    }
    co_return co_await impl_->throttle.clear();
}
throttle_view sender::throttle() const { return impl_->throttle.view(); }

switchover_party *sender::party(const std::string &group) { return impl_->running(group); }

task<result<std::string>> sender::take_role_back(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->take_role_back();
}

task<result<>> sender::release(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    for (std::size_t i = 0; i < impl_->slots.size(); ++i) {
        impl_->slots[i].released |= impl_->config.groups[i].name == group;
    }
    co_await g->stop(impl_->run.time->now());
    std::erase_if(impl_->groups, [g](const auto &at) { return at.get() == g; });
    co_return result<>{};
}

void sender::take_back(const std::string &group) {
    for (std::size_t i = 0; i < impl_->slots.size(); ++i) {
        if (impl_->config.groups[i].name == group && impl_->slots[i].released) {
            impl_->slots[i].released = false;
            impl_->slots[i].failure = "it is taken back";
            impl_->tasks.spawn(impl_->start_failed_again());
        }
    }
}

wire::id16 sender::identity() const { return impl_->identity; }

result<std::vector<volume_status>> sender::volumes(const std::string &group) const {
    FS_TRY(g, impl_->find(group));
    return g->status().volumes;
}

interval_id sender::newest_barrier(const std::string &group) const {
    sender_group *g = impl_->running(group);
    if (g == nullptr) {
        return {};
    }
    const capture_start &found = g->stream().capture().start();
    return std::max(
        {g->stream().ledger().last_cut().id, found.last_interval, found.acknowledged.interval});
}

} // namespace farshore
