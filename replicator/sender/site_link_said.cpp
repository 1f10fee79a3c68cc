// What a DR site says in a session: acknowledgements, and what is wrong with its copy.

#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "replicator/sender/site_link.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {

void site_link::on_ack(const wire::ack &a) {
    if (!now_.settled) { // the plan is made of what was acknowledged before
        now_.early_ack = a;
        return;
    }
    const newly_durable told =
        ledger_.take(stream_.ledger(), a.durable, a.applied, interval_id{a.point});
    if (told.advanced) {
        on_newly_durable(told, a);
    }
    if (session_ && session_->moved()) {
        words_.path.moved();
    }
    if (scan_) {
        scan_->kick();
    }
    stream_.kick();
    host_.moved();
    now_.damage_said = std::max(now_.damage_said, a.damage_count);
    look_at_damage_said();
}

void site_link::on_newly_durable(const newly_durable &told, const wire::ack &a) {
    if (told.point) {
        words_.damage.reset();
    }
    if (told.first_point) {
        log::info("group {}: in sync; the DR site follows from barrier {} on", options_.group,
                  told.first_point->id.value);
    }
    if (in_sync()) {
        words_.compared.reset();
    }
    stream_.settled_through(a.durable.interval);
    stream_.capture().durable(a.durable, receiver_);
    loans_.reached(std::max(a.durable.interval, stream_.ledger().first()));
    now_.worked = true;
    if (const auto after = words_.failures.worked(run_.time->now())) {
        log::info("group {}: the DR site takes data again{}", options_.group, *after);
    }
    static_cast<void>(words_.begins.worked(run_.time->now()));
    if (in_sync()) {
        host_.came_in_sync();
    }
}

// Counted there and told by nothing that came here, so which blocks is not known: the next welcome
// has everything compared. A verify that runs heals what it finds at its end.
void site_link::look_at_damage_said() {
    if (now_.settled && !host_.verifying() && now_.damage_said > damage_known_ &&
        session_->live()) {
        on_damage("its copy was changed by somebody else, and where is not known here",
                  damage_known_);
    }
}

void site_link::tell(wire::compare_reply reply) {
    if (session_) {
        session_->answer(std::move(reply));
    }
}

bool site_link::offer(wire::role_offer offer) {
    return session_ && session_->offer(std::move(offer));
}

void site_link::note_damage_known(std::uint64_t count) {
    damage_known_ = std::max(damage_known_, count);
}

// The DR site found blocks that are not what the stream builds on. They are dirty from here on, and
// a catch-up repairs them; its copy makes no point until then.
task<void> site_link::on_nak(wire::nak n) {
    capture_group &capture = stream_.capture();
    co_await run_on(run_.disk, [&capture, &n] {
        if (!n.complete) {
            capture.mark_all_dirty();
        }
        for (const wire::damaged_entry &b : n.blocks) { // of the group: receiver_claims looked
            const volume_index v{static_cast<std::uint16_t>(b.volume)};
            capture.mark_dirty(v, {b.block * block_bytes,
                                   bytes_in_block(block_index{b.block}, capture.volume_size(v))});
        }
        return true;
    });
    on_damage(n.complete ? fmt::format("its copy was changed by somebody else: {} block(s) did "
                                       "not match",
                                       n.blocks.size())
                         : "too many blocks of its copy did not match, or what was sent could not "
                           "be decoded there",
              n.damage_count);
}

/// What is wrong is dirty already.
void site_link::on_damage(std::string what, std::uint64_t count) {
    damage_known_ = count;
    words_.damage = fmt::format("the DR site says that {}. It is compared and repaired now; until "
                                "then its newest good point is {}",
                                what, ledger_.applied_point().value);
    log::error("group {}: {}", options_.group, *words_.damage);
    if (stream_.ledger().recorded()) {
        stream_.lose_order("");
    } else { // a stream that is about to begin would count as the repair
        restart("the DR site found damage");
    }
}

} // namespace farshore
