#include "replicator/sender/sender_session.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/session/frame_assembly.hpp"
#include "replicator/session/peer_clock.hpp"
#include "replicator/session/trust.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {

namespace {
/// What fits in one packet of any path, more or less.
constexpr std::size_t packet_bytes = 1200;
} // namespace

sender_session::sender_session(runtime run, spool &held, callbacks calls)
    : run_(std::move(run)), held_(held), calls_(std::move(calls)), tasks_(run_.home) {}
sender_session::~sender_session() = default;

task<void> sender_session::connect_data_link(std::uint32_t index, int &missing) {
    auto connector = connect_(false);
    if (!connector) {
        close(connector.error());
    } else if (auto link = co_await (*connector)->connect(connect_timeout); !link) {
        close(link.error());
    } else {
        wire::hello hello;
        hello.group = hello_.group;
        hello.session = hello_.session;
        hello.link = index;
        if (auto sent = co_await (*link)->send(envelope_of(hello)); !sent) {
            close(sent.error());
        } else {
            data_.push_back(std::move(*link));
            if (!live()) {
                data_.back()->close();
            }
        }
    }
    --missing;
    sendable_.notify_all();
}

task<result<>> sender_session::open_data_links(std::uint32_t count) {
    if (!connect_) {
        co_return co_await await_data_link();
    }
    int missing = static_cast<int>(count);
    for (std::uint32_t i = 1; i <= count; ++i) {
        tasks_.spawn(connect_data_link(i, missing));
    }
    while (missing > 0) {
        co_await sendable_.wait();
    }
    if (end_reason_) {
        co_return std::unexpected(*end_reason_);
    }
    co_return result<>{};
}

/// The other site dials as soon as it has welcomed this one.
task<result<>> sender_session::await_data_link() {
    const time_point until = run_.time->now() + 2 * connect_timeout;
    while (data_.empty() && live() && co_await sendable_.wait_until(*run_.time, until)) {
    }
    if (end_reason_) {
        co_return std::unexpected(*end_reason_);
    }
    co_return data_.empty() ? fail(errc::timeout, "the other site made no data connection")
                            : result<>{};
}

void sender_session::add_data_link(std::unique_ptr<transport::link> link) {
    if (!live() || data_.size() >= limits::data_links_max) {
        link->close();
        return;
    }
    data_.push_back(std::move(link));
    if (sending_) {
        tasks_.spawn(send_frames(data_.size() - 1));
        tasks_.spawn(watch_data_link(data_.size() - 1));
    }
    sendable_.notify_all();
}

task<result<>> sender_session::begin_stream(stream_id stream, interval_id first,
                                            bool copy_went_back) {
    wire::begin_stream m;
    m.stream = stream.value;
    m.first = first.value;
    m.copy_went_back = copy_went_back;
    claims_.asked(m);
    FS_CO_CHECK(co_await send_control(m));
    while (live() && ready_stream_ != stream.value) {
        co_await ready_.wait();
    }
    if (end_reason_) {
        co_return std::unexpected(*end_reason_);
    }
    co_return result<>{};
}

task<result<std::optional<std::vector<wire::changed_run>>>>
sender_session::ask_changed(stream_position after) {
    wire::changed_request m;
    m.after = after;
    changed_.emplace();
    FS_CO_CHECK(co_await send_control(m));
    while (live() && !changed_->complete) {
        co_await ready_.wait();
    }
    if (end_reason_) {
        co_return std::unexpected(*end_reason_);
    }
    changed_answer answer = std::move(*changed_);
    changed_.reset();
    if (!answer.known) {
        co_return std::nullopt;
    }
    co_return std::move(answer.runs);
}

// Nothing but an answer to what was asked, inside the volumes, within the bound.
result<> sender_session::take_changed(wire::changed_reply r) {
    if (!changed_ || changed_->complete) {
        return fail_peer(errc::corrupt, "the DR site tells what changed without having been asked");
    }
    const bool empty_and_last = r.runs.empty() && !r.more;
    if (changed_->runs.size() + r.runs.size() > limits::changed_runs_max ||
        (!r.known && !empty_and_last)) {
        return fail_peer(errc::corrupt,
                         "the DR site tells of more changes than the protocol allows");
    }
    for (const wire::changed_run &run : r.runs) {
        const std::uint64_t regions =
            run.volume < hello_.volumes.size() ? region_count(hello_.volumes[run.volume].size) : 0;
        if (run.count == 0 || run.first > regions || run.count > regions - run.first) {
            return fail_peer(errc::corrupt, "the DR site tells of changes outside a volume");
        }
    }
    changed_->known = r.known;
    changed_->runs.insert(changed_->runs.end(), r.runs.begin(), r.runs.end());
    changed_->complete = !r.more;
    ready_.notify_all();
    return {};
}

task<result<>> sender_session::ask(wire::digest_request question) {
    claims_.asked(question);
    co_return co_await send_control(std::move(question));
}
task<result<>> sender_session::ask(wire::loan_request question) {
    claims_.asked(question);
    co_return co_await send_control(std::move(question));
}

void sender_session::answer(wire::compare_reply reply) {
    if (live()) {
        claims_.answers(reply);
        tasks_.spawn(send_and_forget(std::move(reply)));
    }
}

bool sender_session::offer(wire::role_offer offer) {
    if (live()) {
        tasks_.spawn(send_and_forget(std::move(offer)));
    }
    return live();
}

void sender_session::start_sending(stream_id stream, interval_id from, std::uint32_t index) {
    claims_.sends_stream(stream);
    next_.interval = from;
    next_.index = index;
    sending_ = true;
    for (std::size_t i = 0; i < data_.size(); ++i) {
        tasks_.spawn(send_frames(i));
        tasks_.spawn(watch_data_link(i));
    }
}

void sender_session::set_paused(bool paused) {
    paused_ = paused;
    sendable_.notify_all();
}

task<result<>> sender_session::send(transport::message m) {
    if (!control_ || !live()) {
        co_return fail(errc::closed, "the session with the DR site has ended");
    }
    large_sent_ = large_sent_ || (welcomed_at_ && m.payload.size() > packet_bytes);
    auto sent = co_await control_->send(std::move(m));
    if (!sent) {
        close(sent.error());
    }
    co_return sent;
}

// The next frame to send, in order over all data links; nothing when the session ends.
task<std::optional<buffer>> sender_session::next_frame() {
    while (live()) {
        const bool window_open = unacknowledged_bytes() < window_bytes_;
        if (paused_ || next_.loading || !window_open) {
            co_await sendable_.wait();
            continue;
        }
        if (!next_.frames) {
            if (!held_.find(next_.interval)) {
                co_await sendable_.wait();
                continue;
            }
            next_.loading = true;
            auto loaded = co_await run_on(run_.disk, [this] { return held_.load(next_.interval); });
            next_.loading = false;
            sendable_.notify_all();
            if (!loaded) {
                close(loaded.error());
                if (held_.find(next_.interval)) { // else it was dropped meanwhile
                    calls_.on_unreadable(loaded.error());
                }
                break;
            }
            next_.frames = std::move(*loaded);
            if (next_.index >= next_.frames->size()) {
                close(
                    fail_peer(
                        errc::corrupt,
                        fmt::format(
                            "the DR site's welcome.partial_index is {}; interval {} has {} frames",
                            next_.index, next_.interval.value, next_.frames->size()))
                        .error());
                break;
            }
            continue;
        }
        buffer frame = buffer::copy_of((*next_.frames)[next_.index].view());
        claims_.sent_bytes(frame_window_bytes(frame.size()));
        if (++next_.index == next_.frames->size()) {
            claims_.sent_through(next_.interval);
            next_.frames.reset();
            next_.index = 0;
            next_.interval = next(next_.interval);
        }
        co_return frame;
    }
    co_return std::nullopt;
}

task<void> sender_session::send_frames(std::size_t index) {
    while (auto frame = co_await next_frame()) {
        transport::message m;
        m.type = static_cast<std::uint16_t>(wire::message_type::frame);
        m.payload = std::move(*frame);
        if (auto sent = co_await data_[index]->send(std::move(m)); !sent) {
            close(sent.error());
        }
    }
}

// The receiver never speaks on a data link; its end is all there is to hear.
task<void> sender_session::watch_data_link(std::size_t index) {
    auto got = co_await data_[index]->receive();
    close(got ? error{make_error_code(errc::corrupt), "the DR site spoke on a data connection",
                      fault::peer}
              : got.error());
}

result<> sender_session::dispatch(const transport::message &m) {
    const bytes_view body = m.payload.view();
    switch (static_cast<wire::message_type>(m.type)) {
    case wire::message_type::ack: {
        FS_TRY(ack, wire::parse<wire::ack>(body));
        FS_CHECK(claims_.take(ack));
        calls_.on_ack(ack);
        sendable_.notify_all();
        return {};
    }
    case wire::message_type::stream_ready: {
        FS_TRY(ready, wire::parse<wire::stream_ready>(body));
        FS_CHECK(claims_.answered(ready));
        ready_stream_ = ready.stream;
        ready_.notify_all();
        return {};
    }
    case wire::message_type::changed_reply: {
        FS_TRY(reply, wire::parse<wire::changed_reply>(body));
        return take_changed(std::move(reply));
    }
    case wire::message_type::extent_reply: {
        FS_TRY(reply, wire::parse<wire::extent_reply>(body));
        return calls_.on_extents(reply);
    }
    case wire::message_type::digest_reply: {
        FS_TRY(reply, wire::parse<wire::digest_reply>(body));
        FS_CHECK(claims_.answered(reply));
        moved_ = true;
        calls_.on_digests(std::move(reply));
        return {};
    }
    case wire::message_type::loan_reply: {
        FS_TRY(reply, wire::parse<wire::loan_reply>(body));
        FS_CHECK(claims_.answered(reply));
        calls_.on_loans(reply);
        return {};
    }
    case wire::message_type::verify_result: {
        FS_TRY(verified, wire::parse<wire::verify_result>(body));
        moved_ = true;
        return calls_.on_verify(verified);
    }
    case wire::message_type::notice: {
        FS_TRY(notice, wire::parse<wire::notice>(body));
        calls_.on_notice(notice);
        return {};
    }
    case wire::message_type::compare_request: {
        FS_TRY(request, wire::parse<wire::compare_request>(body));
        FS_CHECK(claims_.may_ask(request, (hello_.features_offered & wire::feature_compare) != 0));
        calls_.on_compare(request);
        return {};
    }
    case wire::message_type::refusal: {
        FS_TRY(refusal, wire::parse<wire::refusal>(body));
        return std::unexpected(error_of(refusal));
    }
    case wire::message_type::heartbeat: {
        FS_TRY(beat, wire::parse<wire::heartbeat>(body));
        return calls_.on_clock(beat.clock_ms);
    }
    case wire::message_type::hello:
    case wire::message_type::welcome:
    case wire::message_type::frame:
    case wire::message_type::begin_stream:
    case wire::message_type::digest_request:
    case wire::message_type::extent_request:
    case wire::message_type::loan_request:
    case wire::message_type::changed_request:
    case wire::message_type::compare_reply:
    case wire::message_type::join_request:
    case wire::message_type::join_reply:
    case wire::message_type::site_claim:
    case wire::message_type::role_offer:
    case wire::message_type::nak: // take_nak()
        break;
    }
    return fail_peer(
        errc::corrupt,
        fmt::format("the DR site sent a message of type {} that has no place here", m.type));
}

// What it names becomes dirty, which may wait for a disk: what the DR site says after it is heard
// after that.
task<result<>> sender_session::take_nak(const transport::message &m) {
    FS_CO_TRY(nak, wire::parse<wire::nak>(m.payload.view()));
    FS_CO_CHECK(claims_.take(nak));
    co_await calls_.on_nak(std::move(nak));
    co_return result<>{};
}

task<void> sender_session::read_control() {
    while (live()) {
        auto got = co_await control_->receive();
        if (!got) {
            close(got.error());
            break;
        }
        heard_ = run_.time->now();
        const bool nak = got->type == static_cast<std::uint16_t>(wire::message_type::nak);
        const result<> done = nak ? co_await take_nak(*got) : dispatch(*got);
        if (!done) {
            close(in_words(done.error()));
        }
    }
}

task<void> sender_session::beat() {
    while (live()) {
        co_await ended_.wait_until(*run_.time, next_tick(run_.time->now(), heartbeat_interval));
        if (!live()) {
            break;
        }
        if (const std::uint64_t bytes = control_->wire().received; bytes != heard_bytes_) {
            heard_bytes_ = bytes; // a long message may still be on its way
            heard_ = run_.time->now();
        }
        if (run_.time->now() - heard_ > peer_silence_max) {
            close({make_error_code(errc::timeout),
                   fmt::format("nothing heard from the DR site for {:.0f} s",
                               seconds_of(peer_silence_max))});
            break;
        }
        wire::heartbeat m;
        m.covered = calls_.covered().value;
        m.clock_ms = clock_ms_of(run_.time->wall());
        if (auto sent = co_await send_control(m); !sent) {
            break;
        }
    }
}

task<error> sender_session::ended() {
    while (live()) {
        co_await ended_.wait();
    }
    co_return *end_reason_;
}

void sender_session::close(error reason) {
    if (end_reason_) {
        return;
    }
    end_reason_ = std::move(reason);
    if (control_) {
        control_->close();
    }
    for (auto &link : data_) {
        link->close();
    }
    ended_.notify_all();
    sendable_.notify_all();
    ready_.notify_all();
}

task<void> sender_session::join() { co_await tasks_.join(); }

std::uint64_t sender_session::wire_bytes() const {
    std::uint64_t sum = 0;
    if (control_) {
        sum += control_->wire().sent + control_->wire().received;
    }
    for (const auto &link : data_) {
        sum += link->wire().sent + link->wire().received;
    }
    return sum;
}

} // namespace farshore
