#include "replicator/session/handshake.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {

const char *name_of(sender_decision d) {
    switch (d) {
    case sender_decision::resume:
        return "resume";
    case sender_decision::restart:
        return "restart";
    case sender_decision::catch_up:
        return "catch_up";
    case sender_decision::compare_changed:
        return "compare_changed";
    case sender_decision::compare_all:
        return "compare_all";
    }
    return "?";
}

namespace {

interval_id first_of_new_stream(const sender_facts &mine, const wire::welcome &theirs) {
    return next(std::max({mine.last_used, theirs.durable.interval, theirs.applied.interval,
                          theirs.partial.interval, mine.acknowledged.interval}));
}

/// The copy has what this side can't have sent, as far as it remembers.
bool ahead(const sender_facts &mine, stream_position theirs) {
    if (theirs == mine.acknowledged) {
        return false;
    }
    return !mine.exact || theirs.stream != mine.begun || theirs.interval > mine.sent;
}

} // namespace

sender_plan plan_session(const sender_facts &mine, const wire::welcome &theirs) {
    sender_plan plan;
    plan.first = first_of_new_stream(mine, theirs);
    const auto decide = [&plan](sender_decision d, const char *reason) {
        plan.decision = d;
        plan.reason = reason;
        return plan;
    };
    const bool something_acknowledged = mine.acknowledged.interval.value != 0;
    if (theirs.receiver != mine.receiver &&
        (something_acknowledged || mine.receiver != wire::id16{})) {
        return decide(sender_decision::compare_all,
                      "the DR site's copy is another one than before");
    }
    if (theirs.durable.interval < mine.acknowledged.interval) {
        plan.copy_went_back = true;
        return decide(sender_decision::compare_all,
                      "the DR site's copy is older than what it had acknowledged");
    }
    if (theirs.damaged && theirs.damage_count > mine.damage_known) {
        return decide(sender_decision::compare_all,
                      "the DR site found its copy changed behind its back");
    }
    if (ahead(mine, theirs.durable)) {
        const bool remembers = mine.begun.value != 0; // else state is new, or was lost
        plan.put_back = remembers && (theirs.durable.stream != mine.begun ||
                                      theirs.durable.interval > mine.sent);
        return decide(sender_decision::compare_changed,
                      plan.put_back
                          ? "the DR site's copy is ahead of what this primary remembers: volumes "
                            "and state were "
                            "put back to an older time, or a clone of this primary ran meanwhile"
                          : "what the DR site got last may not be known here; it is compared too");
    }
    if (theirs.damaged) {
        return decide(sender_decision::catch_up, "blocks damaged at the DR site are repaired");
    }
    if (!mine.recording) {
        return decide(sender_decision::catch_up,
                      something_acknowledged
                          ? "only which regions changed is known; they are compared"
                          : "the first copy is made");
    }
    const interval_id after_theirs = next(theirs.durable.interval);
    if (theirs.durable.stream == mine.stream) {
        if (mine.first_held && *mine.first_held <= after_theirs) {
            plan.from = after_theirs;
            if (theirs.partial.stream == mine.stream && theirs.partial.interval == after_theirs) {
                plan.index = theirs.partial_index;
            }
            return decide(sender_decision::resume, "the stream goes on where the DR site is");
        }
    } else if (!mine.acked_in_stream && mine.first_held &&
               *mine.first_held > theirs.durable.interval) {
        plan.from = *mine.first_held;
        return decide(sender_decision::restart, "the DR site has nothing of this stream yet");
    }
    return decide(sender_decision::catch_up, "the intervals after the DR site's position are gone");
}

namespace {

std::string volume_difference(const std::vector<wire::volume_entry> &mine,
                              const std::vector<wire::volume_entry> &theirs) {
    for (const wire::volume_entry &v : theirs) {
        const auto at = std::ranges::find(mine, v.name, &wire::volume_entry::name);
        if (at == mine.end()) {
            return fmt::format("volume \"{}\" of the primary has no copy at the DR site", v.name);
        }
        if (at->size != v.size) {
            return fmt::format("volume \"{}\" has {} bytes at the primary and {} at the DR site",
                               v.name, v.size, at->size);
        }
    }
    for (const wire::volume_entry &v : mine) {
        if (std::ranges::find(theirs, v.name, &wire::volume_entry::name) == theirs.end()) {
            return fmt::format(
                "the DR site's copy has a volume \"{}\" that the primary does not serve", v.name);
        }
    }
    return "the volumes stand in another order than at the DR site";
}

hello_verdict refuse(wire::refusal_code code, std::string text) {
    hello_verdict v;
    v.code = code;
    v.text = std::move(text);
    return v;
}

} // namespace

hello_verdict judge_hello(const receiver_facts &mine, const wire::hello &theirs) {
    if (theirs.version_min > wire::protocol_version ||
        theirs.version_max < wire::protocol_version) {
        return refuse(
            wire::refusal_code::version,
            fmt::format("the sender speaks protocol versions {} to {}, this receiver speaks {}; "
                        "upgrade the older side",
                        theirs.version_min, theirs.version_max, wire::protocol_version));
    }
    if ((theirs.features_required & ~wire::features_known) != 0) {
        return refuse(
            wire::refusal_code::version,
            fmt::format("the sender requires features {:#x} that this receiver does not know; "
                        "upgrade the receiver",
                        theirs.features_required & ~wire::features_known));
    }
    // An unknown group and a group of somebody else look the same to a stranger.
    if (!mine.group_configured || !mine.pinned) {
        return refuse(
            wire::refusal_code::not_paired,
            fmt::format("this sender is not paired for group \"{}\" at this receiver; run "
                        "`farshore invite {}` there and `farshore join TOKEN` here",
                        theirs.group, theirs.group));
    }
    if (mine.failed) {
        return refuse(wire::refusal_code::failed,
                      "the group failed at the DR site; see `farshore status` there");
    }
    const bool same_sender =
        mine.session_sender == theirs.sender && mine.session_instance == theirs.instance;
    if (mine.session_alive && !same_sender) {
        return refuse(
            wire::refusal_code::busy,
            fmt::format("another sender is connected for group \"{}\"; two senders of one group "
                        "would mix their writes. Stop the one that should not run",
                        theirs.group));
    }
    if (mine.has_copy && mine.volumes != theirs.volumes) {
        return refuse(wire::refusal_code::volumes, volume_difference(mine.volumes, theirs.volumes));
    }
    if (theirs.volumes.empty()) {
        return refuse(wire::refusal_code::protocol, "the sender named no volumes");
    }
    hello_verdict v;
    v.accept = true;
    v.replaces_session = mine.session_alive;
    v.creates_copy = !mine.has_copy;
    return v;
}

} // namespace farshore
