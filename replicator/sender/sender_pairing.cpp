// Pairing at the primary: join, who is trusted, unpair.

#include "replicator/base/log.hpp"
#include "replicator/sender/sender_impl.hpp"
#include "replicator/session/envelope.hpp"
#include "transport/deadline.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

namespace farshore {
namespace {
constexpr duration join_timeout = std::chrono::seconds(10); ///< of the exchange, once connected
} // namespace

namespace {

/// What to do about it depends on whether the receiver was reached: it ends the handshake of a
/// token that is spent.
std::unexpected<error> no_link_to_join(const error &e, const std::string &group) {
    if (is(e, errc::not_found)) {
        return fail(errc::closed, e.context); // a host; not_found is for groups, volumes and points
    }
    if (is(e, errc::timeout) || is_errno(e, ETIMEDOUT) || is_errno(e, ECONNREFUSED) ||
        is_errno(e, EHOSTUNREACH) || is_errno(e, ENETUNREACH)) {
        return std::unexpected(e);
    }
    const bool errno_code = e.code.category() != make_error_code(errc::closed).category();
    return std::unexpected(error{errno_code ? make_error_code(errc::closed) : e.code,
                                 fmt::format("{}. If the receiver refused: a token is good once "
                                             "and for one hour; make a new one there "
                                             "with `farshore invite {}`",
                                             errno_code ? e.text() : e.context, group)});
}
} // namespace

/// One question and its answer, over a link of its own. A stop ends it, and so does its time.
task<result<transport::message>> sender::impl::ask(std::unique_ptr<transport::link> link,
                                                   transport::message question) {
    const std::string peer = link->peer_address();
    const auto place = join_links.insert(join_links.end(), link.get());
    std::optional<result<transport::message>> answer;
    {
        const transport::deadline limit(run.home, *run.time, run.time->now() + join_timeout,
                                        [&link] { link->close(); });
        if (joins.ending()) {
            link->close();
        }
        auto sent = co_await link->send(std::move(question));
        answer = sent ? co_await link->receive() : std::unexpected(sent.error());
        if (!*answer && limit.expired()) {
            answer = fail(
                errc::timeout,
                fmt::format(
                    "the receiver at {} took the connection and did not answer within {:.0f} s; "
                    "whether it paired is not known: look at `farshore peers` there",
                    peer, seconds_of(join_timeout)));
        }
    }
    join_links.erase(place);
    link->close();
    co_return std::move(*answer);
}

task<result<peer_status>> sender::join(std::string token) {
    FS_CO_TRY(t, parse_token(token));
    FS_CO_TRY(group, impl_->find(t.group));
    if (impl_->joins.ending()) {
        co_return fail(errc::closed, "the sender stops");
    }
    const commands_under_way::mark here(impl_->joins);
    const std::string address = t.address;
    FS_CO_TRY(connector, impl_->here->net()->make_connector(
                             address, transport::alpn_join,
                             {impl_->here->mode(), t.fingerprint, ""}, {}, true));
    auto link = co_await connector->connect(connect_timeout);
    if (!link) {
        co_return no_link_to_join(link.error(), t.group);
    }
    wire::join_request request;
    request.group = t.group;
    request.secret = t.secret;
    FS_CO_TRY(reply, co_await impl_->ask(std::move(*link), envelope_of(request)));
    FS_CO_TRY(answer, wire::parse<wire::join_reply>(reply.payload.view()));
    if (!answer.ok) {
        co_return fail(errc::not_trusted, answer.text);
    }
    const pinned_peer peer{t.fingerprint, address};
    FS_CO_CHECK(co_await impl_->here->trust().change([&](trust_store &trust) -> result<> {
        trust.pin(t.group, peer);
        return {};
    }));
    group->set_peer(peer);
    log::info("group {}: paired with the receiver at {} (fingerprint {})", t.group, address,
              t.fingerprint);
    co_return group->peer();
}

std::vector<peer_status> sender::peers() const {
    std::vector<peer_status> out;
    for (const auto &g : impl_->groups) {
        peer_status p = g->peer();
        if (!p.fingerprint.empty()) {
            out.push_back(std::move(p));
        }
    }
    return out;
}

task<result<>> sender::unpair(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    FS_CO_CHECK(co_await impl_->here->trust().change([&](trust_store &trust) -> result<> {
        return trust.unpin(group)
                   ? result<>()
                   : fail(errc::not_found, fmt::format("group \"{}\" is not paired", group));
    }));
    g->set_peer(std::nullopt);
    co_return result<>{};
}

} // namespace farshore
