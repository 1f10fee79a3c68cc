#pragma once
// Messages for the operator. The sink is set once by the program (apps use spdlog); libraries and
// tests write through these functions only. Each message names the object, the cause and, where
// there is one, the next step.

#include <fmt/format.h>

#include <functional>
#include <string>
#include <string_view>

namespace farshore::log {

enum class level : int { debug = 0, info = 1, warning = 2, error = 3 };

using sink = std::function<void(level, std::string_view)>;

/// The sink gets one line: control characters are escaped (clean_text.hpp).
/// Not thread-safe: call before other threads start. Without a sink messages are dropped.
void set_sink(sink s);
void write(level l, std::string_view message);

template <class... Args>
void debug(fmt::format_string<Args...> f, Args &&...args) {
    write(level::debug, fmt::format(f, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> f, Args &&...args) {
    write(level::info, fmt::format(f, std::forward<Args>(args)...));
}
template <class... Args>
void warning(fmt::format_string<Args...> f, Args &&...args) {
    write(level::warning, fmt::format(f, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> f, Args &&...args) {
    write(level::error, fmt::format(f, std::forward<Args>(args)...));
}

} // namespace farshore::log
