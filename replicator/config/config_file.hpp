#pragma once
// The configuration files of both daemons: TOML into sender_config and receiver_config. The only
// validator; `config check` and the start of a daemon use the same function. Nothing is touched
// beyond the file itself.

#include "replicator/session/config.hpp"

#include <expected>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace farshore {

/// One thing that is wrong, with its place; lines and columns count from 1.
struct config_problem {
    std::size_t line = 1;
    std::size_t column = 1;
    std::string what;
};
/// All problems of a file, in its order.
using config_problems = std::vector<config_problem>;
/// "FILE:LINE:COLUMN: what is wrong", one a line.
std::string to_text(const std::string &file, const config_problems &problems);

template <class T>
using config_result = std::expected<T, config_problems>;
using any_config = std::variant<sender_config, receiver_config>;

config_result<sender_config> parse_sender_config(std::string_view text);
config_result<receiver_config> parse_receiver_config(std::string_view text);
/// Either kind, told by its [sender] or [receiver].
config_result<any_config> parse_config(std::string_view text);

/// The content of a configuration file. A failure to read it comes as a problem at 1:1; the bound
/// is limits::config_bytes_max.
config_result<std::string> read_config_file(const std::string &file);

} // namespace farshore
