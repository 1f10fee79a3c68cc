#pragma once
// "Did you mean": for keys of the configuration and commands of the CLI.

#include <string>
#include <string_view>
#include <vector>

namespace farshore {

/// The candidate that `word` was probably meant to be; empty when none is near.
std::string nearest(std::string_view word, const std::vector<std::string> &candidates);

} // namespace farshore
