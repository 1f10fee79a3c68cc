#pragma once
// Who may stand at the door of a listener, before anybody has proved who it is. Pure.
//
//   accept -> lobby: no byte has come; costs a descriptor. At most lobby_max; when it is full the newest that had
//             time to speak and didn't gives way. A TLS client speaks first: an honest one leaves at once.
//          -> place: a byte has come; costs a TLS session. At most sessions_unauthenticated_max, of which one source
//             (an IPv4 address, an IPv6 /64) has at most source_places_max; when all are taken, one whose handshake
//             takes unduly long gives way.
//
// Known sources (where a paired peer last came from) are exempt from the share of a source, go
// before others, and never give way to somebody unknown: strangers can delay each other, and no
// paired peer.

#include "replicator/base/clock.hpp"
#include "replicator/base/limits.hpp"

#include <optional>
#include <span>
#include <string>

namespace farshore::transport {

constexpr std::size_t lobby_max = 256;
constexpr std::size_t source_places_max = limits::sessions_unauthenticated_max / 4;
/// Somebody honest has spoken by then, once it is accepted.
constexpr duration speak_within = std::chrono::milliseconds(20);

struct guest_facts {
    std::string source;
    bool known = false;
    bool leaving = false; ///< was told to give way
    time_point since{};
};

/// "192.0.2.7" as it is, an IPv6 address as its /64. `host`: an address as text.
inline std::string source_of(const std::string &host) {
    if (host.find(':') == std::string::npos) {
        return host;
    }
    if (const auto v4 = host.rfind("::ffff:"); v4 == 0) {
        return host.substr(7);
    }
    std::string out;
    std::size_t groups = 0;
    for (std::size_t i = 0; i < host.size() && groups < 4; ++i) {
        if (host[i] == ':' && (++groups == 4 || (i + 1 < host.size() && host[i + 1] == ':'))) {
            break;
        }
        out += host[i];
    }
    return out + "::/64";
}

/// Who leaves a full lobby (in order of arrival); nothing: there is room.
inline std::optional<std::size_t> leaves_lobby(std::span<const guest_facts> silent,
                                               time_point now) {
    std::optional<std::size_t> victim;
    std::size_t there = 0;
    for (std::size_t i = 0; i < silent.size(); ++i) {
        there += silent[i].leaving ? 0 : 1;
        if (!silent[i].leaving && !silent[i].known &&
            (!victim || now - silent[i].since >= speak_within)) {
            victim = i; // the first one, if nobody had time to speak yet
        }
    }
    return there >= lobby_max ? victim : std::nullopt;
}

struct place_verdict {
    bool enter = false;
    std::optional<std::size_t> gives_way; ///< index; then wait until it left
};

/// Whether somebody who has spoken gets a place. `guests` in order of arrival; `patience`: for
/// their handshakes.
inline place_verdict judge_place(std::span<const guest_facts> guests, const guest_facts &who,
                                 bool known_waits, time_point now, duration patience) {
    std::size_t there = 0;
    std::size_t of_source = 0;
    std::optional<std::size_t> late;        // the oldest stranger beyond patience
    std::optional<std::size_t> late_source; // ... of this source
    std::optional<std::size_t> late_known;
    bool one_leaves = false;
    for (std::size_t i = 0; i < guests.size(); ++i) {
        const guest_facts &g = guests[i];
        ++there;
        one_leaves = one_leaves || g.leaving;
        const bool same = g.source == who.source;
        of_source += same && !g.leaving ? 1 : 0;
        if (g.leaving || now - g.since < patience) {
            continue;
        }
        if (g.known) {
            late_known = late_known ? late_known : i;
        } else {
            late = late ? late : i;
            late_source = late_source || !same ? late_source : i;
        }
    }
    if (!who.known && (known_waits || of_source >= source_places_max)) {
        return {false, of_source >= source_places_max ? late_source : std::nullopt};
    }
    if (there < limits::sessions_unauthenticated_max) {
        return {true, std::nullopt};
    }
    if (one_leaves) {
        return {};
    }
    if (who.known && !late) { // does not wait for a stranger's handshake
        for (std::size_t i = guests.size(); i-- > 0;) {
            if (!guests[i].known) {
                return {false, i};
            }
        }
        return {false, late_known};
    }
    return {false, late};
}

} // namespace farshore::transport
