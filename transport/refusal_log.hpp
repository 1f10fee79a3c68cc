#pragma once
// Keeps the log readable while somebody knocks: at most one line a second, with the number of those
// that were left out. Who is seen for the first time gets a line of its own beyond that, as long as
// not too many new ones come: the operator wants to know who tried. Pure: time is a parameter.
// Bounded.

#include "replicator/base/clock.hpp"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>

namespace farshore::transport {

class refusal_log {
  public:
    static constexpr std::size_t remembered_max = 256;    ///< who was seen
    static constexpr std::uint64_t first_sights_max = 10; ///< lines for new ones in a minute

    /// Whether to write a line now; the value is the number of lines left out since the last one.
    /// `who`: the fingerprint of a certificate, empty for somebody who has not shown one.
    std::optional<std::uint64_t> allow(time_point now, const std::string &who = {}) {
        const bool fresh = first_sight(now, who);
        if (!fresh && last_ && now - *last_ < std::chrono::seconds(1)) {
            ++suppressed_;
            return std::nullopt;
        }
        last_ = now;
        return std::exchange(suppressed_, 0);
    }

  private:
    bool first_sight(time_point now, const std::string &who) {
        if (who.empty() || std::ranges::find(seen_, who) != seen_.end()) {
            return false;
        }
        if (!minute_ || now - *minute_ >= std::chrono::minutes(1)) {
            minute_ = now;
            sights_ = 0;
        }
        if (sights_ >= first_sights_max) {
            return false; // not remembered either: it gets its line when there is room
        }
        ++sights_;
        seen_.push_back(who);
        if (seen_.size() > remembered_max) {
            seen_.pop_front();
        }
        return true;
    }

    std::optional<time_point> last_;
    std::uint64_t suppressed_ = 0;
    std::deque<std::string> seen_;
    std::optional<time_point> minute_;
    std::uint64_t sights_ = 0;
};

/// Behind a line.
inline std::string left_out_text(std::uint64_t count) {
    return count > 0 ? " (" + std::to_string(count) + " more refused since the last such line)"
                     : "";
}

} // namespace farshore::transport
