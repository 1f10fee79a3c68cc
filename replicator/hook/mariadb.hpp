#pragma once
// Hook type `mariadb` (or `mysql`): BACKUP STAGE up to BLOCK_COMMIT, where the server knows it
// (MariaDB from 10.4), else FLUSH TABLES WITH READ LOCK; `freeze=read-lock` in `connect` asks for
// that. Commits wait meanwhile; then the logs are made durable, so that what was acknowledged is
// in the point, whatever innodb_flush_log_at_trx_commit and sync_binlog say: FLUSH ENGINE LOGS
// obeys the former, and recovery takes back what the binary log does not have. Over a socket their
// files are synced here; over TCP nobody but the server could, and settings that leave it out are
// refused.
//
// Proof: our own session answers, so its locks were never given up, for they live and die with it
// (it never reconnects); and a second session, of the same server, sees ours in its process list
// and is refused the lock that ours excludes.
//
// A session that waits for locks stops others, and the server does not see that its client is gone:
// a release half way ends it by KILL from a new session.

#include "replicator/hook/freezer.hpp"
#include "replicator/hook/mariadb_session.hpp"

#include <cstdint>
#include <optional>

namespace farshore::hook {

class mariadb_freezer final : public freezer {
  public:
    explicit mariadb_freezer(const request &asked) : asked_(asked) {}
    result<facts> freeze(tether &t) override;
    result<> prove(tether &t) override;
    result<facts> release(tether &t) override;
    result<> let_go(tether &t) override;
    result<> force_release(tether &t, const std::string &trace) override;

  private:
    result<> check_files(const tether &t, const connect_words &words);
    result<> lock(const tether &t, const connect_words &words);
    result<> make_durable(const tether &t, const connect_words &words);
    result<facts> ask_facts(const tether &t, const connect_words &words);
    result<> end_session(const tether &t, unsigned long id, std::uint64_t uptime) const;

    const request &asked_;
    std::optional<mariadb_session> session_;
    unsigned long id_ = 0;
    std::uint64_t uptime_ = 0; ///< of the server in seconds, when the session began
    bool stages_ = false;      ///< BACKUP STAGE; else the read lock
    bool at_work_ = false;     ///< a statement that locks has begun and not answered
};

} // namespace farshore::hook
