#pragma once
// What a loop says of a failure that it meets again and again. Rule: whatever is logged from a loop
// (reconnects, retries, refused connections) asks here first, so that a log of a bad night is a
// page and not 11 MB.
//
//   if (const auto more = repeats.failed(kind, now)) { log::warning("group {}: {}{}", name, text, *more); }
//   if (const auto after = repeats.worked(now))      { log::info("group {}: works again{}", name, *after); }
//
// A kind is told when it begins, when it begins again after it had ended (episodes_max times an
// hour), and once an hour with the number of those left out. Another kind is a change, and told.
// When kinds_max of them are known within an hour, further ones count as one kind: a peer can't
// fill the log by varying its words.
//
// Pure: time is a parameter. One owner, one thread.

#include "replicator/base/clock.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace farshore::log {

class repeats {
  public:
    static constexpr duration again_after = std::chrono::hours(1);
    static constexpr std::size_t kinds_max = 16;
    static constexpr unsigned episodes_max = 5;

    /// `kind`: what makes two failures the same; leave out what varies (a port, a count). Nothing:
    /// say nothing. Otherwise the end of the line: empty, or how many were left out.
    [[nodiscard]] std::optional<std::string> failed(std::string_view kind, time_point now);
    /// Whatever failed works now. Nothing when nothing had failed or its begin was not told;
    /// otherwise the end of the line: how long it had failed, and how often.
    [[nodiscard]] std::optional<std::string> worked(time_point now);

  private:
    struct series {
        std::string kind;
        time_point hour_began{}; ///< of the line with which the present hour began
        time_point began{};      ///< of the present episode
        std::uint64_t left_out = 0;
        std::uint64_t times = 0; ///< in the present episode
        unsigned episodes = 0;   ///< told in the present hour
        bool ended = false;
        bool quiet = false; ///< the begin of the present episode was not told
    };
    series &find_or_add(std::string_view kind, time_point now, bool &is_new);

    std::vector<series> series_;
};

} // namespace farshore::log
