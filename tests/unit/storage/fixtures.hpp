#pragma once
// The two file systems that one conformance suite runs on, and bytes to write.

#include "replicator/storage/posix_file_system.hpp"
#include "tests/support/sim_file_system.hpp"
#include "tests/support/temp_directory.hpp"

#include <doctest/doctest.h>

namespace farshore {

struct posix_fixture {
    temp_directory directory;
    posix_file_system fs;
    std::string root() const { return directory.path(); }
};

struct sim_fixture {
    sim_file_system fs{7};
    sim_fixture() { REQUIRE(fs.make_directories("/disk")); }
    std::string root() const { return "/disk"; }
};

/// Never zero, so that lost bytes show.
inline byte_vector pattern(std::size_t size, std::uint64_t seed) {
    sim::random r(seed);
    byte_vector bytes(size);
    for (std::byte &b : bytes) {
        b = static_cast<std::byte>(1 + r.below(255));
    }
    return bytes;
}

inline byte_vector read_all(file &f) {
    const auto size = f.size();
    REQUIRE(size);
    byte_vector bytes(*size);
    REQUIRE(f.read_at(0, bytes));
    return bytes;
}

template <class T>
bool failed_with(const result<T> &r, int number) {
    return !r && is_errno(r.error(), number);
}
template <class T>
bool failed_with(const result<T> &r, errc code) {
    return !r && is(r.error(), code);
}

} // namespace farshore

TYPE_TO_STRING_AS("posix", farshore::posix_fixture);
TYPE_TO_STRING_AS("sim", farshore::sim_fixture);
