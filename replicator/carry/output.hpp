#pragma once
// Where bytes go in order: a pipe, or a plain file that may keep holes. Failures name the object
// and say what to do.
//
// Thread: the caller's.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"

#include <cstdint>
#include <functional>
#include <string>

namespace farshore::carry {

/// Writes all bytes at the end of a stream; a signal that `stop` knows of ends it.
result<> write_all(int fd, bytes_view bytes, const std::string &name,
                   const std::function<bool()> &stop);
result<> write_zeroes(int fd, std::uint64_t count, const std::string &name,
                      const std::function<bool()> &stop);
/// At a place of a file.
result<> write_at(int fd, std::uint64_t offset, bytes_view bytes, const std::string &name);
/// Up to bytes.size() of a stream; 0 at its end.
result<std::size_t> read_some(int fd, bytes_span bytes, const std::string &name,
                              const std::function<bool()> &stop);
/// A failed write in words.
std::unexpected<error> write_failed(int number, const std::string &name);

} // namespace farshore::carry
