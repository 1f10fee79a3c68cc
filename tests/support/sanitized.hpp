#pragma once
// Sweeps over every step or many seeds run whole in the release build, and under sanitizers that
// have the time. Those make them five to ten times as slow: in the test command, which runs the
// release build beside them (FARSHORE_SANITIZE_QUICK), they get a share.

#include <cstdint>

#ifndef __has_feature
#define __has_feature(x) 0
#endif

namespace farshore::test {

#if __has_feature(thread_sanitizer)
constexpr std::uint64_t one_in = 20;
#elif defined(FARSHORE_SANITIZE_QUICK)
constexpr std::uint64_t one_in = 8;
#else
constexpr std::uint64_t one_in = 1;
#endif

} // namespace farshore::test
