#include "replicator/failover/follower.hpp"

#include "replicator/base/log.hpp"
#include "replicator/sender/sender_session.hpp"
#include "replicator/session/envelope.hpp"
#include "replicator/session/group_role.hpp"
#include "replicator/session/heartbeat.hpp"
#include "replicator/session/trust.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

constexpr duration backoff_first = std::chrono::milliseconds(200);
constexpr duration backoff_max = std::chrono::seconds(3);
constexpr duration session_patience = std::chrono::seconds(5); ///< until the group greets back
constexpr duration session_looked_for_every = std::chrono::milliseconds(20);

} // namespace

follower::follower(follower_means means, runtime run)
    : means_(std::move(means)), run_(std::move(run)), tasks_(run_.home) {}

void follower::start() { tasks_.spawn(loop()); }

void follower::end() {
    ending_ = true;
    if (greeting_ != nullptr) {
        greeting_->close();
    }
    wanted_.notify_all();
}

task<void> follower::join() { co_await tasks_.join(); }

task<void> follower::loop() {
    duration backoff = backoff_first;
    while (!ending_) {
        if (!means_.hello() || !means_.claim()) { // it serves, or its copy is not ready
            trouble_.clear();
            backoff = backoff_first;
            co_await wanted_.wait_until(*run_.time, run_.time->now() + backoff_first);
            continue;
        }
        const time_point began = run_.time->now();
        const auto done = co_await session();
        if (ending_) {
            break;
        }
        if (done) {
            trouble_.clear();
            static_cast<void>(failures_.worked(run_.time->now()));
        } else {
            trouble_ = done.error().text();
            if (const auto more = failures_.failed(trouble_, run_.time->now())) {
                log::warning("group {}: {}{}", means_.group, trouble_, *more);
            }
        }
        const bool lasted = run_.time->now() - began > backoff_max;
        backoff = lasted ? backoff_first : std::min(backoff * 2, backoff_max);
        co_await wanted_.wait_until(*run_.time, run_.time->now() + backoff);
    }
}

// Closes a link whose answer is late.
task<void> follower::watch(std::shared_ptr<transport::link *> link, time_point until) {
    while (!ending_ && *link != nullptr && run_.time->now() < until) {
        co_await run_.time->sleep_for(std::chrono::milliseconds(100));
    }
    if (*link != nullptr) {
        (*link)->close();
    }
}

/// The next message but a heartbeat, in time.
task<result<transport::message>> follower::answer(transport::link &link) {
    const auto late = std::make_shared<transport::link *>(&link);
    tasks_.spawn(watch(late, run_.time->now() + peer_silence_max));
    auto said = co_await link.receive();
    while (said && is_a(*said, wire::message_type::heartbeat)) {
        said = co_await link.receive();
    }
    *late = nullptr;
    if (said && is_a(*said, wire::message_type::refusal)) {
        FS_CO_TRY(refusal, wire::parse<wire::refusal>(said->payload.view()));
        co_return std::unexpected(error_of(refusal));
    }
    co_return std::move(said);
}

task<result<std::unique_ptr<transport::link>>> follower::dial(bool control, wire::hello hello) {
    FS_CO_TRY(connector, means_.connector(control));
    if (!connector) {
        co_return fail(errc::not_found, "no DR site is paired");
    }
    FS_CO_TRY(link, co_await connector->connect(connect_timeout));
    FS_CO_CHECK(co_await link->send(envelope_of(hello)));
    co_return std::move(link);
}

task<result<>> follower::session() {
    const auto hello = means_.hello();
    FS_CO_TRY(link, co_await dial(true, *hello));
    greeting_ = link.get();
    const std::shared_ptr<void> greeted(nullptr, [this](void *) { greeting_ = nullptr; });
    FS_CO_TRY(first, co_await answer(*link));
    if (!is_a(first, wire::message_type::site_claim)) {
        co_return fail_peer(errc::unsupported,
                            "the other site knows nothing of roles: it can't be followed");
    }
    FS_CO_TRY(said, wire::parse<wire::site_claim>(first.payload.view()));
    FS_CO_TRY(theirs, role_of_claim(said));
    FS_CO_CHECK(co_await means_.meet_before(theirs));
    const auto claim = means_.claim();
    if (!claim) {
        co_return fail(errc::closed, "the copy of this site is not ready");
    }
    FS_CO_CHECK(co_await link->send(envelope_of(*claim)));
    FS_CO_TRY(second, co_await answer(*link));
    if (!is_a(second, wire::message_type::hello)) {
        co_return fail_peer(errc::corrupt,
                            fmt::format("the other site answered with a message of type {}, and "
                                        "not with a hello of its own",
                                        second.type));
    }
    FS_CO_TRY(of, wire::parse<wire::hello>(second.payload.view()));
    if (of.group != means_.group || of.link != 0) {
        co_return fail_peer(errc::corrupt, "the other site's hello is of another group");
    }
    greeting_ = nullptr;
    for (std::uint32_t i = 1; i <= means_.links; ++i) {
        tasks_.spawn(dial_data(of, i));
    }
    co_await means_.attach(std::move(link), of, theirs);
    co_return result<>{};
}

/// When the group serves the session.
task<void> follower::dial_data(wire::hello of, std::uint32_t index) {
    const time_point until = run_.time->now() + session_patience;
    while (!ending_ && !means_.in_session(of.session) && run_.time->now() < until) {
        co_await run_.time->sleep_for(session_looked_for_every);
    }
    wire::hello hello;
    hello.group = of.group;
    hello.session = of.session;
    hello.link = index;
    auto link = co_await dial(false, hello);
    if (link && !ending_) {
        co_await means_.attach(std::move(*link), std::move(hello), std::nullopt);
    }
}

} // namespace farshore
