#pragma once
// Whether a function ends its program by abort, seen from outside.

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

namespace farshore::test {

/// Runs it in a child process, whose words are not wanted. Only where no other thread runs.
template <class F>
bool aborts(F f) {
    const pid_t child = ::fork();
    if (child == 0) {
        std::signal(SIGABRT, SIG_DFL); // doctest's would tell of a failed test
        ::close(STDERR_FILENO);
        f();
        ::_exit(0);
    }
    int status = 0;
    return ::waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
           WTERMSIG(status) == SIGABRT;
}

} // namespace farshore::test
