#pragma once
// Where the CLI writes: data to standard output, chatter to standard error. A value, so that tests
// can read along.

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace farshore {

struct terminal {
    std::function<void(std::string_view)> out;
    std::function<void(std::string_view)> err;
    bool out_is_tty = false;
    bool err_is_tty = false;
    /// The next line of standard input without its end; nothing at its end. Of at most 8 KiB.
    std::function<std::optional<std::string>()> in_line = {};
    bool in_is_tty = false;
};

/// The process's own. A closed pipe ends the process quietly (by SIGPIPE).
terminal process_terminal();

} // namespace farshore
