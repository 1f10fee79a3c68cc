#include "replicator/replica/overlay_space.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "replicator/base/opening_limits.hpp"
#include "replicator/replica/overlay_map.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

namespace farshore {

overlay_space::overlay_space(file_system &files, std::string directory, std::uint64_t limit_bytes,
                             std::string name)
    : files_(files), directory_(std::move(directory)), limit_bytes_(limit_bytes),
      name_(std::move(name)) {}

result<> overlay_space::take(std::uint64_t blocks, std::uint64_t map_pages) {
    // Asked without the lock: a look at the file system may take its time.
    const std::uint64_t bytes = blocks * block_bytes;
    std::uint64_t free = UINT64_MAX;
    if (blocks > 0) {
        FS_TRY(there, files_.free_bytes(directory_));
        free = there;
    }
    const std::lock_guard lock(mutex_);
    if (blocks > 0 && blocks_ + blocks > limit_bytes_ / block_bytes) {
        return refuse(fmt::format("its {} of space are used", limit_bytes_));
    }
    if (map_pages > 0 &&
        (map_pages_ + map_pages) * overlay_map::page_memory_bytes > limits::overlay_map_bytes_max) {
        return refuse("what was written to it lies too scattered for the memory of its map");
    }
    if (free < bytes || free - bytes < limits::overlay_free_bytes_min) {
        return refuse(fmt::format("{} has {} bytes free, and {} are left for the journal",
                                  directory_, free, limits::overlay_free_bytes_min));
    }
    blocks_ += blocks;
    map_pages_ += map_pages;
    return {};
}

std::unexpected<error> overlay_space::refuse(const std::string &why) {
    const std::string text = fmt::format("opened point {} takes no more writes: {}", name_, why);
    if (!std::exchange(said_, true)) {
        log::warning("{}; its clients get ENOSPC, replication goes on. `farshore close {}` gives "
                     "the space back; open it with a larger --space",
                     text, name_);
    }
    return fail_errno(ENOSPC, text);
}

void overlay_space::give_back(std::uint64_t blocks, std::uint64_t map_pages) {
    const std::lock_guard lock(mutex_);
    REPL_ASSERT(blocks <= blocks_ && map_pages <= map_pages_);
    blocks_ -= blocks;
    map_pages_ -= map_pages;
}

void overlay_space::adopt(std::uint64_t blocks, std::uint64_t map_pages) {
    const std::lock_guard lock(mutex_);
    blocks_ += blocks;
    map_pages_ += map_pages;
}

std::uint64_t overlay_space::used_bytes() const {
    const std::lock_guard lock(mutex_);
    return blocks_ * block_bytes;
}

} // namespace farshore
