#pragma once
// The stage behind apply: packs the history of the copy that is open (replica/history_packer.hpp),
// in small steps on the pool for computing, as long as apply keeps up. Undo that it does not come
// to stays raw, and is packed later.
//
// Thread: home; the copy's calls on the pool.

#include "replicator/base/async.hpp"
#include "replicator/receiver/group_log.hpp"
#include "replicator/replica/replica_group.hpp"

#include <memory>

namespace farshore {

class pack_stage {
  public:
    pack_stage(group_log &words, runtime run) : log_(words), run_(run), tasks_(run.home) {}

    /// Works on the copy until end().
    void begin(std::shared_ptr<replica_group> copy);
    /// Returns when the step under way has ended.
    task<void> end();

  private:
    task<void> live(std::shared_ptr<replica_group> copy);
    task<void> wait(duration every);

    group_log &log_;
    runtime run_;
    task_group tasks_;
    condition ended_;
    bool ending_ = false;
};

} // namespace farshore
