#pragma once
// Arguments of a control request, checked one by one. The CLI sends them well-formed; anybody else
// who writes to the socket gets a usage error.

#include "replicator/base/clock.hpp"
#include "replicator/control/control.hpp"
#include "replicator/control/exit_code.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

/// Takes arguments by name; remembers the first that was wrong. An argument that nobody asked for
/// is wrong too (a newer CLI may mean something that this daemon would silently leave out).
class arguments {
  public:
    explicit arguments(const control::json &given) : given_(given) {}

    std::string text(const char *key); ///< required, not empty
    std::string text_or(const char *key, std::string otherwise);
    /// A list of at most `max` texts that are not empty; none when absent.
    std::vector<std::string> texts(const char *key, std::size_t max);
    bool flag(const char *key);                           ///< false when absent
    std::optional<std::uint64_t> number(const char *key); ///< null counts as absent
    std::optional<duration> milliseconds(const char *key);

    /// What was wrong, once all arguments were asked for.
    std::optional<control::failure> problem();

  private:
    const control::json *find(const char *key);
    void note(std::string what);

    const control::json &given_;
    std::size_t taken_ = 0;
    std::optional<std::string> problem_;
};

} // namespace farshore
