#pragma once
// Divides a sender's memory for intervals (session/memory_pool.hpp) anew: soon when a group could
// not get what it asked for, and every second as long as some group has more than the floor, so
// that what nobody uses any more goes back.
//
// Thread: home.

#include "replicator/base/async.hpp"
#include "replicator/session/memory_pool.hpp"

#include <functional>
#include <memory>

namespace farshore {

class sender_group;

class memory_tender {
  public:
    using group_list = std::function<std::vector<sender_group *>()>;

    memory_tender(std::shared_ptr<memory_pool> pool, runtime run, group_list groups);

    task<void> run();
    void stop();
    /// Once, now.
    void divide();

  private:
    std::shared_ptr<memory_pool> pool_;
    runtime run_;
    group_list groups_;
    struct request {
        condition came;
        bool open = false;
    };
    std::shared_ptr<request> request_ = std::make_shared<request>();
    bool stopping_ = false;
};

} // namespace farshore
