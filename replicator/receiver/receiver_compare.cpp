// A session at the DR site: ranges of the copy that its scrub wants compared with the primary.

#include "replicator/receiver/receiver_session.hpp"

#include <fmt/format.h>

#include <utility>

namespace farshore {
namespace {

/// More than the sender waits for the answers of one barrier (sender/verify_desk.cpp); a range of
/// writers' blocks takes several barriers.
constexpr duration compare_patience = std::chrono::minutes(10);

} // namespace

task<result<>> receiver_session::compare(volume_index volume, byte_range range) {
    if ((hello_.features_offered & wire::feature_compare) == 0) {
        co_return fail(errc::unsupported, "the sender is of an older version, which can't compare "
                                          "what a scrub asks for; upgrade it");
    }
    if (comparison_.open) {
        co_return fail(errc::busy, "a range is being compared already");
    }
    const time_point until = run_.time->now() + compare_patience;
    comparison_.open = true;
    wire::compare_request r;
    r.id = ++comparison_.id;
    r.volume = volume.value;
    r.offset = range.offset;
    r.length = range.length;
    auto sent = co_await send(r);
    while (sent && live() && !comparison_.reply && run_.time->now() < until) {
        co_await comparison_.answered.wait_until(*run_.time, until);
    }
    const auto reply = std::exchange(comparison_.reply, std::nullopt);
    comparison_.open = false;
    if (!live()) {
        co_return fail(errc::closed, "the session with the sender ended");
    }
    if (!reply) { // a later answer would be taken for another range's
        close("the sender did not say whether it compared what a scrub asked for");
        co_return fail(errc::timeout, "the sender did not answer");
    }
    co_return reply->compared
        ? result<>()
        : fail(errc::not_in_sync, fmt::format("the primary says: {}", reply->text));
}

result<> receiver_session::take(wire::compare_reply r) {
    if (!comparison_.open || r.id != comparison_.id || comparison_.reply) {
        return fail_peer(errc::corrupt,
                         fmt::format("compare_reply.id is {}, which nothing asked for", r.id));
    }
    comparison_.reply = std::move(r);
    comparison_.answered.notify_all();
    return {};
}

} // namespace farshore
