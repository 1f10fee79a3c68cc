#pragma once
// Lines from a pipe that somebody else writes, within a bound; read only when poll() says so.

#include <cstdint>
#include <optional>
#include <string>

namespace farshore::hook {

class line_reader {
  public:
    enum class source : std::uint8_t { open, closed };

    line_reader(int fd, std::size_t bytes_max) : fd_(fd), bytes_max_(bytes_max) {}
    int fd() const { return fd_; }
    /// One read. closed: the end, or a failure. A last line without a newline is dropped.
    source read_some();
    /// The next whole line, without its newline.
    std::optional<std::string> next();
    /// A line that is longer than the bound has begun; nothing more of it is kept.
    bool too_long() const { return too_long_; }

  private:
    int fd_;
    std::size_t bytes_max_;
    std::string kept_;
    bool too_long_ = false;
};

} // namespace farshore::hook
