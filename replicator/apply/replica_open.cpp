// Making a group and opening it: what is on the disk becomes evidence, recovery_cases.cpp decides,
// and this file carries it out.

#include "replicator/apply/replica_impl.hpp"
#include "replicator/base/assert.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <ranges>

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
    const std::vector<group_volume> listed = to_disk(volumes);
    FS_CHECK(replica_images::create(files, listed));
    FS_CHECK(state->truncate(0));
    FS_CHECK(state->write_at(0, encode_commit_slot(commit_record{})));
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

/// The valid slot with the higher sequence; `older`: what the other one is at.
result<> replica_group::impl::read_commit(file &state, std::optional<commit_record> &newest,
                                          interval_id &older) {
    std::array<byte_vector, 2> slots{byte_vector(commit_slot_bytes),
                                     byte_vector(commit_slot_bytes)};
    for (std::size_t i = 0; i < slots.size(); ++i) {
        FS_CHECK(state.read_at(i * commit_slot_bytes, slots[i]));
        auto record = parse_commit_slot(slots[i]);
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
    const undo_evidence &undo = core->undo().evidence();
    const interval_id at = newest->applied.interval;
    e.history_broken = undo.history_broken;
    e.tail = undo.tail_broken                         ? undo_tail::broken
             : undo.tail_torn                         ? undo_tail::torn
             : core->undo().records_after(at).empty() ? undo_tail::empty
                                                      : undo_tail::complete;
    const auto next_one = journal->entries_after(at, 1);
    const interval_id known = newest->durable.interval;
    const auto last = journal->last();
    if (journal->damaged() || (known > at && (!last || last->position.interval < known))) {
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
    older_undo_segment = 0; // nothing is dropped before the first commit of this life
    if (!newest) {
        const auto refused = decide_recovery(gather(newest));
        REPL_ASSERT(refused.refuse);
        return fail(errc::corrupt, state->path() + ": " + std::string(to_text(refused.label)));
    }
    committed = *newest;
    FS_TRY(images, replica_images::open(files, info->volumes));
    undo_log_options undo_options;
    undo_options.directory = join_path(directory, "undo");
    undo_options.segment_bytes = segment_bytes_for(options);
    undo_options.room = [this](std::uint64_t bytes) {
        return make_room(bytes, options.journal_bytes_max);
    };
    FS_TRY(undo, undo_log::open(files, std::move(undo_options), committed.applied.interval,
                                {committed.undo_segment, committed.undo_offset}));
    core = std::make_shared<replica_core>(std::move(state), std::move(images), std::move(undo));
    FS_TRY(log, interval_log::open(
                    files, {join_path(directory, "journal"), segment_bytes_for(options), 0}));
    journal = std::move(log);
    FS_CHECK(recover(decide_recovery(gather(newest))));
    apply_stage = std::make_unique<applier>(*core, *journal, options.batch_bytes_max, applied);
    return {};
}

// Everything is idempotent up to the new commit record, which ends the recovery: a crash before it
// finds the same evidence, or less of it.
result<> replica_group::impl::recover(const recovery_decision &decision) {
    if (decision.label != recovery_case::clean) {
        log::warning("{}: {}", options.state_directory, to_text(decision.label));
    }
    if (decision.roll_back) {
        FS_CHECK(roll_back());
    }
    FS_CHECK(core->undo().cut_after(committed.applied.interval,
                                    {committed.undo_segment, committed.undo_offset}));
    if (decision.clear_journal) {
        FS_CHECK(journal->clear());
    }
    rebuild_points(decision);
    applied.position = committed.applied;
    applied.consistent = committed.consistent;
    applied.time = committed.applied_time;
    applied.damage_count = committed.damage_count + (decision.add_damage ? 1 : 0);
    applied.healed_count = committed.healed_count;
    return commit(true);
}

// Newest first, so that each block ends with the oldest content: what it held at the commit. The
// images are durable before the undo goes, so this can be done again.
result<> replica_group::impl::roll_back() {
    const auto records = core->undo().records_after(committed.applied.interval);
    std::uint64_t blocks = 0;
    for (const undo_record &record : std::views::reverse(records)) {
        FS_CHECK(core->undo().visit(
            record, [&](const undo_entry &entry, bytes_view content) -> result<> {
                const std::uint64_t end = entry.block.value + entry.count;
                if (entry.volume.value >= volumes.size() ||
                    end > core->images().volume_blocks()[entry.volume.value]) {
                    return fail(errc::corrupt, "undo of a block that the group does not have");
                }
                blocks += entry.count;
                return entry.kind == undo_kind::zero
                           ? core->images().zero_blocks(entry.volume, entry.block.value,
                                                        entry.count)
                           : core->images().write_blocks(entry.volume, entry.block.value, content);
            }));
    }
    log::info("{}: {} blocks rolled back to interval {}", options.state_directory, blocks,
              committed.applied.interval.value);
    return core->images().sync();
}

// Points stand in the undo log, each in the last record of its interval. The newest one stands in
// the commit record as well, for it needs no undo while it is what the images show.
void replica_group::impl::rebuild_points(const recovery_decision &decision) {
    if (decision.drop_points) {
        return;
    }
    const interval_id at = committed.applied.interval;
    core->undo().each([&](const undo_record &record) {
        if (record.header.last && record.header.point && record.header.position.interval <= at) {
            points.push_back({record.header.position.interval, record.header.time});
        }
    });
    if (committed.point.value != 0 && committed.point == at &&
        (points.empty() || points.back().id != at)) {
        points.push_back({at, committed.point_time});
    }
}

} // namespace farshore
