#pragma once
// What a group knows of its recovery points while it runs: the list, what retention and people
// said of them, and which must not be trusted. In memory only; replica_facts.cpp tells the
// catalogue, and makes the list at open.
//
// Threads: none; the owner locks.

#include "replicator/catalogue/catalogue.hpp"
#include "replicator/replica/damage_reach.hpp"
#include "replicator/replica/replica_group.hpp"
#include "replicator/replica/retention.hpp"

#include <deque>
#include <optional>
#include <set>
#include <vector>

namespace farshore {

struct known_points {
    /// After the loss of a catalogue: so long retention by age drops no point that may have been
    /// pinned.
    static constexpr duration rebuilt_points_stay = std::chrono::hours(24);

    std::deque<catalogued_point> points;   ///< oldest first
    test_record tested;                    ///< as the catalogue has it
    std::vector<interval_id> let_go;       ///< no points any more; the catalogue still lists them
    std::set<interval_id> opened;          ///< points of the catalogue's openings, as last read
    std::optional<interval_id> forgetting; ///< on its way out: nobody opens it any more
    std::optional<rebuilt_points> rebuilt; ///< whose pins are not known
    interval_id suspect;                   ///< points up to it are not served
    wall_time suspect_time{};
    std::vector<catalogued_damage> damages; ///< oldest first; ids grow
    std::vector<point_span> spoilt;         ///< merged(): points that need a damaged piece
    std::vector<catalogued_damage> unsaved; ///< of these: the catalogue does not have them yet
    std::uint64_t next_damage = 1;          ///< id; never used again

    /// Its place in the list. errc::not_found, without the group's name.
    result<std::size_t> place_of(interval_id id) const;
    replica_point seen(const catalogued_point &p) const;
    points_overview overview() const;
    bool good(interval_id id) const { return id > suspect && span_of(spoilt, id) == nullptr; }
    /// The place of the newest point that is neither suspect nor damaged.
    std::optional<std::size_t> newest_good() const;

    // Damage (known_damage.cpp)
    /// Those that need it; at most limits::damaged_points_listed_max are named.
    struct reached {
        std::uint64_t count = 0;
        std::vector<interval_id> ids;
    };
    reached points_in(const point_span &span) const;
    /// Of what the catalogue has.
    void set_damages(std::vector<catalogued_damage> all);
    /// Gives it an id and keeps it; false: what is kept says as much already. Beyond
    /// limits::damages_max the newest one is made to speak of both.
    bool add_damage(catalogued_damage &d);
    /// Marks that no point has any more go; their ids.
    std::vector<std::uint64_t> drop_marks();

    bool open(interval_id id, const std::set<interval_id> &in_use) const {
        return in_use.contains(id) || opened.contains(id);
    }
    /// Whatever rules say, it stays. `in_use`: points that somebody reads now.
    bool held(const catalogued_point &p, const std::set<interval_id> &in_use, wall_time now) const;
    std::vector<kept_candidate> candidates(const std::set<interval_id> &in_use,
                                           wall_time now) const;
    /// errc::not_found, refused, busy: replica_group::forget says which; without the group's name.
    result<> may_forget(interval_id id, const std::set<interval_id> &in_use) const;

    /// Those that are not to be kept (as long as the list) are let go.
    void keep_only(const std::vector<bool> &keep);
    /// False: it must stay, whatever space says.
    bool drop_oldest(const std::set<interval_id> &in_use);
};

} // namespace farshore
