// The roles of a receiver's groups, and the links of those that dial.

#include "replicator/receiver/receiver_impl.hpp"

#include <utility>

namespace farshore {

task<result<promote_outcome>> receiver::promote(std::string group, std::string point, bool forced,
                                                progress_report progress) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->promote(std::move(point), forced, std::move(progress));
}

task<result<>> receiver::settle(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->settle();
}

task<result<>> receiver::discard(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->discard();
}

task<result<>> receiver::reverse(std::string group, role_step step) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->reverse(std::move(step));
}

task<result<>> receiver::add_group(receiver_group_config group) {
    impl &m = *impl_;
    if (m.lookup(group.name) != nullptr) {
        co_return fail(errc::invalid, "there is a group of that name: " + group.name);
    }
    m.config.groups.push_back(group);
    co_await m.start_group(m.make_group(group));
    co_return result<>{};
}

void receiver::use_followers(take_link control, take_data_link data, std::function<void()> changed,
                             may_serve_group may) {
    impl_->followers = {std::move(control), std::move(data), std::move(changed), std::move(may)};
}

std::optional<std::vector<wire::volume_entry>> receiver::fed(const std::string &group) const {
    const receiver_group *g = impl_->lookup(group);
    return g != nullptr ? g->fed() : std::nullopt;
}

std::optional<wire::site_claim> receiver::claim(const std::string &group) const {
    const receiver_group *g = impl_->lookup(group);
    return g != nullptr ? g->claim() : std::nullopt;
}

task<result<>> receiver::meet_before(std::string group, role_state theirs) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->meet_before(theirs);
}

task<result<>> receiver::heed_role(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->heed_role();
}

bool receiver::in_session(const std::string &group, std::uint64_t session) const {
    const receiver_group *g = impl_->lookup(group);
    return g != nullptr && g->in_session(session);
}

task<void> receiver::attach(std::string group, std::unique_ptr<transport::link> link,
                            wire::hello hello, std::optional<role_state> theirs) {
    if (receiver_group *g = impl_->lookup(group)) {
        co_await g->attach(std::move(link), std::move(hello), true, std::move(theirs));
    } else {
        link->close();
    }
}

std::optional<served_copy> receiver::serving(const std::string &group) const {
    const receiver_group *g = impl_->lookup(group);
    return g != nullptr ? g->serving() : std::nullopt;
}

} // namespace farshore
