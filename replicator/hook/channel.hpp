#pragma once
// What guard and worker of one freeze say to each other, over a socket pair that keeps the bounds
// of messages. Its end is a message too: whoever sees it knows that the other is gone.

#include "replicator/base/error.hpp"
#include "replicator/base/unique_fd.hpp"
#include "replicator/hook/answer.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace farshore::hook {

enum class worker_says : std::uint8_t {
    armed,    ///< from now on something may be frozen: if I die, release by force
    frozen,   ///< done
    failed,   ///< can't, and nothing is frozen
    released, ///< done
    leaving,  ///< a release that takes its time has begun: wait for it a little longer
    stuck,    ///< it can't be released by me; the text says why it was to be
};

struct worker_word {
    worker_says what = worker_says::failed;
    std::string text; ///< armed: the trace for a release by force; else the message
    std::chrono::milliseconds freeze{0};
    bool proved = false;
    facts known;
};

enum class guard_says : std::uint8_t { release, let_go };

/// Both ends, close-on-exec.
result<std::pair<unique_fd, unique_fd>> make_channel();

// False: the other end is gone. What does not fit the socket's buffer is lost with the other end,
// for neither says more than a few words.
bool send_word(int channel, const worker_word &word);
bool send_word(int channel, guard_says word);

/// The next message without waiting. errc::closed: the other is gone. errc::corrupt: it said what
/// is no message. No value: nothing is there.
result<std::optional<worker_word>> next_worker_word(int channel);
result<std::optional<guard_says>> next_guard_word(int channel);

} // namespace farshore::hook
