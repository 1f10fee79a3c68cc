#include "replicator/receiver/receiver_session.hpp"

#include "replicator/base/log.hpp"
#include "replicator/session/heartbeat.hpp"
#include "replicator/session/peer_claims.hpp"
#include "replicator/session/peer_clock.hpp"
#include "replicator/session/reaction.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

constexpr duration refusal_patience = std::chrono::seconds(1);
/// Of apply, which writes it down before its next batch. The control connection is not read
/// meanwhile.
constexpr duration suspicion_patience = peer_silence_max - std::chrono::seconds(2);

/// A frame that is none is for append to say.
result<> check_heals(bytes_view frame, std::uint64_t damage_count) {
    const auto parsed = parse_frame(frame);
    if (parsed && parsed->header.type == frame_type::barrier) {
        if (const auto b = parse_barrier(parsed->payload)) {
            return check_barrier(*b, damage_count);
        }
    }
    return {};
}

} // namespace

receiver_session::receiver_session(session_host &host, runtime run, terms over,
                                   std::unique_ptr<transport::link> control, wire::hello hello)
    : host_(host), run_(std::move(run)), over_(std::move(over)), control_(std::move(control)),
      hello_(std::move(hello)), assembly_(over_.window_bytes), tasks_(run_.home),
      loans_(host_, run_, over_.copy, over_.digest_key) {
    heard_ = run_.time->now();
    // Of what is there now the welcome tells.
    damage_told_ = over_.copy->position().damage_count;
}
receiver_session::~receiver_session() = default;

bool receiver_session::responsive() const {
    return live() && run_.time->now() - heard_ <= peer_silence_max;
}

std::uint64_t receiver_session::wire_bytes() const {
    std::uint64_t sum = control_->wire().sent + control_->wire().received;
    for (const auto &link : data_) {
        sum += link->wire().sent + link->wire().received;
    }
    return sum;
}

task<result<>> receiver_session::send_message(transport::message m) {
    if (!live()) {
        co_return fail(errc::closed, "the session has ended");
    }
    auto sent = co_await control_->send(std::move(m));
    if (!sent) {
        close("the control connection broke");
    }
    co_return sent;
}

void receiver_session::close(const char *why) {
    if (!live()) {
        return;
    }
    phase_ = phase::closed;
    host_.tell(log::level::info,
               fmt::format("the session with {} ended: {}", control_->peer_address(), why), why);
    control_->close();
    for (auto &link : data_) {
        link->close();
    }
    frames_.notify_all();
    questions_wanted_.notify_all();
    loans_.end();
    comparison_.answered.notify_all();
    quiet_.notify_all();
    ended_.notify_all();
}

task<void> receiver_session::refuse(wire::refusal_code code, std::string text) {
    if (!live()) {
        co_return;
    }
    if (std::exchange(phase_, phase::refusing) == phase::live) {
        tasks_.spawn(end_unheard());
    }
    wire::refusal r;
    r.code = static_cast<std::uint8_t>(code);
    r.text = std::move(text);
    co_await send(std::move(r));
    close("refused");
}

task<void> receiver_session::end_unheard() {
    co_await ended_.wait_until(*run_.time, run_.time->now() + refusal_patience);
    close("it was refused, and the line did not take the words");
}

void receiver_session::refuse_soon(wire::refusal_code code, std::string text) {
    if (phase_ == phase::live) {
        tasks_.spawn(refuse(code, std::move(text)));
    }
}

// ---- what it tells
// ----------------------------------------------------------------------------------

task<void> receiver_session::tell(wire::nak n) {
    damage_told_ = n.damage_count;
    co_await send(std::move(n));
}

task<void> receiver_session::tell(wire::verify_result v) {
    damage_told_ = std::max(damage_told_, v.damage_count);
    co_await send(std::move(v));
}

void receiver_session::tell_damage_soon(std::uint64_t damage_count) {
    if (damage_count <= damage_told_) {
        return;
    }
    damage_told_ = damage_count;
    wire::nak n;
    n.damage_count = damage_count;
    n.complete = false;
    if (live()) {
        tasks_.spawn(send_and_forget(std::move(n)));
    }
}

void receiver_session::tell_soon(std::string text) {
    constexpr std::size_t notice_bytes_max = 4096;
    wire::notice n;
    n.text = text.substr(0, notice_bytes_max);
    if (live()) {
        tasks_.spawn(send_and_forget(std::move(n)));
    }
}

void receiver_session::react(error e) {
    if (reaction_to(e) != reaction::end_session) {
        host_.storage_failed(std::move(e));
    } else if (e.whose == fault::peer) {
        peer_broke(e);
    } else {
        refuse_soon(wire::refusal_code::failed, e.text());
    }
}

void receiver_session::peer_broke(const error &rule) {
    if (phase_ == phase::live) {
        host_.note_peer_fault(rule);
        refuse_soon(wire::refusal_code::protocol, rule.text());
    }
}

void receiver_session::ack_soon() {
    ack_wanted_ = true;
    if (live() && !std::exchange(acking_, true)) {
        tasks_.spawn(ack_while_wanted());
    }
}

task<void> receiver_session::ack_while_wanted() {
    while (live() && std::exchange(ack_wanted_, false)) {
        co_await send_ack();
    }
    acking_ = false;
}

task<void> receiver_session::send_ack() {
    const replica_position at = over_.copy->position();
    host_.note_durable(at.durable.interval);
    wire::ack a;
    a.durable = at.durable;
    a.applied = at.applied;
    a.point = at.newest_point ? at.newest_point->id.value : 0;
    a.journaled_bytes = journaled_bytes_;
    a.damage_count = damage_told_; // an ack must not overtake its nak
    co_await send(a);
}

wire::welcome receiver_session::make_welcome() {
    const replica_group &copy = *over_.copy;
    const replica_position at = copy.position();
    wire::welcome w;
    w.features = hello_.features_offered & wire::features_known;
    w.receiver = copy.identity();
    w.durable = at.durable;
    w.applied = at.applied;
    if (const auto partial = copy.partial()) {
        w.partial = partial->first;
        w.partial_index = partial->second;
    }
    w.point = at.newest_point ? at.newest_point->id.value : 0;
    w.in_catch_up = at.in_catch_up;
    w.damage_count = damage_told_ = at.damage_count;
    w.damaged = at.damaged;
    w.window_bytes = over_.window_bytes;
    w.digest_key = over_.digest_key;
    w.clock_ms = clock_ms_of(run_.time->wall());
    return w;
}

// ---- its life
// ---------------------------------------------------------------------------------------

task<void> receiver_session::serve() {
    wire::welcome welcome = make_welcome();
    const stream_position begin =
        welcome.partial.interval.value != 0
            ? welcome.partial
            : stream_position{welcome.durable.stream, next(welcome.durable.interval)};
    assembly_.expect(begin, welcome.partial.interval.value != 0 ? welcome.partial_index : 0);
    if (co_await send(std::move(welcome))) {
        tasks_.spawn(read_control());
        tasks_.spawn(beat());
        tasks_.spawn(journal_loop());
        tasks_.spawn(question_loop());
        tasks_.spawn(loans_.run([this](wire::loan_reply r) { return send(std::move(r)); }));
        tell_soon(host_.words_for_sender());
        while (live()) {
            co_await ended_.wait();
        }
    }
    close("it could not be greeted");
    co_await tasks_.join();
    over_.copy.reset();
}

void receiver_session::add_data_link(std::unique_ptr<transport::link> link) {
    if (!live() || data_.size() >= limits::data_links_max) {
        link->close();
        return;
    }
    data_.push_back(std::move(link));
    // The sender counts a frame as sent before it is on a link, so a frame of each link may be
    // beyond.
    assembly_.set_bytes_max(over_.window_bytes +
                            (data_.size() + 1) * limits::frame_payload_bytes_max);
    tasks_.spawn(read_data(data_.size() - 1));
}

task<void> receiver_session::read_data(std::size_t index) {
    transport::link &link = *data_[index];
    while (live()) {
        auto got = co_await link.receive();
        if (!got) {
            close("a data connection ended");
            break;
        }
        heard_ = run_.time->now();
        if (got->type != static_cast<std::uint16_t>(wire::message_type::frame)) {
            peer_broke(
                fail_peer(
                    errc::corrupt,
                    fmt::format("a message of type {} on a data connection, where frames are sent",
                                got->type))
                    .error());
            break;
        }
        if (auto added = assembly_.add(std::move(got->payload)); !added) {
            peer_broke(added.error());
            break;
        }
        frames_.notify_all();
    }
}

task<void> receiver_session::read_control() {
    while (live()) {
        auto got = co_await control_->receive();
        if (!got) {
            close(is(got.error(), errc::closed) ? "the sender closed it"
                                                : "the control connection broke");
            break;
        }
        heard_ = run_.time->now();
        if (auto done = co_await dispatch(std::move(*got)); !done) {
            react(done.error());
            break;
        }
    }
}

task<result<>> receiver_session::dispatch(transport::message m) {
    const bytes_view payload = m.payload.view();
    switch (static_cast<wire::message_type>(m.type)) {
    case wire::message_type::heartbeat: {
        FS_CO_TRY(beat, wire::parse<wire::heartbeat>(payload));
        if ((hello_.features_offered & wire::feature_covered) != 0) {
            host_.covered_heard(interval_id{beat.covered});
        }
        co_return host_.clock_heard(beat.clock_ms);
    }
    case wire::message_type::begin_stream: {
        FS_CO_TRY(begin, wire::parse<wire::begin_stream>(payload));
        co_return co_await take(begin);
    }
    case wire::message_type::digest_request: {
        FS_CO_TRY(request, wire::parse<wire::digest_request>(payload));
        co_return take(std::move(request));
    }
    case wire::message_type::extent_request: {
        FS_CO_TRY(request, wire::parse<wire::extent_request>(payload));
        co_return take(std::move(request));
    }
    case wire::message_type::changed_request: {
        FS_CO_TRY(request, wire::parse<wire::changed_request>(payload));
        co_return take(request);
    }
    case wire::message_type::compare_reply: {
        FS_CO_TRY(reply, wire::parse<wire::compare_reply>(payload));
        co_return take(std::move(reply));
    }
    case wire::message_type::loan_request: {
        FS_CO_TRY(request, wire::parse<wire::loan_request>(payload));
        co_return take(std::move(request));
    }
    case wire::message_type::role_offer: {
        FS_CO_TRY(offer, wire::parse<wire::role_offer>(payload));
        if ((hello_.features_offered & wire::feature_roles) == 0 || std::exchange(offered_, true)) {
            co_return fail_peer(errc::corrupt, "a role_offer that has no place here");
        }
        host_.offered(offer);
        co_return result<>{};
    }
    default:
        co_return fail_peer(errc::corrupt,
                            fmt::format("a message of type {} that has no place here", m.type));
    }
}

result<> receiver_session::take(wire::loan_request r) {
    FS_CHECK(check_loan_request(r, assembly_.next_interval()));
    return loans_.ask(std::move(r));
}

task<result<>> receiver_session::take(wire::begin_stream m) {
    const auto copy = over_.copy;
    if (m.copy_went_back) {
        FS_CO_CHECK(check_begin_stream(m, copy->position().durable));
        FS_CO_CHECK(co_await suspect_durably());
    }
    while (journaling_ && live()) {
        co_await quiet_.wait();
    }
    if (!live()) {
        co_return result<>{};
    }
    FS_CO_CHECK(check_begin_stream(m, copy->position().durable));
    FS_CO_CHECK(blame(fault::storage,
                      co_await run_on(run_.disk, [copy] { return copy->abandon_partial(); })));
    assembly_.expect({stream_id{m.stream}, interval_id{m.first}}, 0);
    wire::stream_ready ready;
    ready.stream = m.stream;
    co_return co_await send(ready);
}

// The sender says it once: what it hears next is that this copy is known for what it is, after a
// kill, too.
task<result<>> receiver_session::suspect_durably() {
    const auto copy = over_.copy;
    const time_point until = run_.time->now() + suspicion_patience;
    for (copy->suspect_unproved(); live() && !copy->suspicion_durable(); copy->suspect_unproved()) {
        if (run_.time->now() >= until) {
            co_return fail(errc::timeout,
                           "that the copy's points are suspect is not written down yet");
        }
        host_.apply_soon();
        co_await host_.wait_applied(std::min(until, run_.time->now() + std::chrono::seconds(1)));
    }
    co_return result<>{};
}

task<void> receiver_session::beat() {
    while (live()) {
        co_await ended_.wait_until(*run_.time, next_tick(run_.time->now(), heartbeat_interval));
        if (!live()) {
            break;
        }
        std::uint64_t bytes = control_->wire().received;
        for (const auto &link : data_) {
            bytes += link->wire().received;
        }
        if (bytes != heard_bytes_) {
            heard_bytes_ = bytes;
            heard_ = run_.time->now();
        }
        if (!responsive()) {
            close("nothing heard from the sender any more");
            break;
        }
        wire::heartbeat m;
        m.clock_ms = clock_ms_of(run_.time->wall());
        if (!co_await send(m)) {
            break;
        }
    }
}

// Frames in order into the journal; one sync for as many barriers as have come; then the
// acknowledgement.
task<result<>> receiver_session::journal_ready() {
    constexpr std::uint64_t append_bytes_max = 8 * limits::MiB;
    const auto copy = over_.copy;
    auto batch = std::make_shared<std::vector<buffer>>();
    std::uint64_t bytes = 0; // as in the window
    bool barrier_seen = false;
    while (bytes < append_bytes_max) {
        auto taken = assembly_.take();
        if (!taken) {
            break;
        }
        bytes += frame_window_bytes(taken->frame.size());
        barrier_seen = barrier_seen || taken->barrier;
        batch->push_back(std::move(taken->frame));
    }
    if (batch->empty()) {
        co_return result<>{};
    }
    journaling_ = true;
    const wall_time now = barrier_seen ? host_.stamp() : run_.time->wall();
    auto done = co_await run_on(run_.disk, [copy, batch, barrier_seen, now]() -> result<> {
        for (const buffer &frame : *batch) {
            FS_CHECK(check_heals(frame.view(), copy->position().damage_count));
            FS_CHECK(copy->append(frame.view(), now));
        }
        return barrier_seen ? copy->sync_journal() : result<>{};
    });
    journaling_ = false;
    quiet_.notify_all();
    if (!done) {
        co_return blame(fault::storage,
                        std::move(done)); // unless append found that it is the sender's
    }
    journaled_bytes_ += bytes;
    host_.apply_soon();
    co_await send_ack();
    co_return result<>{};
}

task<void> receiver_session::journal_loop() {
    while (live()) {
        const std::uint64_t before = journaled_bytes_;
        if (auto done = co_await journal_ready(); !done) {
            react(done.error());
            break;
        }
        if (journaled_bytes_ == before && live()) {
            co_await frames_.wait();
        }
    }
}

} // namespace farshore
