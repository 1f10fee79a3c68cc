#include "replicator/session/site.hpp"

#include "replicator/session/tls_network.hpp"

#include <utility>

namespace farshore {
namespace {

constexpr duration own_files_every = std::chrono::seconds(10);

} // namespace

site::site(std::string state, std::optional<tls_files> tls, runtime run, file_system &files,
           std::vector<executor> nbd_loops)
    : path_(std::move(state)), tls_(std::move(tls)), run_(std::move(run)), files_(files),
      nbd_loops_(std::move(nbd_loops)), state_(files, run_.disk, path_), tasks_(run_.home) {}

task<result<>> site::open() {
    if (open_) {
        co_return result<>{};
    }
    FS_CO_CHECK(co_await state_.open());
    if (!net_) {
        FS_CO_TRY(made, co_await run_on(run_.disk, [this] {
                      return tls_network::open(files_, path_, tls_, run_);
                  }));
        net_ = std::move(made);
    }
    open_ = true;
    co_return result<>{};
}

void site::watch_files(const void *who, std::function<void()> changed) {
    watchers_.emplace(who, std::move(changed));
    if (tls_ && tasks_.running() == 0) {
        tasks_.spawn(watch());
    }
}

task<void> site::watch() {
    while (!watchers_.empty()) {
        co_await files_wanted_.wait_until(*run_.time, run_.time->now() + own_files_every);
        if (!watchers_.empty() && co_await net_->refresh()) {
            for (const auto &[who, changed] : watchers_) {
                changed();
            }
        }
    }
}

void site::unwatch_files(const void *who) {
    watchers_.erase(who);
    if (watchers_.empty()) {
        files_wanted_.notify_all();
    }
}

task<void> site::unwatched() {
    if (watchers_.empty()) {
        co_await tasks_.join();
    }
}

std::vector<std::string> site::warnings() const {
    return net_ ? net_->warnings(run_.time->wall()) : std::vector<std::string>{};
}

std::string site::group_directory(const std::string &group) const {
    return join_path(path_of("groups"), group);
}

role_step site::reversal_of(const std::string &group, bool keep_there) const {
    if (!keep_there) {
        return reversed;
    }
    return [met = meeting_of(group)](const role_state &s) {
        return met ? kept_there(s, met->how, met->we_are, met->other)
                   : kept_there(s, std::nullopt, meeting_side::nobody, {});
    };
}

task<result<kept<group_role> *>> site::role_of(std::string group, group_role otherwise) {
    if (const auto known = roles_.find(group); known != roles_.end()) {
        co_return known->second.get();
    }
    const std::string directory = group_directory(group);
    const std::string path = join_path(directory, "role.json");
    FS_CO_TRY(found, co_await run_on(run_.disk, [&]() -> result<group_role> {
                  FS_CHECK(files_.make_directories(directory));
                  return read_group_role(files_, path, std::move(otherwise));
              }));
    auto &role = roles_[group]; // who asked meanwhile read the same
    if (!role) {
        role = std::make_unique<kept<group_role>>(files_, run_.disk, path, std::move(found));
    }
    co_return role.get();
}

} // namespace farshore
