#pragma once
// What a group at the DR site says of its failures and sessions: a line, unless it says what was
// just said (base/log_repeat.hpp). One for the group, its session and its apply stage, since what
// ends a kind of failure is that something becomes durable, whoever failed.

#include "replicator/base/async.hpp"
#include "replicator/base/log.hpp"
#include "replicator/base/log_repeat.hpp"

#include <fmt/format.h>

#include <string>
#include <utility>

namespace farshore {

class group_log {
  public:
    group_log(std::string group, time_source &time) : group_(std::move(group)), time_(time) {}

    void tell(log::level level, const std::string &text) { tell(level, text, text); }
    /// `kind`: the text without what varies.
    void tell(log::level level, const std::string &text, const std::string &kind) {
        if (const auto more = repeats_.failed(kind, time_.now())) {
            log::write(level, fmt::format("group {}: {}{}", group_, text, *more));
        }
    }
    /// Something became durable.
    void worked() {
        if (const auto after = repeats_.worked(time_.now())) {
            log::debug("group {}: data arrives and is kept{}", group_, *after);
        }
    }
    const std::string &group() const { return group_; }

  private:
    std::string group_;
    time_source &time_;
    log::repeats repeats_;
};

} // namespace farshore
