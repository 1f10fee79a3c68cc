#pragma once
// What a failure leads to, by whose fault it is (fault in base/error.hpp): the one place that
// decides it.

#include "replicator/base/error.hpp"

#include <cerrno>
#include <cstdint>

namespace farshore {

enum class reaction : std::uint8_t {
    /// The peer is told why, the sender connects again; copy, points and volumes are as before.
    end_session,
    /// Storage: the session ends with its words, the copy is opened anew.
    reopen_copy,
    /// Storage without room: the session ends with its words; what is there stays, and goes on with
    /// room.
    await_space,
    /// A part of a volume's disk: it stays to be done, named in `status`; the rest goes on.
    keep_pending,
};

/// Only storage reopens a copy; only the line or a peer that broke a rule ends a session by itself;
/// a part of a volume's disk ends nothing. What nobody named is taken for the line: a new session
/// is the mildest way out.
constexpr reaction reaction_to(fault whose, bool wants_space) {
    switch (whose) {
    case fault::unsaid:
    case fault::line:
    case fault::peer:
        return reaction::end_session;
    case fault::storage:
        return wants_space ? reaction::await_space : reaction::reopen_copy;
    case fault::volume:
        return reaction::keep_pending;
    }
    return reaction::end_session;
}
inline reaction reaction_to(const error &e) {
    return reaction_to(e.whose, is(e, errc::full) || is_errno(e, ENOSPC));
}

} // namespace farshore
