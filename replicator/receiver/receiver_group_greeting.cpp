// A group at the DR site greets a control link: who is let in, what its sender is told of the copy,
// and the session that follows.

#include "replicator/receiver/receiver_group.hpp"
#include "replicator/receiver/receiver_session.hpp"
#include "replicator/session/envelope.hpp"
#include "replicator/session/peer_claims.hpp"

#include <fmt/format.h>

#include <utility>

namespace farshore {

receiver_facts receiver_group::facts(bool pinned) const {
    receiver_facts f;
    f.group_configured = true;
    f.pinned = pinned;
    f.failed = is_failed(phase_);
    if (session_) {
        f.session_alive = session_->responsive();
        f.session_sender = session_->greeting().sender;
        f.session_instance = session_->greeting().instance;
    }
    f.has_copy = copy_ != nullptr;
    if (copy_) {
        for (const replica_volume &v : copy_->volumes()) {
            f.volumes.push_back({v.name, v.size});
        }
    }
    return f;
}

/// By the handshake's table, the clock that it says, and what the group is doing.
hello_verdict receiver_group::weigh(const wire::hello &hello, bool pinned) const {
    hello_verdict verdict = judge_hello(facts(pinned), hello);
    if (!verdict.accept) {
        return verdict;
    }
    const auto refuse = [&verdict](wire::refusal_code code, std::string text) {
        verdict = {};
        verdict.code = code;
        verdict.text = std::move(text);
    };
    const group_action begin = next(phase_, group_event::hello)->action;
    if (begin == group_action::refuse_stopping) {
        refuse(wire::refusal_code::stopping, "the receiver stops");
    } else if (role_.turning || phase_ == group_phase::turning ||
               (copy_ && copy_->served() && !wants_to_serve())) {
        refuse(wire::refusal_code::stopping, "the role of the DR site is being changed");
    } else if (begin == group_action::refuse_busy) {
        refuse(wire::refusal_code::stopping, "another session is being greeted");
    } else if (auto told = peer_clock().heard(hello.clock_ms, run_.time->wall()); !told) {
        refuse(wire::refusal_code::protocol, told.error().text());
    }
    return verdict;
}

hello_verdict receiver_group::judge(const wire::hello &hello, bool pinned) const {
    hello_verdict verdict = weigh(hello, pinned);
    if (verdict.accept && verdict.creates_copy) {
        if (auto fits = check_new_volumes(hello.volumes, options_.config); !fits) {
            verdict = {};
            verdict.code = wire::refusal_code::volumes;
            verdict.text = fits.error().text();
        }
    }
    return verdict;
}

task<void> receiver_group::attach(std::unique_ptr<transport::link> link, wire::hello hello,
                                  bool pinned, std::optional<role_state> theirs) {
    if (hello.link != 0) {
        if (pinned && session_ && session_->live() &&
            session_->greeting().session == hello.session) {
            session_->add_data_link(std::move(link));
        } else if (pinned && wants_to_serve() && options_.followed_data) {
            options_.followed_data(std::move(link), hello.session);
        } else {
            link->close();
        }
        co_return;
    }
    hello_verdict verdict = weigh(hello, pinned);
    if (!verdict.accept) {
        if (is_failed(phase_) && verdict.code == wire::refusal_code::failed) {
            verdict.text = failure_.text();
        }
        log_.tell(log::level::warning,
                  fmt::format("refused the sender at {}: {}", link->peer_address(), verdict.text),
                  verdict.text);
        co_await refuse_link(std::move(link), verdict.code, std::move(verdict.text));
        co_return;
    }
    const bool knows_roles = theirs.has_value();
    auto end = co_await meet_sender(std::move(theirs));
    if (end.how == met::serves && options_.followed) {
        log_.tell(log::level::info, fmt::format("the site at {} follows", link->peer_address()),
                  "followed");
        role_.follower = link->peer_fingerprint();
        options_.followed(std::move(link));
        co_return;
    }
    if (end.how != met::follows) {
        log_.tell(log::level::warning,
                  fmt::format("refused the sender at {}: {}", link->peer_address(), end.words),
                  end.words);
        co_await refuse_link(std::move(link),
                             knows_roles ? wire::refusal_code::role : wire::refusal_code::failed,
                             std::move(end.words));
        co_return;
    }
    if (verdict = weigh(hello, pinned); !verdict.accept) { // it may have changed meanwhile
        co_await refuse_link(std::move(link), verdict.code, std::move(verdict.text));
        co_return;
    }
    static_cast<void>(clock_.heard(hello.clock_ms)); // in order, it was weighed
    co_await greet(std::move(link), std::move(hello));
}

task<void> receiver_group::greet(std::unique_ptr<transport::link> link, wire::hello hello) {
    const std::uint64_t drops = drops_.count;
    const group_action begin = step(group_event::hello);
    if (begin == group_action::create) {
        if (auto created = co_await create_copy(hello.volumes); !created) {
            if (phase_ == group_phase::creating) {
                step(group_event::create_failed);
            }
            log_.tell(log::level::error, created.error().text());
            said_.last_error = created.error().text();
            co_await refuse_link(std::move(link),
                                 is(created.error(), errc::mismatch) ? wire::refusal_code::volumes
                                                                     : wire::refusal_code::failed,
                                 created.error().text());
            co_return;
        }
    }
    if (begin == group_action::end_session) {
        session_->close("the same sender is back on a new connection");
        while (session_) {
            co_await changed_.wait();
        }
    }
    if (auto ready = co_await make_ready(drops); !ready) {
        step(group_event::refused);
        co_await refuse_link(std::move(link), wire::refusal_code::failed, ready.error().text());
        co_return;
    }
    log_.tell(log::level::info, fmt::format("session with the sender at {}", link->peer_address()),
              "session");
    if (!stage_.waits()) {
        said_.last_error.reset();
    }
    step(group_event::greeted);
    session_host &host = *this;
    look_at_exposure(risk::untold); // until now without a session
    const auto session = session_ = std::make_shared<receiver_session>(
        host, run_, receiver_session::terms{copy_, digest_key_, options_.memory.window_bytes},
        std::move(link), std::move(hello));
    co_await session->serve();
    wire_bytes_before_ += session->wire_bytes();
    look_at_exposure(risk::untold);
    session_.reset();
    stage_.applied().notify_all();
    step(group_event::session_over);
}

// What was appended and not synced is made durable now, so that the position told is the newest.
task<result<>> receiver_group::make_ready(std::uint64_t drops) {
    if (phase_ == group_phase::greeting) {
        const auto copy = copy_;
        auto synced = co_await run_on(run_.disk, [copy] { return copy->sync_journal(); });
        if (!synced && phase_ == group_phase::greeting) {
            storage_failed(synced.error());
            co_return synced;
        }
    }
    if (is_stopping(phase_)) {
        co_return fail(errc::closed, "the receiver stops");
    }
    if (phase_ != group_phase::greeting) {
        co_return std::unexpected(failure_);
    }
    if (drops_.count != drops) {
        co_return fail(errc::not_trusted, drops_.why);
    }
    co_return result<>{};
}

void receiver_group::drop_session(const char *why) {
    ++drops_.count;
    drops_.why = why;
    if (session_) {
        session_->close(why);
    }
}

bool receiver_group::connected() const { return session_ && session_->responsive(); }
std::string receiver_group::session_address() const { return session_ ? session_->address() : ""; }
std::string receiver_group::session_fingerprint() const {
    return session_ ? session_->fingerprint() : role_.follower;
}

} // namespace farshore
