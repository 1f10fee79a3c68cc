// Rehearsals through a simulated life: a writable copy is opened for one, written to, its result
// noted, the copy closed; the receiver is killed between any two of these. A result that was noted
// is in the record for good, whatever becomes of its point; no copy outlives the receiver; and what
// the record says of the exposure is no more than time that passed. A third of the seeds has them,
// with dice of their own. That the primary's replica does not notice is for the others to judge.

#include "replicator/base/geometry.hpp"
#include "tests/sim/two_sites.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore::sim {

std::uint64_t two_sites::roll_rehearsals(std::uint64_t n) { return rehearsal_dice_() % n; }

void two_sites::rehearsal_step() {
    if (options_.seed % 3 != 1) {
        return;
    }
    if (roll_rehearsals(8) == 0) {
        judge_record();
    }
    if (roll_rehearsals(4) == 0) {
        rehearse(groups_[roll_rehearsals(groups_.size())]);
    }
}

/// Dice at each step: it may be the last one of this receiver.
bool two_sites::rehearsal_is_cut_off() {
    if (roll_rehearsals(8) != 0) {
        return false;
    }
    say("the receiver is killed in the middle of a rehearsal");
    stop_receiver(false);
    start_receiver();
    for (const opened_point &o : receiver_->opened()) {
        if (o.id.contains("-a")) {
            throw broken_promise{"the copy of a rehearsal, " + o.id + ", outlived the receiver"};
        }
    }
    return true;
}

void two_sites::rehearse(replicated_group &g) {
    open_request wanted;
    wanted.point = "latest";
    wanted.writable = true;
    wanted.attached = true; // as open_attached has it, without a socket
    wanted.space_bytes = (1 + roll_rehearsals(100)) * block_bytes;
    const auto opened = await(receiver_->open(g.name, wanted), command_patience);
    if (!opened) {
        say("rehearsal: " + opened.error().text());
        return;
    }
    if (rehearsal_is_cut_off()) {
        return;
    }
    for (const auto &device : receiver_access::opened_devices(*receiver_, opened->id)) {
        const byte_vector data(block_bytes, std::byte{0x77});
        for (std::uint64_t n = roll_rehearsals(20); n > 0; --n) { // it may fill its space
            const std::uint64_t block = roll_rehearsals(device->size() / block_bytes);
            static_cast<void>(device->write(block * block_bytes, data, false).has_value());
        }
        static_cast<void>(device->flush().has_value());
    }
    if (rehearsal_is_cut_off()) {
        return;
    }
    test_info test;
    test.time = site_clock_.wall();
    test.name = fmt::format("t-{}", ++rehearsals_begun_);
    test.passed = roll_rehearsals(2) == 0;
    test.took = std::chrono::seconds(roll_rehearsals(100));
    test.message = "of " + opened->point;
    const auto noted = await(receiver_->note_test(g.name, opened->point, test), command_patience);
    say(fmt::format("rehearsal {} on point {} {}{}", test.name, opened->point,
                    test.passed ? "passed" : "failed", noted ? "" : ": " + noted.error().text()));
    if (noted) {
        rehearsed_.push_back({g.number, test.name, opened->point, test.passed});
    }
    if (rehearsal_is_cut_off()) {
        return;
    }
    const auto closed = await(receiver_->close(opened->id), command_patience);
    if (!closed && is(closed.error(), errc::not_found) && !site_.stopped()) {
        throw broken_promise{"the copy of a rehearsal was gone before it was closed"};
    }
}

void two_sites::judge_record() {
    for (const replicated_group &g : groups_) {
        const auto told = await(receiver_->report(g.name, wall_time{}), command_patience);
        if (!told) {
            continue; // its storage failed: others judge that
        }
        duration watched{};
        for (const exposure_hour &h : told->hours) {
            watched += h.watched;
            if (h.connected > h.watched || h.without > h.watched) {
                throw broken_promise{"an hour of the record has more than it was watched"};
            }
        }
        if (watched > clock_.now() - time_point{}) {
            throw broken_promise{fmt::format("{} was watched for longer than it lives", g.name)};
        }
        for (const known_rehearsal &known : rehearsed_) {
            if (known.group != g.number || labels_lost_) {
                continue; // a catalogue that was lost, or put back to another moment
            }
            const auto at =
                std::ranges::find(told->rehearsals, known.name, &recorded_rehearsal::name);
            if (at == told->rehearsals.end()) {
                throw broken_promise{"rehearsal " + known.name + " is not in the record any more"};
            }
            if (std::to_string(at->point.value) != known.point || at->passed != known.passed) {
                throw broken_promise{"rehearsal " + known.name + " is not as it was noted"};
            }
            ++rehearsals_judged_;
        }
    }
}

} // namespace farshore::sim
