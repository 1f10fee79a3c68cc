#pragma once
// What a group at the DR site is doing, as a closed table: phase and event to the next phase and
// what has to be done. Pure. docs/protocol.md draws the same table, tests/lint/states.py compares
// them, and a unit test walks every pair.
//
// Two things may use an open copy besides apply: the session that feeds it, and a control link that
// is being greeted (which makes durable what was appended before it tells the position). A copy
// whose storage failed is opened anew only when neither uses it, for its locks go with its last
// user. A pair that is not in the table is a bug.

#include <array>
#include <cstdint>
#include <optional>

namespace farshore {

enum class group_phase : std::uint8_t {
    opening,         ///< at the start: its disks have not answered yet
    empty,           ///< there is no copy; the first hello makes it
    creating,        ///< a control link is greeted, and the copy is made for it
    idle,            ///< the copy is open, nobody feeds it
    greeting,        ///< a control link is greeted
    serving,         ///< a session feeds the copy, or is being ended
    replacing,       ///< a session is being ended for its sender's new control link
    failing,         ///< the storage failed; the session or greeting that uses it has to end
    failing_two,     ///< the same, with a session and the link that would have replaced it
    failed,          ///< the storage failed, nobody uses it; it is opened anew after a pause
    reopening,       ///< it is being opened anew
    turning,         ///< it is closed in order and opened for another role of this site
    stopping,        ///< nothing is taken any more; the copy is closed in order
    stopping_failed, ///< the same, and the copy is left to the next start
};

enum class group_event : std::uint8_t {
    hello,          ///< a control link whose hello is in order
    copy_opened,    ///< or made
    copy_absent,    ///< there is none
    create_failed,  ///< and nothing is there
    open_failed,    ///< something is there and can't be opened
    greeted,        ///< the position may be told
    refused,        ///< a greeting ends without a session
    session_over,   ///< nothing of it runs any more
    storage_failed, ///< not for a lack of space
    pause_over,     ///< after the failure
    turn,           ///< the role is another one
    stop,
};

enum class group_action : std::uint8_t {
    none,
    create,          ///< the copy, for the hello
    greet,           ///< sync what was appended, then the welcome
    end_session,     ///< for the new link of its sender
    serve,           ///< welcome, and a session
    refuse_failed,   ///< the link, with the storage's words
    refuse_busy,     ///< the link: another one is being greeted
    refuse_stopping, ///< the link
    tell_session,    ///< it ends with the storage's words
    tell_stop,       ///< it ends: the receiver stops
    reopen,
    resume, ///< serve the opened points again
};

struct group_step {
    group_phase next;
    group_action action;
};

struct group_case {
    group_phase phase;
    group_event event;
    group_step step;
};

// clang-format off
constexpr auto group_cases = [] {
    using enum group_action;
    using p = group_phase;
    using e = group_event;
    return std::to_array<group_case>({
        {p::opening, e::hello, {p::opening, refuse_failed}},
        {p::opening, e::copy_opened, {p::idle, none}},
        {p::opening, e::copy_absent, {p::empty, none}},
        {p::opening, e::open_failed, {p::failed, none}},
        {p::opening, e::stop, {p::stopping_failed, none}},

        {p::empty, e::hello, {p::creating, create}},
        {p::empty, e::stop, {p::stopping, none}},

        {p::creating, e::hello, {p::creating, refuse_busy}},
        {p::creating, e::copy_opened, {p::greeting, greet}},
        {p::creating, e::create_failed, {p::empty, none}},
        {p::creating, e::open_failed, {p::failed, none}},
        {p::creating, e::stop, {p::stopping, none}},

        {p::idle, e::hello, {p::greeting, greet}},
        {p::idle, e::storage_failed, {p::failed, none}},
        {p::idle, e::turn, {p::turning, reopen}},
        {p::idle, e::stop, {p::stopping, none}},

        {p::greeting, e::hello, {p::greeting, refuse_busy}},
        {p::greeting, e::greeted, {p::serving, serve}},
        {p::greeting, e::refused, {p::idle, none}},
        {p::greeting, e::storage_failed, {p::failing, none}},
        {p::greeting, e::stop, {p::stopping, none}},

        {p::serving, e::hello, {p::replacing, end_session}},
        {p::serving, e::session_over, {p::idle, none}},
        {p::serving, e::storage_failed, {p::failing, tell_session}},
        {p::serving, e::stop, {p::stopping, tell_stop}},

        {p::replacing, e::hello, {p::replacing, refuse_busy}},
        {p::replacing, e::session_over, {p::greeting, greet}},
        {p::replacing, e::storage_failed, {p::failing_two, tell_session}},
        {p::replacing, e::stop, {p::stopping, tell_stop}},

        {p::failing, e::hello, {p::failing, refuse_failed}},
        {p::failing, e::refused, {p::failed, none}},
        {p::failing, e::session_over, {p::failed, none}},
        {p::failing, e::storage_failed, {p::failing, none}},
        {p::failing, e::stop, {p::stopping_failed, tell_stop}},

        {p::failing_two, e::hello, {p::failing_two, refuse_failed}},
        {p::failing_two, e::session_over, {p::failing, none}},
        {p::failing_two, e::storage_failed, {p::failing_two, none}},
        {p::failing_two, e::stop, {p::stopping_failed, tell_stop}},

        {p::failed, e::hello, {p::failed, refuse_failed}},
        {p::failed, e::storage_failed, {p::failed, none}},
        {p::failed, e::pause_over, {p::reopening, reopen}},
        {p::failed, e::stop, {p::stopping_failed, none}},

        {p::reopening, e::hello, {p::reopening, refuse_failed}},
        {p::reopening, e::copy_opened, {p::idle, resume}},
        {p::reopening, e::copy_absent, {p::empty, none}},
        {p::reopening, e::open_failed, {p::failed, none}},
        {p::reopening, e::stop, {p::stopping_failed, none}},

        {p::turning, e::hello, {p::turning, refuse_busy}},
        {p::turning, e::copy_opened, {p::idle, resume}},
        {p::turning, e::copy_absent, {p::empty, none}},
        {p::turning, e::open_failed, {p::failed, none}},
        {p::turning, e::storage_failed, {p::turning, none}},
        {p::turning, e::stop, {p::stopping_failed, none}},

        {p::stopping, e::hello, {p::stopping, refuse_stopping}},
        {p::stopping, e::copy_opened, {p::stopping, none}},
        {p::stopping, e::open_failed, {p::stopping_failed, none}},
        {p::stopping, e::refused, {p::stopping, none}},
        {p::stopping, e::session_over, {p::stopping, none}},
        {p::stopping, e::storage_failed, {p::stopping_failed, none}},
        {p::stopping, e::stop, {p::stopping, none}},

        {p::stopping_failed, e::hello, {p::stopping_failed, refuse_failed}},
        {p::stopping_failed, e::copy_opened, {p::stopping, none}},
        {p::stopping_failed, e::copy_absent, {p::stopping, none}},
        {p::stopping_failed, e::open_failed, {p::stopping_failed, none}},
        {p::stopping_failed, e::refused, {p::stopping_failed, none}},
        {p::stopping_failed, e::session_over, {p::stopping_failed, none}},
        {p::stopping_failed, e::storage_failed, {p::stopping_failed, none}},
        {p::stopping_failed, e::stop, {p::stopping_failed, none}},
    });
}();
// clang-format on

/// Nothing: the pair can't occur.
constexpr std::optional<group_step> next(group_phase phase, group_event event) {
    for (const group_case &c : group_cases) {
        if (c.phase == phase && c.event == event) {
            return c.step;
        }
    }
    return std::nullopt;
}

/// The copy is open and sound: apply works on it.
constexpr bool is_served(group_phase p) {
    using enum group_phase;
    return p == idle || p == greeting || p == serving || p == replacing;
}
/// The storage failed, or has not answered yet.
constexpr bool is_failed(group_phase p) {
    using enum group_phase;
    return p == opening || p == failing || p == failing_two || p == failed || p == reopening ||
           p == stopping_failed;
}
constexpr bool is_stopping(group_phase p) {
    return p == group_phase::stopping || p == group_phase::stopping_failed;
}

} // namespace farshore
