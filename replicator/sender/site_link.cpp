// Life of the sessions with a DR site. What one begins with is in site_link_begin.cpp, what the DR
// site says in site_link_said.cpp.

#include "replicator/sender/site_link.hpp"

#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

constexpr duration backoff_first = std::chrono::milliseconds(200);
constexpr duration backoff_max = std::chrono::seconds(3);

/// The line ended it: neither we nor the peer said anything.
bool is_of_line(const error &e) {
    return is(e, errc::timeout) || is_errno(e, ETIMEDOUT) || is_errno(e, ECONNRESET) ||
           is_errno(e, EPIPE) || is_errno(e, EHOSTUNREACH);
}

} // namespace

site_link::site_link(site_link_options options, runtime run, network &net, pipeline &stream,
                     borrower &loans, site_link_host &host)
    : options_(std::move(options)), run_(std::move(run)), net_(net), stream_(stream), loans_(loans),
      host_(host), tasks_(run_.home) {
    const auto &found = stream_.capture().start();
    ledger_.found(found.acknowledged);
    receiver_ = found.receiver;
    if (!found.alarm.empty()) {
        words_.compared = found.alarm;
    }
}

void site_link::start(std::optional<pinned_peer> peer) {
    peer_ = std::move(peer);
    loans_.set_peer(peer_);
    tasks_.spawn(session_loop());
}

void site_link::end() {
    ending_ = true;
    if (session_) {
        session_->close({make_error_code(errc::closed), "the sender stops"});
    }
    wanted_.notify_all();
    held_.notify_all();
}

stream_order site_link::order() const {
    return order_of(stream_.ledger(), ledger_, stream_.capture().mode() == capture_mode::recording);
}

std::string site_link::address() const {
    return !options_.peer.empty() ? options_.peer : peer_ ? peer_->address : "";
}

void site_link::take(std::unique_ptr<transport::link> control) {
    offered_ = std::move(control); // of two the later one: the earlier is given up over there
    offered_before_ = true;
    restart("the site that follows has dialled anew");
}

void site_link::take_data(std::unique_ptr<transport::link> link, std::uint64_t session) {
    if (session_ && session_->id() == session) {
        session_->add_data_link(std::move(link));
    } else {
        link->close();
    }
}

void site_link::set_peer(std::optional<pinned_peer> peer) {
    peer_ = std::move(peer);
    loans_.set_peer(peer_);
    words_.error.reset();
    words_.path.moved(); // another peer, another path
    restart("the pairing changed");
}

void site_link::set_paused(bool paused) {
    if (session_) {
        session_->set_paused(paused);
    }
    if (scan_) {
        scan_->kick();
    }
}

void site_link::kick() {
    if (session_) {
        session_->kick();
    }
    held_.notify_all();
}

void site_link::restart(const char *why) {
    if (session_) {
        reconnect_now_ = true;
        session_->close({make_error_code(errc::cancelled), why});
    }
    wanted_.notify_all();
}

void site_link::hold_catch_up_for_writers() {
    hold_.begin(run_.time->now(), stream_.capture().counts().written_bytes);
}

void site_link::catch_up_now(bool full) {
    hold_.end();
    scan_full_ = full;
}

std::uint64_t site_link::wire_bytes() const {
    return wire_bytes_before_ + (session_ ? session_->wire_bytes() : 0);
}

std::optional<std::string> site_link::trouble() const {
    if (connected() && hold_.active()) {
        return fmt::format("the catch-up begins when clients slow down (they write {:.0f} MB/s), "
                           "{:.0f} s after that at the latest",
                           hold_.rate() / 1e6, seconds_of(catch_up_hold::hold_max));
    }
    // While a connection is up, too: it is about to end like the ones before.
    if (words_.path.suspects()) {
        return words_.error ? fmt::format("{} ({})", path_judge::words, *words_.error)
                            : std::string(path_judge::words);
    }
    return words_.notice ? words_.notice : words_.error ? words_.error : words_.damage;
}

// ---- one session after the other ---------------------------------------------------------------

void site_link::note_failure(const error &e) {
    const std::string text = e.text();
    if (const auto more = words_.failures.failed(text, run_.time->now())) {
        log::warning("group {}: {}{}", options_.group, text, *more);
    }
    words_.error = text;
    if (!words_.path.suspects()) {
        return;
    }
    if (const auto more = words_.failures.failed(path_judge::words, run_.time->now())) {
        log::error("group {}: {}{}", options_.group, path_judge::words, *more);
    }
}

task<void> site_link::session_loop() {
    duration backoff = backoff_first;
    while (!ending_) {
        if (!offered_ && (!peer_ || address().empty())) {
            co_await wanted_.wait();
            continue;
        }
        reconnect_now_ = false;
        const error reason = co_await run_session();
        if (ending_) {
            break;
        }
        if (reconnect_now_) {
            backoff = backoff_first;
            continue;
        }
        note_failure(reason);
        if (!peer_) {
            continue; // it is dialled again from over there
        }
        backoff = now_.worked ? backoff_first : std::min(backoff * 2, backoff_max);
        co_await wanted_.wait_until(*run_.time, run_.time->now() + backoff);
    }
}

// Under a site's CA a name counts and no fingerprint: a certificate that is renewed stays the DR
// site's.
sender_session::make_connector site_link::connector() const {
    const expected_peer expected =
        options_.trust == trust_mode::site_ca
            ? expected_peer{options_.trust, "", name_expected(options_.peer_name, address())}
            : expected_peer{options_.trust, peer_->fingerprint, ""};
    return [this, where = address(), expected](bool control) {
        return net_.make_connector(where, transport::alpn_session, expected, options_.pace,
                                   control);
    };
}

sender_session::callbacks site_link::callbacks() {
    sender_session::callbacks calls;
    calls.on_ack = [this](const wire::ack &a) { on_ack(a); };
    calls.on_nak = [this](wire::nak n) { return on_nak(std::move(n)); };
    calls.on_loans = [this](const wire::loan_reply &r) { loans_.take(r); };
    calls.on_digests = [this](wire::digest_reply r) {
        if (scan_) {
            scan_->on_reply(std::move(r));
        }
    };
    calls.on_extents = [this](const wire::extent_reply &r) {
        return scan_ ? scan_->on_extents(r) : result<>(); // of a scan that was given up
    };
    calls.on_claim = [this](wire::site_claim theirs) { return host_.meet(std::move(theirs)); };
    calls.on_verify = [this](const wire::verify_result &r) { return host_.on_verify(r); };
    calls.on_compare = [this](const wire::compare_request &r) { host_.on_compare(r); };
    calls.covered = [this] { return stream_.covered(); };
    // Asked again it would fail again, in this session and in every one after it.
    calls.on_unreadable = [this](const error &e) { stream_.lose_order(e.text()); };
    calls.on_clock = [this](std::uint64_t ms) { return words_.clock.heard(ms, run_.time->wall()); };
    calls.on_notice = [this](const wire::notice &n) {
        words_.notice = n.text.empty() ? std::nullopt : std::optional(n.text);
    };
    return calls;
}

task<error> site_link::run_session() {
    session_ = std::make_unique<sender_session>(run_, stream_.held(), callbacks());
    now_ = {};
    task_group scanning(run_.home);
    const auto shipping = co_await begin_shipping();
    if (!shipping) {
        session_->close(shipping.error());
    } else {
        now_.at = stage::shipping;
        loans_.session_began(*session_, digest_key_);
        words_.error.reset();
        scanning.spawn(run_scan());
        host_.moved();
    }
    const error reason = co_await session_->ended();
    note_end(reason);
    co_await loans_.session_ended();
    co_await scanning.join();
    co_await session_->join();
    wire_bytes_before_ += session_->wire_bytes();
    if (session_->sending() > next(sent_)) { // the one that it was at may have been sent in part
        sent_ = interval_id{session_->sending().value - 1};
    }
    session_.reset();
    words_.notice.reset();
    co_return reason;
}

void site_link::note_end(const error &reason) {
    now_.at = stage::apart;
    now_.settled = false;
    session_end end;
    if (const auto since = session_->welcomed_at()) {
        end = {true, session_->moved(), is_of_line(reason), session_->tried(),
               run_.time->now() - *since};
    }
    words_.path.ended(end);
    if (scan_) {
        scan_->stop();
    }
    host_.session_ended(reason);
}

} // namespace farshore
