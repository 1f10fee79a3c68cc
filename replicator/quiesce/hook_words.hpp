#pragma once
// What the daemon says to a hook's process, and what it understands of its answers
// (docs/hook-protocol.md): lines of JSON as values, and nothing that waits. Applications and
// scripts wrote most of the answers' words, so here they become what a label takes.

#include "replicator/base/error.hpp"
#include "replicator/sender/hooks.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace farshore {

constexpr std::size_t hook_line_bytes_max = 16 * 1024; ///< of an answer, without its newline

/// The first line, with its newline. `never`: paths whose file systems must not be frozen.
std::string hook_request(const hook_config &hook, const hook_context &context,
                         const std::vector<std::string> &never);
constexpr std::string_view hook_release = "{\"command\":\"release\"}\n";

/// One answer. What it does not say is as here.
struct hook_event {
    std::string what; ///< "frozen", "failed", "released", "expired"
    bool proved = false;
    std::chrono::microseconds frozen{0};
    std::string message;                                    ///< at most label_message_bytes_max
    std::vector<std::pair<std::string, std::string>> facts; ///< those that a label takes
};

/// Answers from pieces of a stream. Bounded: a line and one piece.
class hook_answers {
  public:
    void add(std::string_view piece) { heard_ += piece; }
    /// The next answer; no value while it is not whole. errc::corrupt: it is none, or too long, and
    /// nothing more is to be read of this process.
    result<std::optional<hook_event>> next();

  private:
    std::string heard_; ///< after the last answer
};

} // namespace farshore
