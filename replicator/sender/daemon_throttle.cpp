#include "replicator/sender/daemon_throttle.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <utility>

namespace farshore {

daemon_throttle::daemon_throttle(runtime run, file_system &files, std::string path)
    : run_(std::move(run)), files_(files), setting_(files_, run_.disk, std::move(path)),
      pace_(std::make_shared<transport::pacer>(*run_.time)) {}

task<result<>> daemon_throttle::load() {
    FS_CO_TRY(found, co_await run_on(run_.disk, [this] { return read(); }));
    setting_.found(found);
    co_return result<>{};
}

// Blocks.
result<throttle_setting> daemon_throttle::read() const {
    const std::string &path = setting_.path();
    throttle_setting found = *setting_;
    FS_TRY(present, files_.exists(path));
    if (!present) {
        return found;
    }
    FS_TRY(bytes, files_.read_file(path));
    const auto j = nlohmann::json::parse(as_text(bytes), nullptr, false);
    try {
        take_throttle(j, found);
    } catch (const nlohmann::json::exception &) {
        return fail(
            errc::corrupt,
            fmt::format("{} can't be read; remove it to start without a throttle of the daemon",
                        path));
    }
    return found;
}

void daemon_throttle::start(task_group &owner) {
    apply();
    owner.spawn(expire(owner));
}

void daemon_throttle::end() {
    ending_ = true;
    changed_.notify_all();
}

template <class F>
task<result<>> daemon_throttle::change(F f) {
    FS_CO_CHECK(co_await setting_.change([f](throttle_setting &t) -> result<> {
        f(t);
        return {};
    }));
    apply();
    changed_.notify_all();
    co_return result<>{};
}

task<result<>> daemon_throttle::set(std::optional<std::uint64_t> bytes_per_second,
                                    std::optional<duration> lasts) {
    return change([bytes_per_second, lasts, now = run_.time->wall()](throttle_setting &t) {
        t.set(bytes_per_second, lasts, now);
    });
}

task<result<>> daemon_throttle::clear() {
    return change([](throttle_setting &t) { t.clear(); });
}

// An override that ended is a lesser cap or none, which no failure may keep: it takes hold whether
// or not it can be written, and is said.
task<void> daemon_throttle::expire(task_group &owner) {
    while (!ending_) {
        co_await changed_.wait_until(*run_.time, run_.time->now() + std::chrono::seconds(1));
        const wall_time now = run_.time->wall();
        if (throttle_setting after = *setting_; after.expire(now)) {
            setting_.change_now([now](throttle_setting &t) { t.expire(now); }, owner,
                                "the end of the daemon's throttle can't be kept");
            apply();
        }
    }
}

} // namespace farshore
