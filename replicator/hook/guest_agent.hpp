#pragma once
// Hook type `qemu-guest-agent`: guest-fsfreeze-freeze and -thaw of a guest, over the agent's
// socket. What the guest's own freeze hooks (fsfreeze-hook, VSS writers) do is the guest's.
//
// Proof: the agent says "frozen", and its thaw finds at least as many file systems frozen as its
// freeze had. A guest that was thawed and frozen again in between can't be told from one that was
// not.

#include "replicator/hook/agent_link.hpp"
#include "replicator/hook/freezer.hpp"

#include <cstdint>
#include <optional>

namespace farshore::hook {

class guest_agent_freezer final : public freezer {
  public:
    explicit guest_agent_freezer(const request &asked) : asked_(asked) {}
    result<facts> freeze(tether &t) override;
    result<> prove(tether &t) override;
    result<facts> release(tether &t) override;
    result<> let_go(tether &t) override;
    result<> force_release(tether &t, const std::string &trace) override;

  private:
    result<std::string> status(const tether &t);
    const request &asked_;
    std::optional<agent_link> link_;
    std::int64_t count_ = 0; ///< file systems frozen
    bool begun_ = false;
};

} // namespace farshore::hook
