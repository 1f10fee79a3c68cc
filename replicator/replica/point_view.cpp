#include "replicator/replica/point_view.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/replica/point_device.hpp"

#include <algorithm>

namespace farshore {

point_view::point_view(std::shared_ptr<replica_core> c, interval_id i, view_kind k)
    : core(std::move(c)), id(i), kind(k) {
    if (kind == view_kind::moment) {
        core->hold_moment(id);
    } else {
        core->hold(id);
    }
}

point_view::~point_view() {
    if (kind == view_kind::moment) {
        core->release_moment(id);
    } else {
        core->release(id);
    }
}

replica_core::replica_core(std::unique_ptr<file> state_lock, std::unique_ptr<replica_images> images,
                           std::unique_ptr<undo_log> history, std::unique_ptr<undo_log> rollback,
                           std::unique_ptr<packed_store> packed)
    : lock_(std::move(state_lock)), images_(std::move(images)), history_(std::move(history)),
      rollback_(std::move(rollback)), packed_(std::move(packed)) {
    set_past({packed_->list(), nullptr});
}

void replica_core::hold(interval_id id) {
    const std::scoped_lock lock(holds_mutex_);
    holds_.insert(id);
}

void replica_core::release(interval_id id) {
    const std::scoped_lock lock(holds_mutex_);
    const auto at = holds_.find(id);
    REPL_ASSERT(at != holds_.end());
    holds_.erase(at);
}

void replica_core::hold_moment(interval_id id) {
    const std::scoped_lock lock(holds_mutex_);
    moments_.insert(id);
}

void replica_core::release_moment(interval_id id) {
    const std::scoped_lock lock(holds_mutex_);
    const auto at = moments_.find(id);
    REPL_ASSERT(at != moments_.end());
    moments_.erase(at);
}

std::optional<interval_id> replica_core::oldest_held() const {
    const std::scoped_lock lock(holds_mutex_);
    std::optional<interval_id> oldest;
    for (const auto *ids : {&holds_, &moments_}) {
        if (!ids->empty() && (!oldest || *ids->begin() < *oldest)) {
            oldest = *ids->begin();
        }
    }
    return oldest;
}

std::set<interval_id> replica_core::held() const {
    const std::scoped_lock lock(holds_mutex_);
    return {holds_.begin(), holds_.end()};
}

// The first record inserted counts. Within one interval the history comes first, as undo_writer.hpp
// says; a view of any state is opened when its state is the newest published one, so it has the
// records of one interval at a time.
result<std::shared_ptr<point_view>> replica_core::open_view(interval_id id, view_kind kind) {
    auto view = std::make_shared<point_view>(shared_from_this(), id, kind);
    const std::scoped_lock lock(views_mutex_);
    REPL_ASSERT(kind != view_kind::any_state ||
                (history_->records_after(id).empty() && rollback_->records_after(id).empty()));
    if (const auto now = past(); now->reaches(id)) {
        if (!now->raw) {
            FS_TRY(raw, index_raw(*now->stretches));
            set_past({now->stretches, std::move(raw)});
        }
    } else {
        for (const undo_record &record : history_->records_after(id)) {
            FS_TRY(table, history_->read_table(record));
            view->places.insert(table, false);
        }
    }
    std::erase_if(views_, [](const auto &v) { return v.expired(); });
    views_.push_back(view);
    return view;
}

void replica_core::publish() {
    const std::scoped_lock lock(views_mutex_);
    const auto now = past();
    std::erase_if(views_, [](const auto &v) { return v.expired(); });
    for (const auto &weak : views_) {
        const auto view = weak.lock();
        if (!view || now->reaches(view->id)) {
            continue;
        }
        // An interval that is taken in steps has a view of the state before it while undo of
        // earlier intervals goes out with its first step.
        const auto insert = [&](const undo_log &log, bool rollback) {
            for (const undo_table &table : log.fresh()) {
                if (table.record.header.position.interval > view->id) {
                    view->places.insert(table, rollback);
                }
            }
        };
        insert(*history_, false);
        if (view->kind == view_kind::any_state) {
            insert(*rollback_, true);
        }
    }
    if (now->raw) {
        for (const undo_table &table : history_->fresh()) {
            now->raw->insert(table, false);
        }
    }
    history_->publish();
    rollback_->publish();
    if (now->raw && views_.empty() && now.use_count() <= 2) { // this one and past_
        set_past({now->stretches, nullptr});
        caches_.clear();
        for (const auto &s : *now->stretches) {
            s->forget_filter();
        }
    }
}

std::vector<std::shared_ptr<block_device>>
replica_core::devices(const std::shared_ptr<point_view> &view, std::size_t volumes,
                      const point_changes &changes) {
    std::vector<std::shared_ptr<block_device>> all;
    all.reserve(volumes);
    for (std::size_t v = 0; v < volumes; ++v) {
        all.push_back(std::make_shared<point_device>(
            shared_from_this(), view, volume_index{static_cast<std::uint16_t>(v)}, changes));
    }
    return all;
}

} // namespace farshore
