// What the catalogue holds of a group: settled with the history at open, told what becomes of
// points, and changed by who pins or forgets one.

#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/base/rfc3339.hpp"
#include "replicator/replica/label_text.hpp"
#include "replicator/replica/point_cases.hpp"
#include "replicator/replica/replica_impl.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {

catalogue &replica_group::facts() const { return *impl_->facts; }

// Points stand in the history, each in the last record of its interval. The newest one stands in
// the commit record as well, for it needs no undo while it is what the images show.
std::vector<catalogued_point> replica_group::impl::points_of_history() const {
    std::vector<catalogued_point> found;
    const interval_id at = committed.applied.interval;
    for (const auto &s : *core->packed().list()) {
        for (const packed_point &p : s->points()) {
            found.push_back({p.id, p.time, p.arrival});
        }
    }
    const interval_id packed = found.empty() ? interval_id{} : found.back().id;
    core->history().each([&](const undo_record &record) {
        if (record.header.last && record.header.point && record.header.position.interval > packed &&
            record.header.position.interval <= at) {
            found.push_back(
                {record.header.position.interval, record.header.time, record.header.arrival});
        }
    });
    if (committed.point.value != 0 && committed.point == at &&
        (found.empty() || found.back().id != at)) {
        found.push_back({at, committed.point_time, committed.point_arrival});
    }
    return found;
}

result<> replica_group::impl::rebuild_points(const recovery_decision &decision) {
    if (decision.drop_points) {
        return settle_facts({});
    }
    known.suspect = committed.suspect;
    known.suspect_time = committed.suspect_time;
    return settle_facts(points_of_history());
}

// Nothing else runs yet.
result<> replica_group::impl::settle_facts(std::vector<catalogued_point> history) {
    FS_CHECK(facts->cut_after(committed.applied.interval));
    FS_TRY(listed, facts->points());
    FS_TRY(through, facts->noted_through());
    take_labels(history, through);
    const settled_points settled = settle_points({history, listed, through});
    for (const interval_id id : settled.gone_and_pinned) {
        log::error("{}: point {} was pinned and is gone: the history does not reach back to it",
                   options.state_directory, id.value);
    }
    known.points.assign(settled.points.begin(), settled.points.end());
    FS_TRY(damages, facts->damages());
    known.set_damages(std::move(damages));
    FS_TRY(tested, facts->tested());
    known.tested = tested;
    noted = through;
    if (facts->begun_anew() && !history.empty()) {
        known.rebuilt = rebuilt_points{history.back().id, wall_time(duration(files.now()))};
        log::error(
            "{}: the catalogue of its points is lost: pins, names and openings are not known "
            "any more. The {} points that the history has stay for a day at least: pin what "
            "must stay longer",
            options.state_directory, history.size());
        FS_CHECK(facts->set_rebuilt(known.rebuilt));
    } else {
        FS_TRY(before, facts->rebuilt());
        known.rebuilt = before;
    }
    if (!settled.gone.empty()) {
        FS_CHECK(facts->drop_points(settled.gone, false));
    }
    return read_openings();
}

// A label that the catalogue does not have yet keeps its interval in the journal (labels_noted).
void replica_group::impl::take_labels(std::vector<catalogued_point> &history,
                                      interval_id through) const {
    const auto first = std::ranges::upper_bound(history, through, {}, &catalogued_point::id);
    for (auto p = first; p != history.end(); ++p) {
        const auto entry = journal->entries_after(interval_id{p->id.value - 1}, 1);
        if (!entry.empty() && entry.front().position.interval == p->id &&
            entry.front().commit.label) {
            put_label(*p, *entry.front().commit.label);
        }
    }
}

/// Up to this interval the journal is needed by no label.
interval_id replica_group::impl::labels_noted() {
    const std::scoped_lock one(facts_mutex);
    const std::scoped_lock lock(mutex);
    const auto first = std::ranges::upper_bound(known.points, noted, {}, &catalogued_point::id);
    const auto labelled = std::find_if(first, known.points.end(),
                                       [](const catalogued_point &p) { return !p.name.empty(); });
    return interval_id{labelled == known.points.end() ? limits::interval_id_max
                                                      : labelled->id.value - 1};
}

/// Openings come and go through facts(); a point that is being served is held besides.
result<> replica_group::impl::read_openings() {
    FS_TRY(all, facts->openings());
    std::set<interval_id> ids;
    for (const catalogued_opening &o : all) {
        ids.insert(o.point);
    }
    const std::scoped_lock lock(mutex);
    known.opened = std::move(ids);
    return {};
}

/// What can't be noted now is noted next time; until then the history says more than the catalogue.
void replica_group::impl::note_points(interval_id through) {
    const std::scoped_lock one(facts_mutex);
    if (auto done = note_points_now(through); !done) {
        log::warning("{}: {}", options.state_directory, done.error().text());
    }
}

/// Under facts_mutex. `through`: applied, and in a commit record.
result<> replica_group::impl::note_points_now(interval_id through) {
    std::vector<catalogued_point> fresh;
    std::vector<interval_id> dropped;
    {
        const std::scoped_lock lock(mutex);
        const auto first = std::ranges::upper_bound(known.points, noted, {}, &catalogued_point::id);
        const auto last =
            std::ranges::upper_bound(known.points, through, {}, &catalogued_point::id);
        if (first < last) {
            fresh.assign(first, last);
        }
        dropped = std::exchange(known.let_go, {});
    }
    result<> done;
    if (fresh.empty() && dropped.empty()) {
        return done; // intervals without points are noted with the next one
    }
    if (through > noted) {
        const bool named =
            std::ranges::any_of(fresh, [](const catalogued_point &p) { return !p.name.empty(); });
        done = facts->note_points(fresh, through, named);
        noted = done ? through : noted;
    }
    if (done && !dropped.empty()) {
        done = facts->drop_points(dropped, false);
    }
    if (!done) {
        const std::scoped_lock lock(mutex);
        known.let_go.insert(known.let_go.end(), dropped.begin(), dropped.end());
    }
    return done;
}

// One that is not committed yet may have to be made anew after a crash, and the catalogue would
// have cut off what it said of it.
result<> replica_group::impl::check_committed(interval_id id) const {
    const std::scoped_lock lock(mutex);
    return id <= committed.applied.interval
               ? result<>()
               : fail(errc::busy, fmt::format("{}: point {} is being committed; try again in some "
                                              "seconds",
                                              options.state_directory, id.value));
}

bool replica_group::committed(interval_id id) const {
    return impl_->check_committed(id).has_value();
}

/// What the list of points says has no name of a group.
result<> replica_group::impl::in_words(result<> of_points) const {
    return of_points ? of_points
                     : fail(of_points.error().code,
                            options.state_directory + ": " + of_points.error().context);
}

// First in memory, so that retention knows from here on.
result<> replica_group::pin(interval_id id, bool pinned) {
    impl &i = *impl_;
    FS_CHECK(i.check_alive());
    const std::scoped_lock one(i.facts_mutex);
    interval_id committed;
    bool before = false;
    {
        const std::scoped_lock lock(i.mutex);
        const auto at = i.known.place_of(id);
        if (!at) {
            return i.in_words(std::unexpected(at.error()));
        }
        before = std::exchange(i.known.points[*at].pinned, pinned);
        committed = i.committed.applied.interval;
    }
    auto done = i.check_committed(id);
    if (done) {
        done = i.note_points_now(committed);
    }
    if (done) {
        done = i.facts->pin(id, pinned);
    }
    if (!done) {
        const std::scoped_lock lock(i.mutex);
        if (const auto at = i.known.place_of(id)) {
            i.known.points[*at].pinned = before;
        }
    }
    return done;
}

result<> replica_group::note_test(const catalogued_test &test) {
    impl &i = *impl_;
    FS_CHECK(i.check_alive());
    const std::scoped_lock one(i.facts_mutex);
    interval_id committed;
    {
        const std::scoped_lock lock(i.mutex);
        if (const auto at = i.known.place_of(test.point); !at) {
            return i.in_words(std::unexpected(at.error()));
        }
        committed = i.committed.applied.interval;
    }
    FS_CHECK(i.check_committed(test.point));
    FS_CHECK(i.note_points_now(committed));
    FS_CHECK(i.facts->add_test(test));
    FS_TRY(now, i.facts->tested());
    const std::scoped_lock lock(i.mutex);
    i.known.tested = now;
    return {};
}

test_record replica_group::tested() const {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->known.tested;
}

/// Under facts_mutex. Who opens it holds it under the same lock, so it is open or on its way out.
result<> replica_group::impl::forget_committed(interval_id id) {
    interval_id committed_now;
    {
        const std::scoped_lock lock(mutex);
        FS_CHECK(in_words(known.may_forget(id, core->held())));
        known.forgetting = id;
        committed_now = committed.applied.interval;
    }
    FS_CHECK(check_committed(id));
    FS_CHECK(note_points_now(committed_now));
    return facts->drop_points(std::span(&id, 1), true);
}

// First in the catalogue: else the history would bring it back after a crash. All that retention
// let go before goes with it.
result<> replica_group::forget(interval_id id) {
    impl &i = *impl_;
    FS_CHECK(i.check_alive());
    const std::scoped_lock one(i.facts_mutex);
    FS_CHECK(i.read_openings());
    auto done = i.forget_committed(id);
    const std::scoped_lock lock(i.mutex);
    i.known.forgetting.reset();
    if (done) {
        std::erase_if(i.known.points, [id](const catalogued_point &p) { return p.id == id; });
    }
    return done;
}

} // namespace farshore
