#pragma once
// The points of a group that are open: each is served over NBD, read-only, at its own place, until
// it is closed. An opening outlives the copy's object: while that is opened anew its clients are
// disconnected, and find the point again at the same place, under the same id. One whose point is
// gone is closed, and said.
//
// Thread: home; the copy's calls on the disk pool, the clients' on threads of their own.

#include "replicator/base/async.hpp"
#include "replicator/nbd/server.hpp"
#include "replicator/replica/replica_group.hpp"
#include "replicator/session/commands_under_way.hpp"
#include "replicator/session/status.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

class opened_points {
  public:
    struct means {
        std::string group;
        std::vector<executor> nbd_loops;
        std::function<executor()> make_disk; ///< for the clients' requests; empty: the group's own
        std::function<nbd::client_bounds()> bounds; ///< of one server's clients
    };

    /// `commands` outlives it.
    opened_points(means how, runtime run, commands_under_way &commands);

    /// `suspect`: also a point that is. Cancel it freely.
    task<result<opened_point>> open(std::shared_ptr<replica_group> copy, replica_point point,
                                    nbd::endpoint where, bool suspect);
    /// False: there is none of that id.
    task<bool> close(std::string id);
    task<void> close_all();

    /// Before the copy is let go: devices read through it.
    task<void> suspend();
    /// By this copy, those that it has the point of. `all`: everything durable is applied, so a
    /// point that is not there is gone for good.
    task<void> resume(std::shared_ptr<replica_group> copy, bool all);
    /// Points up to it became suspect. An opening goes on, for it may be in use; who reads the log
    /// is told which.
    void tell_suspect(interval_id upto);

    std::vector<opened_point> list() const;
    std::size_t size() const { return opened_.size(); }
    double oldest_seconds() const;
    /// The cure that a message about space doesn't know: a point that somebody forgot to close.
    /// Empty: none is open.
    std::string holding() const;

  private:
    struct entry {
        opened_point view;
        nbd::endpoint where;
        interval_id point;
        bool suspect = false;                ///< asked for such a one
        bool suspect_said = false;           ///< who opened it knows that it is, or was told
        std::unique_ptr<nbd::server> server; ///< null while the copy is being opened anew
        time_point since{};
    };

    task<result<>> serve(std::shared_ptr<replica_group> copy, entry &e);

    means how_;
    runtime run_;
    commands_under_way &commands_;
    std::optional<executor> disk_; ///< made with the first point that is opened
    std::uint64_t next_id_ = 1;
    std::map<std::string, entry> opened_;
};

} // namespace farshore
