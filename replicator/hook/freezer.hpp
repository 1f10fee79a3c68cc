#pragma once
// One application, as the worker and the guard of a freeze know it. Each type of hook is one class
// behind this interface, in a file of its name.
//
// The worker makes one and calls freeze(), then prove() and release(), or let_go() at any moment
// after freeze() returned, and no more after one of the last two. The guard makes another one, in
// its own process, and calls only force_release(): when the worker is dead.

#include "replicator/hook/answer.hpp"
#include "replicator/hook/request.hpp"
#include "replicator/hook/tether.hpp"

#include <memory>
#include <string>

namespace farshore::hook {

class freezer {
  public:
    virtual ~freezer() = default;

    /// Freezes. It calls `t.arm` before the first call that may leave something frozen. After an
    /// error let_go() is called, so what was begun may stay as it is.
    virtual result<facts> freeze(tether &t) = 0;
    /// Shows that the freeze held without a gap until now. The error says why it can't be shown.
    virtual result<> prove(tether &t) = 0;
    /// Releases in order. An error: it is released perhaps, and what was frozen is not proved.
    virtual result<facts> release(tether &t) = 0;
    /// Releases as fast as it can be done; also after a freeze() or release() that failed half way.
    /// An error: it may still be frozen, so that the guard must use force.
    virtual result<> let_go(tether &t) = 0;

    /// Releases what another process froze that is dead now, by what `trace` told of it. No error
    /// when nothing is frozen any more.
    virtual result<> force_release(tether &t, const std::string &trace) = 0;
};

/// Looks at nothing yet. The request outlives the freezer.
std::unique_ptr<freezer> make_freezer(const request &asked);

} // namespace farshore::hook
