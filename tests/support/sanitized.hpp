#pragma once
// Sweeps over every step or many seeds run whole in the release build. Sanitizers make them five to
// ten times as slow and look for mistakes that each of the steps would make: they get a share.

#include <cstdint>

#ifndef __has_feature
#define __has_feature(x) 0
#endif

namespace farshore::test {

#if __has_feature(thread_sanitizer)
constexpr std::uint64_t one_in = 20;
#elif __has_feature(address_sanitizer)
constexpr std::uint64_t one_in = 4;
#else
constexpr std::uint64_t one_in = 1;
#endif

} // namespace farshore::test
