#pragma once
// What farshore-hook says: facts of an application, and the lines of the protocol
// (docs/hook-protocol.md). Applications and scripts wrote most of the words, so they are cleaned
// and cut here, in one place.

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace farshore::hook {

/// Short texts for the point: "lsn" is "0/16B3748". What is beyond facts_max is dropped; a key that
/// is there already gets the later value.
class facts {
  public:
    void add(std::string_view key, std::string_view value);
    void add(const facts &other);
    const std::vector<std::pair<std::string, std::string>> &all() const { return all_; }
    bool operator==(const facts &) const = default;

  private:
    std::vector<std::pair<std::string, std::string>> all_;
};

/// One line of at most message_bytes_max bytes.
std::string message_of(std::string_view text);

/// Lines of the protocol, each with its newline, at most line_bytes_max bytes.
std::string frozen_line(std::chrono::milliseconds freeze, const facts &known);
std::string failed_line(std::string_view message);
std::string expired_line(std::string_view message);
struct release_outcome {
    bool proved = false;
    std::chrono::milliseconds frozen{0};
    facts known;
    std::string message; ///< why it is not proved
};
std::string released_line(const release_outcome &outcome);

} // namespace farshore::hook
