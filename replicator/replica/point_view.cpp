#include "replicator/replica/point_view.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/replica/point_device.hpp"

#include <algorithm>

namespace farshore {

point_view::point_view(std::shared_ptr<replica_core> c, interval_id i, view_kind k)
    : core(std::move(c)), id(i), kind(k) {
    core->hold(id);
}

point_view::~point_view() { core->release(id); }

// Runs of blocks that follow each other in volume, table and contents become one node.
void point_view::insert(const undo_table &table, bool rollback) {
    const undo_record &record = table.record;
    std::uint64_t contents = record.place.offset + undo_header_bytes;
    std::uint64_t entry = contents + record.header.content_bytes;
    indexed_run run;
    const std::scoped_lock lock(mutex);
    for (const undo_entry &e : table.entries) {
        const bool zero = e.kind == undo_kind::zero;
        if (run.count > 0 && run.volume == e.volume && run.block + run.count == e.block.value &&
            run.zero == zero) {
            run.count += e.count;
        } else {
            if (run.count > 0) {
                index.insert(run);
            }
            run = {e.volume, e.block.value,        e.count, zero,
                   rollback, record.place.segment, entry,   contents};
        }
        entry += undo_entry_bytes;
        contents += zero ? 0 : block_bytes;
    }
    if (run.count > 0) {
        index.insert(run);
    }
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
    REPL_ASSERT(kind == view_kind::point ||
                (history_->records_after(id).empty() && rollback_->records_after(id).empty()));
    for (const undo_record &record : history_->records_after(id)) {
        FS_TRY(table, history_->read_table(record));
        view->insert(table, false);
    }
    std::erase_if(views_, [](const auto &v) { return v.expired(); });
    views_.push_back(view);
    return view;
}

void replica_core::publish() {
    const std::scoped_lock lock(views_mutex_);
    for (const auto &weak : views_) {
        const auto view = weak.lock();
        if (!view) {
            continue;
        }
        // An interval that is taken in steps has a view of the state before it while undo of
        // earlier intervals goes out with its first step.
        const auto insert = [&](const undo_log &log, bool rollback) {
            for (const undo_table &table : log.fresh()) {
                if (table.record.header.position.interval > view->id) {
                    view->insert(table, rollback);
                }
            }
        };
        insert(*history_, false);
        if (view->kind == view_kind::any_state) {
            insert(*rollback_, true);
        }
    }
    history_->publish();
    rollback_->publish();
}

result<> replica_core::read_blocks(const point_view &view, volume_index volume, std::uint64_t block,
                                   bytes_span out) {
    const std::uint64_t count = out.size() / block_bytes;
    const auto look = [&] {
        const std::shared_lock lock(view.mutex);
        return view.index.find(volume, block, count);
    };
    const auto blocks_in = [](const std::vector<indexed_run> &runs) {
        std::uint64_t sum = 0;
        for (const indexed_run &run : runs) {
            sum += run.count;
        }
        return sum;
    };
    auto runs = look();
    if (blocks_in(runs) < count) {
        FS_CHECK(images_->read_blocks(volume, block, out));
        runs = look();
    }
    for (const indexed_run &run : runs) {
        const bytes_span part =
            out.subspan(static_cast<std::size_t>((run.block - block) * block_bytes),
                        static_cast<std::size_t>(run.count * block_bytes));
        if (run.zero) {
            std::ranges::fill(part, std::byte{0});
        } else {
            const undo_log &log = run.rollback ? *rollback_ : *history_;
            FS_CHECK(log.read_raw({run.segment, run.entries}, {run.segment, run.contents},
                                  run.count, part));
        }
    }
    return {};
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
