// Points of a running group: listed, measured, opened.

#include "replicator/base/rfc3339.hpp"
#include "replicator/replica/replica_impl.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {

std::vector<replica_point> replica_group::points() const {
    const impl &i = *impl_;
    std::vector<replica_point> all;
    {
        const std::scoped_lock lock(i.mutex);
        for (const impl::kept_point &p : i.points) {
            all.push_back({p.id, p.time, p.arrival, 0, false, p.id <= i.suspect});
        }
    }
    return all;
}

std::vector<replica_point> replica_group::points_with_sizes() const {
    std::vector<replica_point> all = points();
    std::size_t at = 0; // the newest point before the record
    impl_->core->history().each([&](const undo_record &record) {
        const interval_id id = record.header.position.interval;
        while (at + 1 < all.size() && all[at + 1].id < id) {
            ++at;
        }
        if (!all.empty() && id > all[at].id) {
            all[at].undo_bytes += record.header.record_bytes();
        }
    });
    return all;
}

result<open_replica_point> replica_group::open_point(interval_id id, bool suspect_too) {
    impl &i = *impl_;
    open_replica_point opened;
    {
        const std::scoped_lock lock(i.mutex);
        const auto at = std::ranges::find(i.points, id, &impl::kept_point::id);
        if (at == i.points.end()) {
            return fail(errc::not_found,
                        fmt::format("{}: no point {}", i.options.state_directory, id.value));
        }
        opened.point = {at->id, at->time, at->arrival, 0, false, at->id <= i.suspect};
        if (opened.point.suspect && !suspect_too) {
            return fail(
                errc::refused,
                fmt::format("point {} is suspect: at {} the images were found changed by somebody "
                            "else, so it may "
                            "show what the primary never had. `--suspect` opens it nevertheless",
                            id.value, to_rfc3339(i.suspect_time)));
        }
        i.core->hold(id); // nothing it needs is dropped from here on
    }
    auto view = i.core->open_view(id, view_kind::point);
    i.core->release(id);
    FS_CHECK(view);
    opened.devices = i.core->devices(*view, i.volumes.size());
    return opened;
}

} // namespace farshore
