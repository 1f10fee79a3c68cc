#include "replicator/hook/tether.hpp"

#include "replicator/hook/channel.hpp"
#include "replicator/hook/hook_limits.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <poll.h>
#include <utility>

namespace farshore::hook {

using std::chrono::milliseconds;

tether::tether(milliseconds patience) : end_(clock::now() + patience) {}
tether::tether(int channel, clock::time_point end) : channel_(channel), end_(end) {}

milliseconds tether::left() const {
    return std::max(milliseconds(0), std::chrono::ceil<milliseconds>(end_ - clock::now()));
}

result<short> tether::wait(int fd, short events) const {
    for (;;) {
        FS_TRY(seen, wait(fd, events, limits::timeout_max));
        if (seen != 0) {
            return seen;
        }
    }
}

result<short> tether::wait(int fd, short events, milliseconds most) const {
    const clock::time_point until = clock::now() + most;
    for (;;) {
        const auto now = clock::now();
        const auto time = std::chrono::ceil<milliseconds>(std::min(until, end_) - now);
        std::array<pollfd, 2> both{pollfd{fd, events, 0}, pollfd{channel_, POLLIN, 0}};
        const int found = ::poll(both.data(), both.size(),
                                 static_cast<int>(std::max<std::int64_t>(time.count(), 0)));
        if (found < 0 && errno != EINTR) {
            return fail_errno(errno, "poll");
        }
        if (found > 0 && both[1].revents != 0) {
            return fail(errc::cancelled, "");
        }
        if (found > 0 && both[0].revents != 0 && now < end_) { // a peer may talk without end
            return both[0].revents;
        }
        if (clock::now() >= end_) {
            return fail(errc::timeout, "");
        }
        if (clock::now() >= until) {
            return short(0);
        }
    }
}

result<> tether::sleep(milliseconds time) const {
    FS_CHECK(wait(-1, 0, time));
    return {};
}

result<> tether::check() const { return sleep(milliseconds(0)); }

result<> tether::arm(std::string trace) {
    FS_CHECK(check());
    if (!armed()) {
        armed_at_ = clock::now();
    }
    if (channel_ >= 0) {
        worker_word word;
        word.what = worker_says::armed;
        word.text = std::move(trace);
        if (!send_word(channel_, word)) {
            return fail(errc::cancelled, ""); // no guard, no freeze
        }
    }
    return {};
}

} // namespace farshore::hook
