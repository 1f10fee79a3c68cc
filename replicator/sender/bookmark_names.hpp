#pragma once
// The names of bookmarks that a group at the primary made, so that none is given twice, and when
// each schedule made its last one: STATE/groups/NAME/bookmarks.json. Points of earlier bookmarks
// live at the DR site, which may be out of reach; a name stays taken here when its point is gone
// there.

#include "replicator/base/clock.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"
#include "replicator/storage/file_system.hpp"

#include <deque>
#include <map>
#include <string>

namespace farshore {

constexpr std::size_t bookmark_names_max = 4096; ///< remembered; the oldest are forgotten

struct bookmark_names {
    struct made {
        std::string name;
        interval_id barrier; ///< 0: it is being made, or was when the sender was killed
        wall_time time{};
        bool operator==(const made &) const = default;
    };
    std::deque<made> names;                     ///< oldest first
    std::map<std::string, wall_time> schedules; ///< by their name: the last time that was due
    bool operator==(const bookmark_names &) const = default;

    const made *find(const std::string &name) const;
    /// errc::busy: it is taken; changes nothing then.
    result<> reserve(const std::string &name, wall_time now);
    void settle(const std::string &name, interval_id barrier, wall_time time);
    /// It came to nothing.
    void drop(const std::string &name);
};

std::string text_of(const bookmark_names &b);
/// None when there is no file. errc::corrupt, with what to do. Blocks.
result<bookmark_names> read_bookmark_names(file_system &files, const std::string &path);

/// `{time}` in it becomes the time, as 20260131T180000Z.
std::string expand_bookmark_name(const std::string &pattern, wall_time now);

} // namespace farshore
