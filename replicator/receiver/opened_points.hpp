#pragma once
// The points of a group that are open: each is served over NBD at its own place, or mounted, until
// it is closed. An opening outlives the copy's object and the process: it is kept in the catalogue,
// and served again at the same place, under the same id, with what was flushed to it, as soon as
// the copy has its point. One whose point is gone is closed, and said.
//
// Thread: home; whatever blocks runs on pools (opening.hpp).

#include "replicator/base/async.hpp"
#include "replicator/receiver/opening.hpp"
#include "replicator/session/commands_under_way.hpp"

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
        std::string directory; ///< of overlays and mounts; made when needed
        file_system *files = nullptr;
        std::vector<executor> nbd_loops;
        std::function<executor()> make_disk; ///< for the clients' requests; empty: the group's own
        std::function<nbd::client_bounds()> bounds;           ///< of one server's clients
        std::function<std::shared_ptr<replica_group>()> copy; ///< null: none is there now
        std::function<std::shared_ptr<catalogue>()> records;  ///< of the copy; null likewise
    };

    /// `commands` outlives it.
    opened_points(means how, runtime run, commands_under_way &commands);

    /// Errors: of the request, of a full or failing disk, of mounting; nothing is left of it then.
    /// Durable on return; but one that is only looked at is opened on a full disk too, and
    /// resume() records it when that has room. `since`: an older point, as
    /// replica_group::open_point() has it.
    task<result<opened_point>> open(replica_point point, open_request wanted,
                                    std::optional<interval_id> since);
    /// Drops what was written to it. errc::not_found: there is none of that id. Durable on return.
    task<result<>> close(std::string id);
    bool has(const std::string &id) const { return opened_.contains(id); }

    /// Before the copy is let go: devices read through it. They stay open in the catalogue, and
    /// nothing is served until go_on().
    task<void> suspend();
    void go_on() { paused_ = false; }
    /// resume() may have something to do.
    bool waiting() const;
    /// Those that the copy has the point of; at first it reads the catalogue. `all`: everything
    /// durable is applied, so a point that is not there is gone for good.
    task<void> resume(bool all);
    /// Points up to it became suspect. An opening goes on, for it may be in use; who reads the log
    /// is told which.
    void tell_suspect(interval_id upto);

    std::vector<opened_point> list() const;
    /// Of an opening that is served now; empty: it is not.
    std::vector<std::shared_ptr<block_device>> devices(const std::string &id) const;
    std::size_t size() const { return opened_.size(); }
    double oldest_seconds() const;
    /// The cure that a message about space doesn't know: a point that somebody forgot to close.
    /// Empty: none is open.
    std::string holding() const;

  private:
    /// One at a time works on an opening.
    class turn;

    const opening_means &served_by();
    result<std::shared_ptr<catalogue>> records() const;
    task<result<>> load();
    task<void> remove_leftovers();
    task<result<std::shared_ptr<opening>>> make(replica_point point, open_request wanted,
                                                std::optional<interval_id> since);
    task<result<>> start(std::shared_ptr<opening> o);
    task<void> resume(std::shared_ptr<opening> o, bool all);
    task<result<>> drop(std::shared_ptr<opening> o);
    task<result<>> keep(opening &o);
    task<void> record(std::shared_ptr<opening> o);
    task<result<>> forget(const opening &o);

    means how_;
    runtime run_;
    commands_under_way &commands_;
    std::optional<opening_means> served_by_; ///< made with the first point that is opened
    condition free_;                         ///< somebody's turn ended
    std::uint64_t attached_ = 0;             ///< made in this life, for their ids
    bool loaded_ = false;                    ///< the catalogue was read
    bool paused_ = false;                    ///< the copy is being let go
    std::map<std::string, std::shared_ptr<opening>> opened_;
};

} // namespace farshore
