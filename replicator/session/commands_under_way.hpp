#pragma once
// Operators' commands that use a group or a daemon: counted, so that it stays until they have
// ended.
// Home thread.

#include "replicator/base/assert.hpp"
#include "replicator/base/async.hpp"

#include <cstddef>

namespace farshore {

class commands_under_way {
  public:
    /// Counts one for as long as it lives.
    class mark {
      public:
        explicit mark(commands_under_way &all) : all_(all) { ++all_.count_; }
        ~mark() {
            --all_.count_;
            all_.ended_.notify_all();
        }
        mark(const mark &) = delete;
        mark &operator=(const mark &) = delete;

      private:
        commands_under_way &all_;
    };

    commands_under_way() = default;
    ~commands_under_way() { REPL_ASSERT(count_ == 0); }
    commands_under_way(const commands_under_way &) = delete;
    commands_under_way &operator=(const commands_under_way &) = delete;

    /// Those under way see ending(), and end soon.
    void end() { ending_ = true; }
    bool ending() const { return ending_; }
    bool any() const { return count_ > 0; }
    task<void> join() {
        while (count_ > 0) {
            co_await ended_.wait();
        }
    }

  private:
    std::size_t count_ = 0;
    bool ending_ = false;
    condition ended_;
};

} // namespace farshore
