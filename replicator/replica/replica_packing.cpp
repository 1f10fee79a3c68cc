// What is packed of a group's history: opened, held against the rest, added to, dropped.

#include "replicator/base/log.hpp"
#include "replicator/replica/replica_impl.hpp"
#include "replicator/replica/scrub_source.hpp"

#include <algorithm>

namespace farshore {

/// Less undo is not worth a segment of its own.
constexpr std::uint64_t quiet_bytes_min = limits::MiB;
/// For a while it is better to wait for more of the same block.
constexpr duration undo_age_max = std::chrono::minutes(1);

std::uint64_t stretch_bytes_of(const replica_options &options) {
    constexpr std::uint64_t share = 16;
    return options.stretch_bytes != 0
               ? options.stretch_bytes
               : std::min(options.journal_bytes_max / share, limits::stretch_undo_bytes_max);
}

packer_options packer_options_of(const replica_options &options,
                                 const std::array<std::byte, 16> &identity) {
    packer_options o;
    o.identity = identity;
    o.stretch_bytes = stretch_bytes_of(options);
    o.age_max = options.stretch_bytes != 0 ? duration::zero() : undo_age_max;
    return o;
}

// What it stands for ends before the place where the history ended at the commit, or it is of
// another time than the rest of the state.
result<std::unique_ptr<packed_store>> replica_group::impl::open_packed() {
    FS_TRY(packed,
           packed_store::open(files, join_path(options.state_directory, "packed"), identity));
    if (const std::uint64_t covered = covered_segment(*packed->list());
        covered != 0 && covered >= committed.undo_segment) {
        log::error("{}/packed is newer than the rest of the group's state: it is removed",
                   options.state_directory);
        FS_CHECK(packed->clear());
    }
    return packed;
}

/// Stretches that raw undo does not go on from are of no use.
result<> replica_group::impl::settle_packed() {
    const std::uint64_t covered = covered_segment(*core->packed().list());
    const auto segments = core->history().segments();
    const bool joins = !segments.empty() && segments.front().number <= covered + 1;
    if (covered == 0 || (joins && !core->history().evidence().history_broken)) {
        return {};
    }
    log::error("{}: what is packed of the history does not join the rest of it: it is removed",
               options.state_directory);
    FS_CHECK(core->packed().clear());
    return core->set_packed();
}

packer_facts replica_group::impl::facts_for_packing() {
    packer_facts f;
    f.now = files.now();
    const std::uint64_t used = used_bytes();
    f.room = options.journal_bytes_max - std::min(options.journal_bytes_max, used);
    for (const interval_id id : core->held()) {
        f.kept.insert(id);
    }
    const std::scoped_lock lock(mutex);
    f.end_segment = older_segments.history;
    for (const catalogued_point &p : known.points) {
        f.kept.insert(p.id);
    }
    f.kept.insert(known.opened.begin(), known.opened.end());
    f.newest_point = known.points.empty() ? interval_id{} : known.points.back().id;
    return f;
}

/// Of the apply thread, outside a step. What was written last would else stay raw, and be a good
/// part of a small history.
result<> replica_group::impl::close_quiet_history() {
    const undo_log &history = core->history();
    const bool quiet = history.last_written() != 0 &&
                       files.now() - history.last_written() > history_packer::quiet_after.count();
    if (!quiet || history.end_place().offset < quiet_bytes_min) {
        return {};
    }
    const auto ended = core->history().end_segment();
    if (!ended && !is(ended.error(), errc::dead)) {
        log::warning("{}: {}", options.state_directory, ended.error().text());
        return {};
    }
    return ended;
}

namespace {
std::vector<scrub_damage> damage_of(const std::vector<packed_fact> &lost) {
    std::vector<scrub_damage> found;
    for (const packed_fact &fact : lost) {
        found.push_back({.part = scrub_part::history,
                         .interval = fact.interval,
                         .place = {},
                         .runs = {{packed_volume(fact.key), packed_block(fact.key), fact.count}},
                         .why = "it could not be read when it was packed"});
    }
    return found;
}
} // namespace

result<bool> replica_group::pack() {
    impl &i = *impl_;
    FS_CHECK(i.check_alive());
    auto done = i.packing.packer->step(i.facts_for_packing());
    result<> taken;
    if (done && *done == history_packer::outcome::made) {
        const std::scoped_lock lock(i.packing.mutex);
        taken = i.packing.packer->take_in();
    }
    // Points that need what is lost are marked, as a scrub marks them.
    FS_CHECK(note_damage(damage_of(i.packing.packer->take_lost())));
    if (!done || !taken) {
        i.packing.packer->give_up();
        return std::unexpected(done ? taken.error() : done.error());
    }
    return *done != history_packer::outcome::idle;
}

/// Of what stands in stretches, with the raw undo that comes after it still there.
result<> replica_group::impl::drop_packed_before(interval_id needed) {
    const std::scoped_lock lock(packing.mutex);
    const std::uint64_t before = core->packed().used_bytes();
    const auto dropped = core->packed().drop_before(needed);
    if (core->packed().used_bytes() != before) {
        FS_CHECK(core->set_packed());
    }
    return dropped;
}

} // namespace farshore
