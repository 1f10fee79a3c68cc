#pragma once
// Where old contents stand in raw undo: a point_index that undo tables are put into while others
// look. Threads: any.

#include "replicator/log/undo_log.hpp"
#include "replicator/replica/point_index.hpp"

#include <shared_mutex>
#include <vector>

namespace farshore {

class undo_places {
  public:
    /// Tables come oldest first. `rollback`: of that log.
    void insert(const undo_table &table, bool rollback);
    std::vector<indexed_run> find(volume_index volume, std::uint64_t block,
                                  std::uint64_t count) const;
    /// None of these blocks is here; false also when somebody puts tables in just now. Never waits.
    bool surely_none(volume_index volume, std::uint64_t block, std::uint64_t count) const;
    std::size_t runs() const;
    void clear();

  private:
    mutable std::shared_mutex mutex_;
    point_index index_;
};

} // namespace farshore
