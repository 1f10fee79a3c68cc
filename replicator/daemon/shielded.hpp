#pragma once
// Lets a command go on when its client hangs up: joining, opening and comparing are not torn in the
// middle. The client's coroutine is cancelled; the work ends by itself and its result is dropped.

#include "replicator/base/async.hpp"

#include <memory>
#include <optional>

namespace farshore {

namespace detail {
template <class T>
struct shielded_state {
    std::optional<T> value;
    condition ended;
};

template <class T>
task<void> run_shielded(std::shared_ptr<shielded_state<T>> state, task<T> work) {
    state->value.emplace(co_await std::move(work));
    state->ended.notify_all();
}
} // namespace detail

/// The result of `work`, which belongs to `owner` (joined at the daemon's end). Same executor as
/// the owner's.
template <class T>
task<T> shielded(task_group &owner, task<T> work) {
    auto state = std::make_shared<detail::shielded_state<T>>();
    owner.spawn(detail::run_shielded<T>(state, std::move(work)));
    while (!state->value) {
        co_await state->ended.wait();
    }
    co_return std::move(*state->value);
}

} // namespace farshore
