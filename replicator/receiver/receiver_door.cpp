#include "replicator/receiver/receiver_door.hpp"

#include "replicator/base/log.hpp"
#include "replicator/receiver/receiver_group.hpp"
#include "replicator/session/envelope.hpp"
#include "transport/guest_policy.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

constexpr duration greeting_timeout = std::chrono::seconds(10);

// The token first: who has none that is good learns nothing of a group, not even that it is paired.
result<> redeem(trust_store &trust, const wire::join_request &request, const transport::link &link,
                wall_time now) {
    const pinned_peer *present = trust.find(request.group);
    const bool taken = present != nullptr && present->fingerprint != link.peer_fingerprint();
    FS_CHECK(trust.redeem(request.group, request.secret, now));
    if (taken) {
        // Two senders of one group would take turns in overwriting the copy: the operator has to
        // say which goes.
        return fail(
            errc::refused,
            fmt::format("group \"{}\" is paired with another sender; if that one is gone for "
                        "good, run `farshore unpair {}` at the receiver and invite again",
                        request.group, request.group));
    }
    trust.pin(request.group, {link.peer_fingerprint(), link.peer_address()});
    return {};
}

} // namespace

receiver_door::receiver_door(runtime run, kept<trust_store> &trust, trust_mode mode,
                             find_group lookup)
    : run_(std::move(run)), trust_(trust), mode_(mode), lookup_(std::move(lookup)),
      tasks_(run_.home) {}

void receiver_door::take(std::unique_ptr<transport::link> link) {
    const bool stranger = link->application() == transport::alpn_join;
    tasks_.spawn(stranger ? greet_stranger(std::move(link)) : greet(std::move(link)));
}

void receiver_door::close() {
    closing_ = true;
    late_.notify_all();
}

void receiver_door::drop_silent() {
    for (const auto &[fingerprint, links] : silent_) {
        for (transport::link *link : links) {
            link->close();
        }
    }
}

// ---- who it is
// --------------------------------------------------------------------------------------

result<> receiver_door::trusts(const transport::peer_claim &peer) const {
    if (peer.alpn == transport::alpn_join) {
        return trust_->has_open_invitation(run_.time->wall())
                   ? result<>()
                   : fail(errc::not_trusted, "wants to join while no invitation is open");
    }
    const bool known = mode_ == trust_mode::site_ca ? peer.signed_by_ca
                                                    : trust_->knows_fingerprint(peer.fingerprint);
    return known ? result<>() : fail(errc::not_trusted, "is not the one pinned for it");
}

peer_verdict receiver_door::judge(const receiver_group &group, const wire::hello &hello,
                                  const transport::link &link) const {
    const pinned_peer *known = trust_->find(group.name());
    peer_evidence e;
    e.mode = mode_;
    e.signed_by_ca = mode_ == trust_mode::site_ca; // else the handshake would have failed
    e.fingerprint = link.peer_fingerprint();
    e.pinned = known != nullptr ? known->fingerprint : "";
    e.name_asked = !group.peer_name().empty();
    e.name_found = e.name_asked && link.peer_has_name(group.peer_name());
    e.is_sender = true;
    e.sender = to_hex(hello.sender);
    e.stored_sender = known != nullptr ? known->sender : "";
    if (e.mode == trust_mode::site_ca && hello.link != 0) {
        // A data link says only which session it belongs to: it must come from whom the control
        // link is from.
        e.mode = trust_mode::pinned;
        e.pinned = group.session_fingerprint();
    }
    return judge_peer(e);
}

// Lines of those who were let in by TLS and no further: counted beyond one a second, whoever they
// are.
void receiver_door::note_refusal(const transport::link &link, const std::string &what) {
    if (const auto left_out = refusals_.allow(run_.time->now(), link.peer_fingerprint())) {
        log::warning("{} (fingerprint {}): {}{}", link.peer_address(), link.peer_fingerprint(),
                     what, transport::left_out_text(*left_out));
    }
}

void receiver_door::learn_source(const std::string &address) {
    if (known_sources_.size() >= 4 * limits::groups_max) {
        known_sources_.clear(); // senders that wander: they are learnt again
    }
    if (auto parsed = transport::parse_address(address)) {
        known_sources_.insert(transport::source_of(parsed->host));
    }
}

// ---- before a hello
// ---------------------------------------------------------------------------------

// Closes a link that has not greeted in time.
task<void> receiver_door::close_late(std::shared_ptr<transport::link *> link) {
    const time_point deadline = run_.time->now() + greeting_timeout;
    while (!closing_ && *link != nullptr && co_await late_.wait_until(*run_.time, deadline)) {
    }
    if (*link != nullptr) {
        (*link)->close();
    }
}

// While an invitation is open anybody may connect to join: so many at a time, as before the
// handshake's end. The oldest gives way, so that who holds them all open can't shut out the one
// that was invited.
task<void> receiver_door::greet_stranger(std::unique_ptr<transport::link> link) {
    if (strangers_.size() >= limits::sessions_unauthenticated_max) {
        strangers_.front()->close();
        strangers_.pop_front();
    }
    transport::link *const self = link.get();
    strangers_.push_back(self);
    co_await greet(std::move(link));
    std::erase(strangers_, self);
}

// Before its hello a link costs little and says little. Whoever is paired may have as many of them
// as its groups can need at once; beyond, its own oldest gives way.
task<result<transport::message>> receiver_door::first_message(transport::link &link) {
    if (link.application() == transport::alpn_join) {
        co_return co_await link.receive(); // greet_stranger() bounds them
    }
    auto &mine = silent_[link.peer_fingerprint()];
    if (mine.size() >= silent_max(link.peer_fingerprint())) {
        mine.front()->close();
        mine.pop_front();
    }
    mine.push_back(&link);
    auto first = co_await link.receive();
    if (const auto now = silent_.find(link.peer_fingerprint()); now != silent_.end()) {
        std::erase(now->second, &link);
        if (now->second.empty()) {
            silent_.erase(now);
        }
    }
    co_return first;
}

std::size_t receiver_door::silent_max(const std::string &fingerprint) const {
    const auto of_peer = std::ranges::count_if(trust_->peers(), [&](const auto &p) {
        return mode_ == trust_mode::site_ca || p.second.fingerprint == fingerprint;
    });
    return (limits::data_links_max + 1) *
           static_cast<std::size_t>(std::max<std::ptrdiff_t>(of_peer, 1));
}

task<void> receiver_door::greet(std::unique_ptr<transport::link> link) {
    const auto late = std::make_shared<transport::link *>(link.get());
    tasks_.spawn(close_late(late));
    auto first = co_await first_message(*link);
    *late = nullptr;
    late_.notify_all();
    if (!first || closing_) {
        link->close();
        co_return;
    }
    if (link->application() == transport::alpn_join) {
        if (is_a(*first, wire::message_type::join_request)) {
            co_await take_join(std::move(link), first->payload.view());
        }
        co_return;
    }
    if (!is_a(*first, wire::message_type::hello) ||
        first->payload.size() > limits::hello_bytes_max) {
        note_refusal(*link, "closed, it did not begin with a hello");
        link->close();
        co_return;
    }
    auto hello = wire::parse<wire::hello>(first->payload.view());
    if (!hello) {
        note_refusal(*link, "closed: " + hello.error().text());
        link->close();
        co_return;
    }
    co_await greet_hello(std::move(link), std::move(*hello));
}

task<void> receiver_door::greet_hello(std::unique_ptr<transport::link> link, wire::hello hello) {
    receiver_group *group = lookup_(hello.group);
    if (group == nullptr) {
        co_await refuse_link(std::move(link), wire::refusal_code::not_paired,
                             judge_hello({}, hello).text);
        co_return;
    }
    if (mode_ == trust_mode::site_ca && hello.link == 0) {
        if (auto owned = co_await settle_owner(*group, hello, *link); !owned) {
            note_refusal(*link, fmt::format("refused as sender of group {}: {}", group->name(),
                                            owned.error().text()));
            const auto code = is(owned.error(), errc::refused) ? wire::refusal_code::busy
                              : is(owned.error(), errc::not_trusted)
                                  ? wire::refusal_code::not_paired
                                  : wire::refusal_code::failed;
            co_await refuse_link(std::move(link), code,
                                 code == wire::refusal_code::failed ? owned.error().text()
                                                                    : owned.error().context);
            co_return;
        }
    }
    const peer_verdict verdict = judge(*group, hello, *link);
    if (verdict == peer_verdict::ours) {
        learn_source(link->peer_address());
    }
    // One that was not made the owner is refused there, with the reason.
    const bool ours = verdict == peer_verdict::ours || verdict == peer_verdict::first_use;
    std::optional<role_state> theirs;
    const auto claim = group->claim();
    if (ours && claim && hello.link == 0 && (hello.features_offered & wire::feature_roles) != 0) {
        auto said = co_await exchange_claims(*link, *claim);
        if (!said) {
            note_refusal(*link, "closed: " + said.error().text());
            link->close();
            co_return;
        }
        theirs = std::move(*said);
    }
    co_await group->attach(std::move(link), std::move(hello), ours, std::move(theirs));
}

// Each judges by what both said, so neither says it anew when it has heard the other.
task<result<role_state>> receiver_door::exchange_claims(transport::link &link,
                                                        const wire::site_claim &ours) {
    FS_CO_CHECK(co_await link.send(envelope_of(ours)));
    const auto late = std::make_shared<transport::link *>(&link);
    tasks_.spawn(close_late(late));
    auto said = co_await link.receive();
    while (said && is_a(*said, wire::message_type::heartbeat)) {
        said = co_await link.receive(); // it beats from its hello on
    }
    *late = nullptr;
    late_.notify_all();
    if (!said) {
        co_return std::unexpected(said.error());
    }
    if (closing_) {
        co_return fail(errc::closed, "the receiver stops");
    }
    if (!is_a(*said, wire::message_type::site_claim)) {
        co_return fail_peer(errc::corrupt,
                            fmt::format("it answered with a message of type {} and not with its "
                                        "own site_claim",
                                        said->type));
    }
    FS_CO_TRY(claim, wire::parse<wire::site_claim>(said->payload.view()));
    co_return role_of_claim(claim);
}

// Any certificate of the site's CA passes the handshake, so the sender's identity tells whose the
// group is: that of the first one that was accepted. Two that took turns would each overwrite what
// the other sent.
task<result<>> receiver_door::settle_owner(receiver_group &group, const wire::hello &hello,
                                           const transport::link &link) {
    const auto store = [&]() -> task<result<>> {
        return trust_.change([this, &group, &hello, &link](trust_store &trust) -> result<> {
            // Again, since another one may have come first while the disk worked.
            if (const peer_verdict v = judge(group, hello, link);
                v == peer_verdict::ours || v == peer_verdict::first_use) {
                trust.pin(group.name(),
                          {link.peer_fingerprint(), link.peer_address(), to_hex(hello.sender)});
            }
            return {};
        });
    };
    const pinned_peer *known = trust_->find(group.name());
    switch (judge(group, hello, link)) {
    case peer_verdict::ours:
        if (known->fingerprint != link.peer_fingerprint()) {
            log::info("group {}: its sender has a new certificate, fingerprint {}", group.name(),
                      link.peer_fingerprint());
            if (auto stored = co_await store(); !stored) { // only `peers` shows it
                log::warning("group {}: {}", group.name(), stored.error().text());
            }
        }
        co_return result<>{};
    case peer_verdict::first_use:
        if (!group.judge(hello, true).accept) {
            co_return result<>{}; // attach() says why not
        }
        FS_CO_CHECK(co_await store());
        co_return co_await group.forget_lineage();
    case peer_verdict::wrong_name:
        co_return fail(
            errc::not_trusted,
            fmt::format("the certificate of this sender is not for \"{}\", which `peer_name` of "
                        "group \"{}\" at the receiver asks for",
                        group.peer_name(), group.name()));
    case peer_verdict::other:
        co_return fail(
            errc::refused,
            fmt::format("group \"{}\" is another sender's; if that one is gone for good, run "
                        "`farshore unpair {}` at the receiver",
                        group.name(), group.name()));
    case peer_verdict::unknown:
        break;
    }
    co_return result<>{}; // attach() says that it is not paired
}

task<void> receiver_door::take_join(std::unique_ptr<transport::link> link, bytes_view payload) {
    wire::join_reply reply;
    if (auto request = wire::parse<wire::join_request>(payload)) {
        result<> redeemed;
        const auto stored =
            co_await trust_.change([&, now = run_.time->wall()](trust_store &trust) -> result<> {
                redeemed = redeem(trust, *request, *link, now);
                return redeemed;
            });
        if (redeemed && !stored) {
            redeemed = fail(stored.error().code,
                            fmt::format("the receiver can't store it, the token stays good: {}",
                                        stored.error().text()));
        }
        reply.ok = redeemed.has_value();
        if (receiver_group *group = redeemed ? lookup_(request->group) : nullptr) {
            if (auto forgotten = co_await group->forget_lineage(); !forgotten) {
                log::warning("group {}: {}", request->group, forgotten.error().text());
            }
        }
        if (redeemed) {
            log::info("group {}: paired with the sender at {} (fingerprint {})", request->group,
                      link->peer_address(), link->peer_fingerprint());
        } else {
            reply.text = redeemed.error().context;
            note_refusal(*link,
                         fmt::format("tried to join group \"{}\": {}", request->group, reply.text));
        }
    } else {
        reply.text = "the request to join is damaged";
    }
    co_await link->send(envelope_of(reply));
    // The sender closes; wait for it so that the reply is not cut off.
    const auto late = std::make_shared<transport::link *>(link.get());
    tasks_.spawn(close_late(late));
    co_await link->receive();
    *late = nullptr;
    late_.notify_all();
    link->close();
}

} // namespace farshore
