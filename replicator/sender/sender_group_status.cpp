// What a group at the primary says of itself.

#include "replicator/sender/sender_group.hpp"
#include "replicator/sender/sender_state.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

constexpr std::size_t unreadable_shown_max = 16; ///< ranges of a volume

std::string unreadable_text(const std::vector<volume_status> &volumes) {
    std::string text;
    for (const volume_status &v : volumes) {
        if (v.unreadable_bytes > 0) {
            text += fmt::format("{}volume {} can't be read at offset {} ({} bytes in all): points "
                                "hold older content there until it is overwritten or can be read",
                                text.empty() ? "" : "; ", v.name, v.unreadable.front().offset,
                                v.unreadable_bytes);
        }
    }
    return text;
}

} // namespace

// Bytes that clients wrote and that the DR site does not durably hold. Nothing else is in it:
// neither what memory or the spool take, nor what goes over the line. What was written over several
// times counts each time, up to the volumes' size. Without an unbroken order only regions are
// known: all of each that may lack something.
std::uint64_t sender_group::bytes_at_risk() const {
    const capture_group &capture = stream_->capture();
    std::uint64_t dirty = 0, size = 0;
    for (std::size_t i = 0; i < capture.volume_count(); ++i) {
        const volume_index v{static_cast<std::uint16_t>(i)};
        dirty += capture.dirty_bytes(v);
        size += capture.volume_size(v);
    }
    if (site_->order() != stream_order::kept) {
        return dirty;
    }
    const std::uint64_t held = site_->ledger().bytes_not_durable(stream_->ledger());
    return std::min(held + capture.counts().open_written_bytes, size);
}

sender_state sender_group::state() const {
    const spool_use held = stream_->held().use();
    sender_state_facts f;
    f.failed = upkeep_->disturbed().has_value();
    f.role = role_.kept != nullptr ? (*role_.kept)->state.role : site_role::serving;
    f.paired = site_->known();
    f.paused = settings_->paused;
    f.recording = site_->order() != stream_order::lost;
    f.connected = site_->connected();
    f.ever_consistent = settings_->ever_consistent;
    f.consistent = site_->in_sync();
    f.backlog_on_disk = held.bytes > held.memory_bytes;
    return state_of(f);
}

void sender_group::describe_lag(sender_group_status &s) const {
    const stream_ledger &stream = stream_->ledger();
    const site_ledger &site = site_->ledger();
    if (site_->order() == stream_order::kept) {
        const auto oldest = stream_->oldest_unsafe_write();
        s.lag_seconds = oldest ? std::max(0.0, seconds_of(run_.time->now() - *oldest)) : 0;
    } else {
        // Order is lost or not yet made: the DR site is as old as its newest point.
        const wall_time since = site.durable_point_time().value_or(started_);
        s.lag_seconds = std::max(0.0, seconds_of(run_.time->wall() - since));
    }
    s.lag_bytes = bytes_at_risk();
    s.lag_intervals = site.not_durable(stream) + (stream_->capture().counts().open_since ? 1 : 0);
    if (stream.last_cut().time != wall_time{}) {
        s.last_barrier = stream.last_cut();
    }
    if (site.durable_barrier().id.value != 0) {
        s.durable_barrier = site.durable_barrier();
    }
}

void sender_group::describe_sync(sender_group_status &s) const {
    if (site_->order() != stream_order::making) {
        return;
    }
    const std::uint64_t pending = stream_->capture().pending_bytes();
    s.sync_total_bytes = site_->sync().total_bytes;
    s.sync_done_bytes = s.sync_total_bytes - std::min(s.sync_total_bytes, pending);
    const double seconds = seconds_of(run_.time->now() - site_->sync().began);
    if (seconds > 0.5 && s.sync_done_bytes > 0) {
        s.sync_bytes_per_second = static_cast<double>(s.sync_done_bytes) / seconds;
        s.sync_eta_seconds = static_cast<double>(pending) / s.sync_bytes_per_second;
    }
}

void sender_group::describe_volumes(sender_group_status &s) const {
    const capture_group &capture = stream_->capture();
    for (std::size_t i = 0; i < options_.config.volumes.size(); ++i) {
        const volume_index v{static_cast<std::uint16_t>(i)};
        s.volumes.push_back({options_.config.volumes[i].name, capture.volume_size(v),
                             capture.dirty_bytes(v), capture.unreadable(v, unreadable_shown_max),
                             capture.unreadable_bytes(v)});
    }
}

// What to do about a lost order is still there when the line is down as well.
std::optional<std::string> sender_group::trouble(const sender_group_status &s) const {
    if (upkeep_->disturbed()) {
        return upkeep_->disturbed();
    }
    std::string text;
    const auto say = [&text](const std::optional<std::string> &what) {
        if (what && !what->empty()) {
            text += (text.empty() ? "" : "; ") + *what;
        }
    };
    if (role_.awaits_contact) {
        say("clients wait until the DR site was heard, which may have been promoted (start = "
            "\"after-contact\"); `farshore promote --force` here serves them without it");
    }
    if (!stream_->ledger().recorded()) {
        say(order_lost_);
    }
    say(site_->compared());
    say(site_->trouble());
    say(unreadable_text(s.volumes));
    return text.empty() ? std::nullopt : std::optional(text);
}

sender_group_status sender_group::status() const {
    sender_group_status s;
    s.name = name();
    s.peer = site_->address();
    s.connected = site_->connected();
    s.state = state();
    s.role.serves = role_.gate->open();
    s.role.generation = role_.kept != nullptr ? generation_of((*role_.kept)->state) : std::nullopt;
    describe_lag(s);
    s.bytes_written = stream_->capture().counts().written_bytes;
    s.bytes_folded = stream_->counts().folded_bytes;
    s.bytes_encoded = stream_->counts().encoded_bytes;
    s.encoder_faults = stream_->counts().encoder_faults;
    s.bytes_wire = site_->wire_bytes();
    describe_sync(s);
    const throttle_view limit = view_of(settings_->throttle, run_.time->wall());
    s.limit_bytes_per_second = limit.rate;
    s.limit_source = limit.source;
    s.limit_until = limit.until;
    s.spool_used_bytes = stream_->held().use().disk_bytes;
    s.spool_limit_bytes = options_.config.spool_bytes_max;
    describe_volumes(s);
    if (const auto skew = site_->clock_warning()) {
        s.warnings.push_back(*skew);
    }
    if (scheduled_->trouble()) {
        s.warnings.push_back(*scheduled_->trouble());
    }
    s.error = trouble(s);
    return s;
}

peer_status sender_group::peer() const {
    return {name(), site_->address(), site_->peer() ? site_->peer()->fingerprint : "",
            site_->connected()};
}

} // namespace farshore
