#pragma once
// Whether to try for a block's old content. A read that misses the page cache may start a readahead
// and cost more than the write, so a volume whose old content is mostly not there is asked only now
// and then.
//
// Threads: the group's lock.

#include <cstdint>

namespace farshore {

class before_policy {
  public:
    static constexpr std::uint32_t window = 64; ///< tries judged together
    static constexpr std::uint32_t pause = 256; ///< blocks not tried after a bad window

    /// Whether to try for the next `blocks` blocks.
    bool wants(std::uint64_t blocks) {
        if (skip_ == 0) {
            return true;
        }
        skip_ = blocks < skip_ ? skip_ - static_cast<std::uint32_t>(blocks) : 0;
        return false;
    }
    void tried(std::uint32_t hits, std::uint32_t misses) {
        hits_ += hits;
        tries_ += hits + misses;
        if (tries_ >= window) {
            if (hits_ * 2 < tries_) {
                skip_ = pause;
            }
            hits_ = tries_ = 0;
        }
    }

  private:
    std::uint32_t hits_ = 0;
    std::uint32_t tries_ = 0;
    std::uint32_t skip_ = 0;
};

} // namespace farshore
