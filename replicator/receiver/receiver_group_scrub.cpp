// A group at the DR site: its scrub.

#include "replicator/receiver/receiver_group.hpp"
#include "replicator/receiver/receiver_session.hpp"

#include <fmt/format.h>

#include <utility>

namespace farshore {
namespace {

/// Durable intervals that the images lack; more say that apply has no time to lose.
constexpr std::uint64_t backlog_max = 2;

} // namespace

std::shared_ptr<replica_group> receiver_group::scrub_copy() const {
    return serves() ? copy_ : nullptr;
}

// When it waits for space, reading takes nothing from it.
bool receiver_group::apply_behind() const {
    if (!copy_ || stage_.waits()) {
        return false;
    }
    const replica_position at = copy_->position();
    return at.durable.interval.value > at.applied.interval.value + backlog_max;
}

task<result<>> receiver_group::compare(volume_index volume, byte_range range) {
    const auto session = session_;
    if (!session || !session->live()) {
        co_return fail(errc::not_in_sync, "no sender is connected");
    }
    co_return co_await session->compare(volume, range);
}

task<result<std::optional<scrub_outcome>>> receiver_group::scrub(bool wait,
                                                                 progress_report progress) {
    const auto named = [this](const error &e) {
        return fail(e.code, fmt::format("group \"{}\": {}", name(), e.context));
    };
    const commands_under_way::mark here(commands_);
    if (auto begun = scrub_.ask(); !begun) {
        co_return named(begun.error());
    }
    if (!wait) {
        co_return std::nullopt;
    }
    auto over = co_await scrub_.wait_asked(std::move(progress));
    if (!over) {
        co_return named(over.error());
    }
    over->group = name();
    co_return std::optional(std::move(*over));
}

} // namespace farshore
