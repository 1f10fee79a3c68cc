#pragma once
// A program that does a part of the work (qemu-img, sfdisk). It ends when we do, whatever ends us.
//
// Thread: the caller's; blocks until it has ended.

#include "replicator/base/error.hpp"

#include <functional>
#include <string>
#include <vector>

namespace farshore::carry {

struct child_outcome {
    int exit = 0;    ///< 128 + N: ended by signal N
    std::string out; ///< its last output, at most child_output_max bytes
    std::string err; ///< likewise
};
constexpr std::size_t child_output_max = 16 * 1024;

/// Runs `words` by PATH, standard input empty. `heard` gets its standard output as it comes.
/// errc::cancelled, the program killed, when `stop` says so; errc::unsupported when there is no
/// such program, with the package that has it.
result<child_outcome> run_child(const std::vector<std::string> &words, const std::string &package,
                                const std::function<void(const std::string &)> &heard,
                                const std::function<bool()> &stop);

} // namespace farshore::carry
