#pragma once
// Hook type `postgresql` (also clusters of 9.6 to 14, where the functions have older names): a
// checkpoint and a short bracket of backup mode in one session, pg_backup_start ... pg_backup_stop.
//
// Clients are not stopped: what makes the point good is that the barrier cuts all volumes at once,
// so the cluster in it recovers as after a crash, from a checkpoint that has just been. The bracket
// gives the LSNs that the point is labelled with, and full page writes meanwhile. So files that are
// not on the group's volumes are refused: they would be of another moment.
//
// Proof: a second session sees the backend of the bracket, with its start time, in the server that
// started when ours did; and pg_backup_stop succeeds, which it does only in the session that
// began. The end of that session, by whatever cause, ends the bracket.

#include "replicator/hook/freezer.hpp"
#include "replicator/hook/pg_session.hpp"

#include <optional>

namespace farshore::hook {

class postgresql_freezer final : public freezer {
  public:
    explicit postgresql_freezer(const request &asked) : asked_(asked) {}
    result<facts> freeze(tether &t) override;
    result<> prove(tether &t) override;
    result<facts> release(tether &t) override;
    result<> let_go(tether &t) override;
    result<> force_release(tether &t, const std::string &trace) override;

  private:
    result<> check_files(const tether &t);
    const request &asked_;
    std::optional<pg_session> session_;
    std::string backend_;       ///< its process
    std::string backend_start_; ///< and since when
    std::string server_start_;
};

} // namespace farshore::hook
