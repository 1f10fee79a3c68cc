#pragma once
// Hook type `redis` (from 6.2): CLIENT PAUSE ... WRITE, and then what Redis starts from is brought
// up to date on disk. With an append-only file that is a sync of it; else BGSAVE, waited for, so
// that the pause lasts as long as the save. Redis itself ends the pause when our time is over.
//
// What syncs the append-only file: on this host (socket) we do, file by file; elsewhere Redis, at
// every command (appendfsync always) or in the second after (everysec, so the pause is longer than
// 2 s); with appendfsync no nobody can tell, and it is refused.
//
// Proof: a message published on a channel that nobody reads was sent when the pause began, and
// still waits: any end of the pause lets it through. And the same server tells that its data has
// not changed since: size of the append-only file, or changes since the save.

#include "replicator/hook/freezer.hpp"
#include "replicator/hook/redis_session.hpp"

#include <optional>

namespace farshore::hook {

class redis_freezer final : public freezer {
  public:
    explicit redis_freezer(const request &asked) : asked_(asked) {}
    result<facts> freeze(tether &t) override;
    result<> prove(tether &t) override;
    result<facts> release(tether &t) override;
    result<> let_go(tether &t) override;
    result<> force_release(tether &t, const std::string &trace) override;

  private:
    result<> check(const tether &t);
    result<> connect(const tether &t);
    result<> save(const tether &t);
    result<> sync_log(const tether &t);
    result<std::string> marks(const tether &t);
    result<> end_pause(const tether &t, const std::string &run_id) const;

    const request &asked_;
    std::optional<redis_session> session_;
    std::optional<redis_session> probe_;
    bool local_ = false;
    bool log_ = false; ///< it has an append-only file
    std::string sync_; ///< appendfsync
    std::string directory_;
    std::string version_;
    std::string run_id_; ///< of this run of the server
    std::string marks_;  ///< of the data, when it was frozen
    bool paused_ = false;
};

} // namespace farshore::hook
