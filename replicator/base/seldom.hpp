#pragma once
// Tries ever less often what does not pay, and often again when it does: after a miss the
// `first`-th turn is the next try, after each further miss in a row twice as many turns pass, at
// most `most`. Pure; thread: the owner's.

#include <algorithm>
#include <cstdint>

namespace farshore {

class seldom {
  public:
    constexpr seldom(std::uint32_t first, std::uint32_t most)
        : first_(first), most_(most), next_(first) {}

    /// Counts a turn; whether to try in it.
    constexpr bool turn() {
        left_ -= left_ > 0 ? 1 : 0;
        return left_ == 0;
    }
    constexpr void missed() {
        left_ = next_;
        next_ = std::min(2 * next_, most_);
    }
    /// A miss after this one is the first of its row.
    constexpr void paid() { next_ = first_; }

  private:
    std::uint32_t first_;
    std::uint32_t most_;
    std::uint32_t next_;     ///< turns after the next miss
    std::uint32_t left_ = 0; ///< turns until a try
};

} // namespace farshore
