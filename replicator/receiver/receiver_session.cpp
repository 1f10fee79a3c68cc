#include "replicator/receiver/receiver_session.hpp"

#include "dedupe/digest.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "replicator/session/heartbeat.hpp"
#include "replicator/session/peer_claims.hpp"

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

receiver_session::receiver_session(receiver_group &group, runtime run,
                                   std::unique_ptr<transport::link> control, wire::hello hello,
                                   std::uint64_t window_bytes)
    : group_(group), run_(std::move(run)), control_(std::move(control)), hello_(std::move(hello)),
      window_bytes_(window_bytes), assembly_(window_bytes), tasks_(run_.home) {
    heard_ = run_.time->now();
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
    if (closed_) {
        return;
    }
    closed_ = true;
    group_.tell(log::level::info,
                fmt::format("the session with {} ended: {}", control_->peer_address(), why), why);
    control_->close();
    for (auto &link : data_) {
        link->close();
    }
    frames_.notify_all();
    digests_wanted_.notify_all();
    loans_wanted_.notify_all();
    quiet_.notify_all();
    ended_.notify_all();
}

task<void> receiver_session::refuse(wire::refusal_code code, std::string text) {
    if (!live()) {
        co_return;
    }
    if (!std::exchange(refusing_, true)) {
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
    if (live() && !refusing_) {
        tasks_.spawn(refuse(code, std::move(text)));
    }
}

namespace {

template <class Message>
task<void> tell(std::shared_ptr<receiver_session> session, Message m) {
    co_await session->send(std::move(m));
}

} // namespace

void receiver_session::tell_soon(std::string text) {
    constexpr std::size_t notice_bytes_max = 4096;
    wire::notice n;
    n.text = text.substr(0, notice_bytes_max);
    if (live()) {
        tasks_.spawn(tell(group_.session_, std::move(n)));
    }
}

void receiver_session::tell_soon(wire::nak n) {
    if (live()) {
        tasks_.spawn(tell(group_.session_, std::move(n)));
    }
}

void receiver_session::peer_broke(const error &rule) {
    if (live() && !refusing_) {
        group_.note_peer_fault(rule);
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
        co_await group_.send_ack();
    }
    acking_ = false;
}

task<void> receiver_session::serve(wire::welcome welcome) {
    const stream_position begin =
        welcome.partial.interval.value != 0
            ? welcome.partial
            : stream_position{welcome.durable.stream, next(welcome.durable.interval)};
    assembly_.expect(begin, welcome.partial.interval.value != 0 ? welcome.partial_index : 0);
    if (co_await send(std::move(welcome))) {
        tasks_.spawn(read_control());
        tasks_.spawn(beat());
        tasks_.spawn(journal_loop());
        tasks_.spawn(digest_loop());
        tasks_.spawn(loan_loop());
        group_.tell_sender();
        while (live()) {
            co_await ended_.wait();
        }
    }
    close("it could not be greeted");
    co_await tasks_.join();
}

void receiver_session::add_data_link(std::unique_ptr<transport::link> link) {
    if (!live() || data_.size() >= limits::data_links_max) {
        link->close();
        return;
    }
    data_.push_back(std::move(link));
    // The sender counts a frame as sent before it is on a link, so a frame of each link may be
    // beyond.
    assembly_.set_bytes_max(window_bytes_ + (data_.size() + 1) * limits::frame_payload_bytes_max);
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
            group_.react(done.error());
            break;
        }
    }
}

std::vector<std::uint64_t> receiver_session::volume_sizes() const {
    std::vector<std::uint64_t> sizes;
    if (const auto copy = group_.copy_) {
        for (const replica_volume &v : copy->volumes()) {
            sizes.push_back(v.size);
        }
    }
    return sizes;
}

task<result<>> receiver_session::dispatch(transport::message m) {
    constexpr std::size_t digest_requests_max = 256;
    constexpr std::size_t loan_requests_max =
        limits::interval_entries_max / limits::loan_blocks_max + 64;
    const auto type = static_cast<wire::message_type>(m.type);
    if (type == wire::message_type::heartbeat) {
        FS_CO_TRY(beat, wire::parse<wire::heartbeat>(m.payload.view()));
        co_return group_.clock_.heard(beat.clock_ms, run_.time->wall());
    }
    if (type == wire::message_type::begin_stream) {
        FS_CO_TRY(begin, wire::parse<wire::begin_stream>(m.payload.view()));
        co_return co_await begin_stream(begin);
    }
    if (type == wire::message_type::digest_request) {
        FS_CO_TRY(request, wire::parse<wire::digest_request>(m.payload.view()));
        FS_CO_CHECK(check_digest_request(request, volume_sizes()));
        if (questions_.size() >= digest_requests_max) {
            co_return fail_peer(
                errc::limit,
                fmt::format("more than {} digest requests without an answer", digest_requests_max));
        }
        questions_.push_back(std::move(request));
        digests_wanted_.notify_all();
        co_return result<>{};
    }
    if (type == wire::message_type::extent_request) {
        FS_CO_TRY(request, wire::parse<wire::extent_request>(m.payload.view()));
        if (questions_.size() >= digest_requests_max) {
            co_return fail_peer(errc::limit, "too many questions about the copy at a time");
        }
        questions_.push_back(std::move(request));
        digests_wanted_.notify_all();
        co_return result<>{};
    }
    if (type == wire::message_type::changed_request) {
        FS_CO_TRY(request, wire::parse<wire::changed_request>(m.payload.view()));
        const interval_id durable =
            group_.copy_ ? group_.copy_->position().durable.interval : interval_id{};
        if (group_.copy_ && request.after.interval > durable) {
            co_return fail_peer(
                errc::corrupt,
                fmt::format("changed_request.after is interval {}; {} is durable here",
                            request.after.interval.value, durable.value));
        }
        if (std::exchange(telling_, true)) {
            co_return fail_peer(errc::limit, "asked for what changed while that is being told");
        }
        tasks_.spawn(tell_changed(request));
        co_return result<>{};
    }
    if (type == wire::message_type::loan_request) {
        FS_CO_TRY(request, wire::parse<wire::loan_request>(m.payload.view()));
        if (loans_.size() >= loan_requests_max) {
            co_return fail_peer(
                errc::limit,
                fmt::format("more than {} loan requests without an answer", loan_requests_max));
        }
        FS_CO_CHECK(check_loan_request(request, assembly_.next_interval()));
        loans_.push_back(std::move(request));
        loans_wanted_.notify_all();
        co_return result<>{};
    }
    co_return fail_peer(errc::corrupt,
                        fmt::format("a message of type {} that has no place here", m.type));
}

task<result<>> receiver_session::begin_stream(wire::begin_stream m) {
    const auto copy = group_.copy_;
    if (m.copy_went_back && copy) {
        FS_CO_CHECK(check_begin_stream(m, copy->position().durable));
        FS_CO_CHECK(co_await suspect_durably(copy));
    }
    while (journaling_ && live()) {
        co_await quiet_.wait();
    }
    if (!live() || !copy) {
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
task<result<>> receiver_session::suspect_durably(std::shared_ptr<replica_group> copy) {
    const time_point until = run_.time->now() + suspicion_patience;
    for (copy->suspect_unproved(); live() && !copy->suspicion_durable(); copy->suspect_unproved()) {
        if (run_.time->now() >= until || group_.copy_ != copy) {
            co_return fail(errc::timeout,
                           "that the copy's points are suspect is not written down yet");
        }
        group_.work_.notify_all();
        co_await group_.applied_.wait_until(
            *run_.time, std::min(until, run_.time->now() + std::chrono::seconds(1)));
    }
    co_return result<>{};
}

task<void> receiver_session::beat() {
    std::uint64_t count = 0;
    while (live()) {
        co_await ended_.wait_until(*run_.time, run_.time->now() + heartbeat_interval);
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
        m.count = ++count;
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
    const auto copy = group_.copy_;
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
    if (batch->empty() || !copy) {
        co_return result<>{};
    }
    journaling_ = true;
    const wall_time now = barrier_seen ? group_.stamp() : run_.time->wall();
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
    group_.work_.notify_all();
    co_await group_.send_ack();
    co_return result<>{};
}

task<void> receiver_session::journal_loop() {
    while (live()) {
        const std::uint64_t before = journaled_bytes_;
        if (auto done = co_await journal_ready(); !done) {
            group_.react(done.error());
            break;
        }
        if (journaled_bytes_ == before && live()) {
            co_await frames_.wait();
        }
    }
}

// Digests are of the copy with every interval applied that was durable when the request came: the
// sender asks only about regions that no interval of its stream touches, so the answer can't be
// overtaken.
task<result<wire::digest_reply>> receiver_session::digest(wire::digest_request r) {
    const auto copy = group_.copy_;
    if (!copy) {
        co_return fail(errc::closed, "the copy is being opened");
    }
    const std::uint64_t units =
        units_of(r); // its ranges lie in their volumes (check_digest_request)
    co_await copy_as_durable();
    auto reply = co_await run_on(
        run_.disk,
        [copy, r = std::move(r), units, key = group_.digest_key_]() -> result<wire::digest_reply> {
            wire::digest_reply out;
            out.id = r.id;
            out.zero_bits.resize(ceil_div(units, 8));
            dedupe::digester digester(key);
            buffer content(limits::MiB);
            std::uint64_t unit = 0;
            for (const wire::digest_range &d : r.ranges) {
                const volume_index v{static_cast<std::uint16_t>(d.volume)};
                FS_TRY(data, copy->next_data(v, d.offset));
                const bool hole = data.length == 0 || data.offset >= d.offset + d.length;
                if (!hole) {
                    FS_CHECK(copy->read_replica(v, {d.offset, d.length},
                                                content.span().first(d.length)));
                }
                for (std::uint64_t at = 0; at < d.length; at += r.unit, ++unit) {
                    const std::uint64_t length = std::min(r.unit, d.length - at);
                    const dedupe::range_digest g =
                        hole ? dedupe::range_digest{}
                             : digester.of(content.view().subspan(at, length));
                    if (g.is_zero_content()) {
                        out.zero_bits[unit / 8] |=
                            std::byte{static_cast<std::uint8_t>(1U << (unit % 8))};
                    } else {
                        out.digests.insert(out.digests.end(), g.bytes.begin(), g.bytes.end());
                    }
                }
            }
            return out;
        });
    co_return blame(fault::storage, std::move(reply));
}

task<result<>> receiver_session::answer(wire::digest_request r) {
    FS_CO_TRY(reply, co_await digest(std::move(r)));
    co_return co_await send(std::move(reply));
}

task<void> receiver_session::digest_loop() {
    while (live()) {
        if (questions_.empty()) {
            co_await digests_wanted_.wait();
            continue;
        }
        auto question = std::move(questions_.front());
        questions_.pop_front();
        const bool digests = std::holds_alternative<wire::digest_request>(question);
        const auto done =
            digests ? co_await answer(std::get<wire::digest_request>(std::move(question)))
                    : co_await answer(std::get<wire::extent_request>(std::move(question)));
        if (!done && live()) {
            group_.react(done.error());
        }
        if (!done) {
            break;
        }
    }
}

} // namespace farshore
