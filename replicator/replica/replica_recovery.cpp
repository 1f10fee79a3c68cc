// Making a group and opening it: what is on the disk becomes evidence, recovery_cases.cpp decides,
// and this file carries it out.

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/replica/replica_impl.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <random>

namespace farshore {
namespace {

/// Small enough that retention gives space back in small pieces, large enough for sequential speed.
std::uint64_t segment_bytes_for(const replica_options &options) {
    return options.segment_bytes != 0 ? options.segment_bytes
                                      : std::clamp<std::uint64_t>(options.journal_bytes_max / 64,
                                                                  limits::MiB, 64 * limits::MiB);
}

std::array<std::byte, 16> random_identity() {
    std::array<std::byte, 16> identity{};
    std::random_device random;
    for (std::byte &b : identity) {
        b = static_cast<std::byte>(random());
    }
    return identity;
}

std::vector<group_volume> to_disk(const std::vector<replica_volume> &volumes) {
    std::vector<group_volume> all;
    for (const replica_volume &v : volumes) {
        all.push_back({v.name, v.size, v.path});
    }
    return all;
}

result<> check_volumes(const std::vector<replica_volume> &volumes) {
    if (volumes.empty() || volumes.size() > limits::volumes_per_group_max) {
        return fail(errc::invalid, fmt::format("a group of {} volumes", volumes.size()));
    }
    for (const replica_volume &v : volumes) {
        if (v.name.empty() || v.name.size() > limits::name_bytes_max || v.size == 0 ||
            v.size > limits::volume_bytes_max) {
            return fail(errc::invalid, fmt::format("volume \"{}\" of {} bytes", v.name, v.size));
        }
    }
    return {};
}

undo_tail tail_of(const undo_log &log, interval_id committed) {
    const undo_evidence &found = log.evidence();
    return found.tail_broken                      ? undo_tail::broken
           : found.tail_torn                      ? undo_tail::torn
           : log.records_after(committed).empty() ? undo_tail::empty
                                                  : undo_tail::complete;
}

/// Of the last published record; 0: there is none after `committed`.
interval_id last_of(const undo_log &log, interval_id committed) {
    const auto records = log.records_after(committed);
    return records.empty() ? interval_id{} : records.back().header.position.interval;
}

/// Journal, undo and loans of a copy whose list of volumes is gone would be taken for those of the
/// one that is made.
result<> remove_leftovers(file_system &files, const std::string &directory) {
    for (const char *name :
         {"journal", "undo", "rollback", "packed", "loans", "catalogue.db-wal", "catalogue.db"}) {
        const std::string path = join_path(directory, name);
        FS_TRY(present, files.exists(path));
        const auto inside = present ? files.list(path) : result<std::vector<std::string>>();
        if (inside) {
            for (const std::string &file : *inside) {
                FS_CHECK(files.remove(join_path(path, file)));
            }
            if (!inside->empty()) {
                log::warning("{}: {} file(s) of an earlier copy are removed", path, inside->size());
                FS_CHECK(files.sync_directory(path));
            }
        } else {
            FS_CHECK(files.remove(path)); // a file
        }
    }
    return files.sync_directory(directory);
}

} // namespace

std::string state_path(const std::string &directory) { return join_path(directory, "group.state"); }
std::string volumes_path(const std::string &directory) {
    return join_path(directory, "group.volumes");
}

result<bool> replica_group::exists(file_system &files, const std::string &state_directory) {
    return files.exists(volumes_path(state_directory));
}

// The list of volumes is written last and as a whole: it is what makes a group. A crash before it
// leaves things that the next try takes over.
result<> replica_group::create(file_system &files, const replica_options &options,
                               const std::vector<replica_volume> &volumes) {
    const std::string &directory = options.state_directory;
    FS_CHECK(check_volumes(volumes));
    FS_CHECK(files.make_directories(directory));
    FS_TRY(present, exists(files, directory));
    if (present) {
        return fail(errc::refused, directory + " holds a group already");
    }
    FS_TRY(state, files.open(state_path(directory), open_mode::create));
    FS_CHECK(state->lock());
    FS_CHECK(remove_leftovers(files, directory));
    const std::vector<group_volume> listed = to_disk(volumes);
    FS_CHECK(replica_images::create(files, listed, options.own_directory));
    FS_CHECK(state->truncate(0));
    commit_record first;
    first.served = options.was_served.interval.value != 0;
    first.applied = first.durable = options.was_served;
    FS_CHECK(state->write_at(0, encode_commit_slot(first)));
    FS_CHECK(state->write_at(commit_slot_bytes, byte_vector(commit_slot_bytes)));
    FS_CHECK(state->sync_data());
    FS_CHECK(files.sync_directory(directory));
    return files.replace_file(volumes_path(directory),
                              encode_group_volumes({random_identity(), listed}));
}

result<std::unique_ptr<replica_group>> replica_group::open(file_system &files,
                                                           replica_options options) {
    std::unique_ptr<replica_group> group(new replica_group());
    group->impl_ = std::make_unique<impl>(files, std::move(options));
    FS_CHECK(group->impl_->open());
    return group;
}

replica_group::replica_group() = default;
replica_group::~replica_group() = default;

namespace {
/// A sixteenth of `journal`.
std::uint64_t loan_slots_of(std::uint64_t journal_bytes_max) {
    constexpr std::uint64_t share = 16;
    return std::max<std::uint64_t>(
        std::min<std::uint64_t>(journal_bytes_max / share, limits::loan_bytes_max) / block_bytes,
        1);
}
} // namespace

/// The valid slot with the higher sequence; `older`: what the other one is at.
result<> replica_group::impl::read_commit(file &state, std::optional<commit_record> &newest,
                                          interval_id &older) {
    FS_TRY(size, state.size());
    for (std::size_t i = 0; i < 2; ++i) {
        const std::uint64_t at = std::min<std::uint64_t>(i * commit_slot_bytes, size);
        byte_vector slot(
            static_cast<std::size_t>(std::min<std::uint64_t>(size - at, commit_slot_bytes)));
        if (slot.empty()) {
            continue; // a file of an older version is shorter: its first slot tells
        }
        FS_CHECK(state.read_at(at, slot));
        auto record = parse_commit_slot(slot);
        if (!record && is(record.error(), errc::unsupported)) {
            return fail(record.error().code, state.path() + ": " + record.error().context);
        }
        if (!record) {
            continue;
        }
        if (!newest || record->sequence > newest->sequence) {
            older = newest ? newest->applied.interval : record->applied.interval;
            newest = *record;
            next_slot = 1 - i;
        } else {
            older = record->applied.interval;
        }
    }
    return {};
}

recovery_evidence replica_group::impl::gather(const std::optional<commit_record> &newest) const {
    recovery_evidence e;
    if (!newest) {
        return e;
    }
    e.commit = commit_evidence::valid;
    const interval_id at = newest->applied.interval;
    // What the rollback log held before the commit is of no use to anybody.
    e.history_broken = core->history().evidence().history_broken;
    e.tail = std::max(tail_of(core->history(), at), tail_of(core->rollback(), at));
    const auto next_one = journal->entries_after(at, 1);
    const interval_id durable = newest->durable.interval;
    const auto last = journal->last();
    if (journal->damaged() || (durable > at && (!last || last->position.interval < durable))) {
        e.journal = journal_state::regressed;
    }
    if (!next_one.empty()) {
        const stream_position p = next_one.front().position;
        const bool follows = p.stream != newest->applied.stream || p.interval == next(at);
        if (!follows) {
            e.journal = journal_state::gap;
        } else if (e.journal != journal_state::regressed) {
            e.journal = journal_state::continues;
        }
    }
    return e;
}

result<std::unique_ptr<undo_log>>
replica_group::impl::open_undo(const std::string &name, segment_place end, std::uint64_t covered) {
    undo_log_options o;
    o.directory = join_path(options.state_directory, name);
    o.segment_bytes =
        std::max(segment_bytes_for(options) / 2, std::min(options.segment_bytes, limits::MiB));
    o.covered_segment = covered;
    o.room = [this](std::uint64_t bytes) { return make_room(bytes, options.journal_bytes_max); };
    return undo_log::open(files, std::move(o), committed.applied.interval, end);
}

result<> replica_group::impl::open() {
    const std::string &directory = options.state_directory;
    FS_TRY(present, replica_group::exists(files, directory));
    if (!present) {
        return fail(errc::not_found, directory + " holds no group");
    }
    FS_TRY(listed, files.read_file(volumes_path(directory)));
    auto info = parse_group_volumes(listed);
    if (!info) {
        return fail(info.error().code, volumes_path(directory) + ": " + info.error().context);
    }
    identity = info->identity;
    for (const group_volume &v : info->volumes) {
        volumes.push_back({v.name, v.size, v.path});
    }
    FS_TRY(state, files.open(state_path(directory), open_mode::read_write));
    FS_CHECK(state->lock());
    std::optional<commit_record> newest;
    FS_CHECK(read_commit(*state, newest, safe));
    older_segments.history = 0; // nothing is dropped before the first commit of this life
    older_segments.rollback = 0;
    if (!newest) {
        const auto refused = decide_recovery(gather(newest));
        REPL_ASSERT(refused.refuse);
        return fail(errc::corrupt, state->path() + ": " + std::string(to_text(refused.label)));
    }
    committed = *newest;
    if (!committed.images.empty() && committed.images.size() != volumes.size()) {
        return fail(errc::corrupt, fmt::format("{}: {} images and {} volumes", state->path(),
                                               committed.images.size(), volumes.size()));
    }
    FS_TRY(images, replica_images::open(files, info->volumes, options.own_directory));
    FS_TRY(packed, open_packed());
    FS_TRY(history, open_undo("undo", {committed.undo_segment, committed.undo_offset},
                              covered_segment(*packed->list())));
    FS_TRY(rollback,
           open_undo("rollback", {committed.rollback_segment, committed.rollback_offset}, 0));
    core = std::make_shared<replica_core>(std::move(state), std::move(images), std::move(history),
                                          std::move(rollback), std::move(packed));
    FS_CHECK(settle_packed());
    FS_TRY(log, interval_log::open(
                    files, {join_path(directory, "journal"), segment_bytes_for(options), 0}));
    journal = std::move(log);
    FS_TRY(opened, loan_store::open(files, join_path(directory, "loans"),
                                    loan_slots_of(options.journal_bytes_max), safe));
    loans = std::move(opened);
    FS_TRY(notes, catalogue::open(files, join_path(directory, "catalogue.db")));
    facts = std::move(notes);
    if (committed.served) { // what clients wrote is no evidence
        FS_CHECK(recover_served());
    } else {
        recovery_evidence evidence = gather(newest);
        FS_TRY(worst, look_at_images());
        evidence.images_changed = worst == image_case::not_as_left;
        evidence.images_doubtful = worst == image_case::doubtful;
        FS_CHECK(recover(decide_recovery(evidence)));
    }
    FS_CHECK(settle_served());
    packing.packer =
        std::make_unique<history_packer>(files, core, packer_options_of(options, identity));
    apply_stage =
        std::make_unique<applier>(*core, *journal, *loans, options.batch_bytes_max, applied,
                                  known.points.empty() ? interval_id{} : known.points.back().id,
                                  [this] { return touch_if_late(); });
    return {};
}

/// After the commit, as far as it is known: undo is durable before images are written.
own_writes replica_group::impl::our_writes() const {
    own_writes ours;
    for (const undo_log *log : {&core->history(), &core->rollback()}) {
        for (const undo_record &record : log->records_after(committed.applied.interval)) {
            ours.add(record.header.written);
        }
    }
    if (committed.touched != 0) {
        ours.add(committed.touched);
    }
    return ours;
}

/// The gravest case of any. A group that was never opened has nothing to say.
result<image_case> replica_group::impl::look_at_images() {
    if (committed.images.empty()) {
        return image_case::as_left;
    }
    const own_writes ours = our_writes();
    FS_TRY(found, core->images().stamps());
    image_case worst = image_case::as_left;
    for (std::uint16_t v = 0; v < found.size(); ++v) {
        const image_case c = judge_image(
            {core->images().has_times(volume_index{v}), committed.images[v], found[v], ours});
        worst = std::max(worst, c);
        if (c >= image_case::doubtful) {
            trouble += (trouble.empty() ? "" : "; ") +
                       fmt::format("{} is {}", core->images().path(volume_index{v}), to_text(c));
        }
    }
    images_proved = worst == image_case::as_left;
    return worst;
}

/// From here on the images may have times that the last commit doesn't know and undo doesn't tell.
result<> replica_group::impl::note_touch() {
    commit_record record = committed;
    record.sequence += 1;
    record.touched = files.now();
    return write_commit(record);
}

/// Before each image write of a step: a slow disk, or one without space, must not make our own
/// write a stranger's.
result<> replica_group::impl::touch_if_late() {
    const std::int64_t written = std::max(
        {committed.touched, core->history().last_written(), core->rollback().last_written()});
    return files.now() > written + own_writes_max / 2 ? note_touch() : result<>{};
}

/// Inside a step, too: all else in the record is as it was.
result<> replica_group::impl::note_suspicion() {
    commit_record record = committed;
    record.sequence += 1;
    {
        const std::scoped_lock lock(mutex);
        record.suspect = known.suspect;
        record.suspect_time = known.suspect_time;
    }
    return write_commit(record);
}

// A crash inside it finds the same evidence again, or less of it and a commit record that says what
// is missing: (1) damage is counted in a commit record that names the same places, and how the
// images are; (2) the images go back, and a commit record says how they are then; (3) if points
// must go, the whole history goes first: while a part of it is missing the tail counts as broken;
// (4) the logs are cut, newest first over both of them; (5) a commit record ends it.
result<> replica_group::impl::recover(const recovery_decision &decision) {
    if (decision.label != recovery_case::clean) {
        log::warning("{}: {}", options.state_directory, to_text(decision.label));
    }
    if (decision.add_damage) {
        FS_CHECK(count_damage(decision));
    }
    if (decision.roll_back) {
        FS_CHECK(note_touch());
        FS_CHECK(roll_back());
        commit_record record = committed;
        record.sequence += 1;
        FS_TRY(left, core->images().stamps());
        record.images = std::move(left);
        FS_CHECK(write_commit(record));
    }
    if (decision.drop_points) {
        FS_CHECK(core->packed().clear()); // first: segments of undo/ get their numbers anew
        FS_CHECK(core->set_packed());
        FS_CHECK(core->history().cut_after({}, {}));
    }
    FS_CHECK(cut_tails());
    if (decision.clear_journal) {
        FS_CHECK(journal->clear());
    }
    FS_CHECK(rebuild_points(decision));
    applied_as_committed();
    return commit(true);
}

void replica_group::impl::applied_as_committed() {
    const std::scoped_lock lock(mutex);
    applied.position = committed.applied;
    applied.consistent = committed.consistent;
    applied.time = committed.applied_time;
    applied.arrival = committed.applied_arrival;
    applied.damage_count = committed.damage_count;
    applied.healed_count = committed.healed_count;
}

result<> replica_group::impl::count_damage(const recovery_decision &decision) {
    commit_record record = committed;
    record.sequence += 1;
    record.damage_count += 1;
    if (decision.drop_points) {
        record.point = {};
        record.point_time = {};
        record.point_arrival = {};
    }
    if (decision.suspect_points && committed.applied.interval.value != 0) {
        record.suspect = std::max(committed.suspect, committed.applied.interval);
        record.suspect_time = wall_time(duration(files.now()));
    }
    FS_CHECK(core->images().sync());
    FS_TRY(found, core->images().stamps()); // what was found is found once
    record.images = std::move(found);
    if (trouble.empty()) {
        trouble = to_text(decision.label);
    }
    log::error("{}: {}", options.state_directory, trouble);
    return write_commit(record);
}

// Each block ends with what it held at the commit: the content of its oldest record after it. Later
// intervals go first. Within an interval the rollback log goes first and the history last, for a
// block that has records of one interval in both went to the history first (undo_writer.hpp).
// Within a log the later records go first. The images are durable before the undo goes, so this can
// be done again.
//
// Of the last step, whose undo was perhaps not durable, each log may have lost the end: the images
// don't show that step, and what is left says what they hold, for a step's records of a block are
// in one log.
result<> replica_group::impl::roll_back() {
    const interval_id at = committed.applied.interval;
    auto history = core->history().records_after(at);
    auto rollback = core->rollback().records_after(at);
    const auto interval_of = [](const std::vector<undo_record> &records) {
        return records.empty() ? interval_id{} : records.back().header.position.interval;
    };
    std::uint64_t blocks = 0;
    while (!history.empty() || !rollback.empty()) {
        if (files.now() > committed.touched + own_writes_max / 2) {
            FS_CHECK(note_touch());
        }
        const bool later = interval_of(rollback) >= interval_of(history);
        auto &records = later ? rollback : history;
        FS_TRY(count, put_back(later ? core->rollback() : core->history(), records.back()));
        blocks += count;
        records.pop_back();
    }
    log::info("{}: {} blocks rolled back to interval {}", options.state_directory, blocks,
              at.value);
    return core->images().sync();
}

// In the order of the roll-back: after a crash in the middle it is done again by what is left, and
// a block's later record without its oldest one would be wrong.
result<> replica_group::impl::cut_tails() {
    constexpr segment_place anywhere{UINT64_MAX, UINT64_MAX};
    const interval_id at = committed.applied.interval;
    for (;;) {
        const interval_id history = last_of(core->history(), at);
        const interval_id rollback = last_of(core->rollback(), at);
        if (history.value == 0 || rollback.value == 0) {
            break;
        }
        FS_CHECK(rollback >= history
                     ? core->rollback().cut_after(interval_id{history.value - 1}, anywhere)
                     : core->history().cut_after(rollback, anywhere));
    }
    FS_CHECK(core->history().cut_after(at, {committed.undo_segment, committed.undo_offset}));
    return core->rollback().cut_after(at, {committed.rollback_segment, committed.rollback_offset});
}

/// How many blocks the record had.
result<std::uint64_t> replica_group::impl::put_back(const undo_log &log,
                                                    const undo_record &record) {
    std::uint64_t blocks = 0;
    FS_CHECK(log.visit(record, [&](const undo_entry &entry, bytes_view content) -> result<> {
        const std::uint64_t end = entry.block.value + entry.count;
        if (entry.volume.value >= volumes.size() ||
            end > core->images().volume_blocks()[entry.volume.value]) {
            return fail(errc::corrupt, "undo of a block that the group does not have");
        }
        blocks += entry.count;
        return entry.kind == undo_kind::zero
                   ? core->images().zero_blocks(entry.volume, entry.block.value, entry.count)
                   : core->images().write_blocks(entry.volume, entry.block.value, content);
    }));
    return blocks;
}

} // namespace farshore
