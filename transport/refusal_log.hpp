#pragma once
// Keeps the log readable while somebody knocks: at most one line a second, with the number of those
// that were left out. Pure: time is a parameter.

#include "replicator/base/clock.hpp"

#include <cstdint>
#include <optional>
#include <utility>

namespace farshore::transport {

class refusal_log {
  public:
    /// Whether to write a line now; the value is the number of lines left out since the last one.
    std::optional<std::uint64_t> allow(time_point now) {
        if (last_ && now - *last_ < std::chrono::seconds(1)) {
            ++suppressed_;
            return std::nullopt;
        }
        last_ = now;
        return std::exchange(suppressed_, 0);
    }

  private:
    std::optional<time_point> last_;
    std::uint64_t suppressed_ = 0;
};

} // namespace farshore::transport
