#pragma once
// What the calls of a posix_file have in common: offsets that the kernel takes, and errors that say
// that a call is not for this file.

#include <cerrno>
#include <cstdint>
#include <limits>
#include <sys/types.h>

namespace farshore {

inline bool in_range(std::uint64_t offset, std::uint64_t length) {
    constexpr std::uint64_t offset_max = std::numeric_limits<off_t>::max();
    return offset <= offset_max && length <= offset_max - offset;
}

inline bool means_unsupported(int number) {
    return number == EOPNOTSUPP || number == ENOSYS || number == ENOTTY;
}

} // namespace farshore
