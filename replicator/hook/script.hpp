#pragma once
// Hook type `script`: an application that only a program of the operator's can freeze. The contract
// with it is in docs/hook-protocol.md: `freeze` as last argument, "frozen" on its output, "release"
// or the end of its input, "released" and exit code 0.
//
// Proof is the script's word: it was alive until the release, said that it released, and ended
// well. Whatever else it does is not proved.

#include "replicator/hook/freezer.hpp"
#include "replicator/hook/script_process.hpp"

#include <optional>

namespace farshore::hook {

class script_freezer final : public freezer {
  public:
    explicit script_freezer(const request &asked) : asked_(asked) {}
    result<facts> freeze(tether &t) override;
    result<> prove(tether &t) override;
    result<facts> release(tether &t) override;
    result<> let_go(tether &t) override;
    /// Waits a little for a script whose input has closed; kills it; starts it with `release`.
    result<> force_release(tether &t, const std::string &trace) override;

  private:
    script_plan plan(const std::string &last_word) const;
    result<facts> listen(const tether &t, const std::string &until);
    error ended_early(const std::string &when);
    const request &asked_;
    std::optional<script_process> process_;
    bool frozen_ = false;
};

/// "fact KEY VALUE": no value for other lines.
std::optional<std::pair<std::string, std::string>> fact_of(const std::string &line);

} // namespace farshore::hook
