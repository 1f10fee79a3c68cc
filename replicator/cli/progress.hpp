#pragma once
// One line of progress on a terminal, rewritten in place; silent when standard error is none.

#include "replicator/base/clock.hpp"
#include "replicator/cli/terminal.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace farshore {

/// "shop  43 %  1.2 GiB of 2.8 GiB  310.0 Mbit/s  ETA 40.0 s". Pure. Rate 0: not known.
std::string progress_text(const std::string &what, std::uint64_t done, std::uint64_t total,
                          double bytes_per_second, std::optional<double> eta_seconds);

class progress_line {
  public:
    explicit progress_line(const terminal &term) : term_(term) {}
    ~progress_line() { clear(); }
    progress_line(const progress_line &) = delete;
    progress_line &operator=(const progress_line &) = delete;

    void show(const std::string &text);
    /// Done and total as of `now`: rate and time left follow from the first call.
    void show_bytes(const std::string &what, std::uint64_t done, std::uint64_t total,
                    time_point now);
    void clear();

  private:
    const terminal &term_;
    bool shown_ = false;
    std::optional<time_point> began_;
    std::uint64_t began_at_ = 0;
};

} // namespace farshore
