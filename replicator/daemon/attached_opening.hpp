#pragma once
// A point that is open for as long as a control client stays: `export` and its like read it, and
// when they end, killed or not, nothing is left open.
//
// The opening belongs to a task of the daemon's own, so that a client that hangs up in the middle
// of opening leaves nothing behind. Never durable: it ends with the daemon, too.
//
// Threads: home executor.

#include "replicator/base/async.hpp"
#include "replicator/base/log.hpp"
#include "replicator/session/status.hpp"

#include <memory>
#include <optional>
#include <string>

namespace farshore {

struct attached_opening {
    std::optional<result<opened_point>> opened;
    bool client_gone = false;
    bool closed = false;
    condition changed;
};

/// Lives in the client's coroutine: its end, by whatever way, is the client's.
class attached_client {
  public:
    explicit attached_client(std::shared_ptr<attached_opening> o) : opening_(std::move(o)) {}
    ~attached_client() {
        opening_->client_gone = true;
        opening_->changed.notify_all();
    }
    attached_client(const attached_client &) = delete;
    attached_client &operator=(const attached_client &) = delete;

  private:
    std::shared_ptr<attached_opening> opening_;
};

/// Opens, waits for the end of the client, closes. For a task group of the daemon.
template <class Engine>
task<void> serve_attached(Engine &engine, std::shared_ptr<attached_opening> o, std::string group,
                          open_request wanted) {
    o->opened.emplace(co_await engine.open_attached(group, std::move(wanted)));
    o->changed.notify_all();
    if (!*o->opened) {
        co_return;
    }
    while (!o->client_gone) {
        co_await o->changed.wait();
    }
    const std::string id = (*o->opened)->id;
    if (const auto closed = co_await engine.close(id);
        !closed && !is(closed.error(), errc::not_found)) { // an operator may have closed it
        log::warning("group {}: {} stays open: {}", group, id, closed.error().text());
    }
    o->closed = true;
    o->changed.notify_all();
}

} // namespace farshore
