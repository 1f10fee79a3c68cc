// Packing of a running group: who calls it, what is dropped of it.

#include "replicator/replica/replica_impl.hpp"

#include <algorithm>

namespace farshore {

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

packer_facts replica_group::impl::facts_for_packing() {
    packer_facts f;
    f.now = files.now();
    const std::uint64_t used = used_bytes();
    f.room = options.journal_bytes_max - std::min(options.journal_bytes_max, used);
    for (const interval_id id : core->held()) {
        f.kept.insert(id);
    }
    const std::scoped_lock lock(mutex);
    f.end_segment = older_undo_segment;
    for (const catalogued_point &p : known.points) {
        f.kept.insert(p.id);
    }
    f.kept.insert(known.opened.begin(), known.opened.end());
    f.newest_point = known.points.empty() ? interval_id{} : known.points.back().id;
    return f;
}

result<bool> replica_group::pack() {
    impl &i = *impl_;
    FS_CHECK(i.check_alive());
    auto done = i.packer->step(i.facts_for_packing());
    result<> taken;
    if (done && *done == history_packer::outcome::made) {
        const std::scoped_lock lock(i.packed_mutex);
        taken = i.packer->take_in();
    }
    if (!done || !taken) {
        i.packer->give_up();
        return std::unexpected(done ? taken.error() : done.error());
    }
    return *done != history_packer::outcome::idle;
}

/// Of what stands in stretches, with the raw undo that comes after it still there.
result<> replica_group::impl::drop_packed_before(interval_id needed) {
    const std::scoped_lock lock(packed_mutex);
    const std::uint64_t before = core->packed().used_bytes();
    const auto dropped = core->packed().drop_before(needed);
    if (core->packed().used_bytes() != before) {
        FS_CHECK(core->set_packed());
    }
    return dropped;
}

} // namespace farshore
