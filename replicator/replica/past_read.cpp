// Reading blocks as of a view: stretches, raw undo, image.

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/replica/point_view.hpp"

#include <algorithm>

namespace farshore {
namespace {

/// Looks that found stretches or undo exchanged under them; packing is seldom.
constexpr int looks_max = 100;

/// The parts of [block, block + count) that no place has, as [first, end).
std::vector<std::pair<std::uint64_t, std::uint64_t>>
gaps(std::uint64_t block, std::uint64_t count, std::span<const packed_reader::place> places) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> left;
    std::uint64_t at = block;
    for (const packed_reader::place &p : places) {
        if (p.row.block > at) {
            left.emplace_back(at, p.row.block);
        }
        at = p.row.block + p.row.count;
    }
    if (at < block + count) {
        left.emplace_back(at, block + count);
    }
    return left;
}

std::uint64_t blocks_in(std::span<const indexed_run> runs) {
    std::uint64_t sum = 0;
    for (const indexed_run &run : runs) {
        sum += run.count;
    }
    return sum;
}

bool moved(const error &e) { return is(e, errc::not_found); }

bytes_span part_of(bytes_span out, std::uint64_t block, std::uint64_t first, std::uint64_t count) {
    return out.subspan(static_cast<std::size_t>((first - block) * block_bytes),
                       static_cast<std::size_t>(count * block_bytes));
}

} // namespace

/// What comes after the stretches of one past: raw undo, else the image.
class past_present final : public packed_present {
  public:
    past_present(replica_core &core, std::shared_ptr<const packed_past> past)
        : core_(core), past_(std::move(past)) {}

    result<> read(volume_index volume, std::uint64_t block, bytes_span out) override {
        auto runs = past_->raw->find(volume, block, 1);
        if (runs.empty()) {
            FS_CHECK(core_.images().read_blocks(volume, block, out));
            runs = past_->raw->find(volume, block, 1);
            if (core_.past() != past_) {
                return fail(errc::not_found, "history was packed meanwhile");
            }
        }
        return runs.empty() ? result<>() : core_.read_raw(runs.front(), out);
    }

  private:
    replica_core &core_;
    std::shared_ptr<const packed_past> past_;
};

std::shared_ptr<const packed_past> replica_core::past() const {
    const std::scoped_lock lock(past_mutex_);
    return past_;
}

void replica_core::set_past(packed_past past) {
    past.filters.clear();
    for (const auto &s : *past.stretches) {
        if (past.raw) {
            past.filters.push_back(s->filter());
        }
    }
    auto made = std::make_shared<const packed_past>(std::move(past));
    const std::scoped_lock lock(past_mutex_);
    past_ = std::move(made);
}

/// Under views_mutex_.
result<std::shared_ptr<undo_places>> replica_core::index_raw(const stretch_list &stretches) {
    auto raw = std::make_shared<undo_places>();
    const std::uint64_t covered = covered_segment(stretches);
    for (const undo_record &record : history_->records_after(interval_id{})) {
        if (record.place.segment <= covered) {
            continue; // on its way out
        }
        FS_TRY(table, history_->read_table(record));
        raw->insert(table, false);
    }
    return raw;
}

result<> replica_core::set_packed() {
    const std::scoped_lock lock(views_mutex_);
    std::erase_if(views_, [](const auto &v) { return v.expired(); });
    const auto before = past();
    const auto list = packed_->list();
    auto raw = before->raw;
    if (covered_segment(*list) != covered_segment(*before->stretches) && (!views_.empty() || raw)) {
        FS_TRY(indexed, index_raw(*list));
        raw = std::move(indexed);
    }
    set_past({list, std::move(raw)});
    for (const auto &weak : views_) {
        const auto view = weak.lock();
        if (view && past()->reaches(view->id)) {
            view->places.clear();
        }
    }
    return {};
}

result<std::shared_ptr<const packed_past>> replica_core::past_with_raw() {
    const std::scoped_lock lock(views_mutex_);
    if (!past()->raw) {
        FS_TRY(raw, index_raw(*past()->stretches));
        set_past({past()->stretches, std::move(raw)});
    }
    return past();
}

result<> replica_core::again_while_moved(const std::function<result<>()> &read) {
    auto done = read();
    for (int looks = 1; looks < looks_max && !done && moved(done.error()); ++looks) {
        done = read();
    }
    return done;
}

result<> replica_core::read_raw(const indexed_run &run, bytes_span out) const {
    if (run.zero) {
        std::ranges::fill(out, std::byte{0});
        return {};
    }
    const undo_log &log = run.rollback ? *rollback_ : *history_;
    return log.read_raw({run.segment, run.entries}, {run.segment, run.contents}, run.count, out);
}

result<std::vector<packed_reader::place>>
replica_core::look_packed(const packed_past &past, interval_id id, volume_index volume,
                          std::uint64_t block, std::uint64_t count) {
    if (!past.reaches(id)) {
        return std::vector<packed_reader::place>();
    }
    class nothing final : public packed_present {
        result<> read(volume_index, std::uint64_t, bytes_span) override {
            return fail(errc::invalid, "a look reads nothing");
        }
    } none;
    return packed_reader(*past.stretches, none, caches_, past.filters)
        .find(id, volume, block, count);
}

result<> replica_core::read_once(const point_view &view, volume_index volume, std::uint64_t block,
                                 bytes_span out) {
    const std::uint64_t count = out.size() / block_bytes;
    const auto seen = past();
    const bool behind = seen->reaches(view.id);
    REPL_ASSERT(!behind || seen->raw);
    FS_TRY(packed, look_packed(*seen, view.id, volume, block, count));
    const undo_places &places = behind ? *seen->raw : view.places;
    for (const auto &[first, end] : gaps(block, count, packed)) {
        const bytes_span part = part_of(out, block, first, end - first);
        auto runs = places.find(volume, first, end - first);
        if (blocks_in(runs) < end - first) {
            FS_CHECK(images_->read_blocks(volume, first, part));
            runs = places.find(volume, first, end - first);
            if (past() != seen) { // asked last: an index that was exchanged is not kept up
                return fail(errc::not_found, "history was packed meanwhile");
            }
        }
        for (const indexed_run &run : runs) {
            FS_CHECK(read_raw(run, part_of(out, block, run.block, run.count)));
        }
    }
    past_present present(*this, seen);
    const packed_reader reader(*seen->stretches, present, caches_, seen->filters);
    for (const packed_reader::place &p : packed) {
        FS_CHECK(reader.read(p, part_of(out, block, p.row.block, p.row.count)));
    }
    return {};
}

// As read_once, where nothing but the image has the blocks.
result<bool> replica_core::try_read_blocks(const point_view &view, volume_index volume,
                                           std::uint64_t block, bytes_span out) {
    const std::uint64_t count = out.size() / block_bytes;
    const auto seen = past();
    const bool behind = seen->reaches(view.id);
    if (behind && (!seen->raw || !packed_reader::untouched(*seen->stretches, seen->filters, view.id,
                                                           volume, block, count))) {
        return false;
    }
    const undo_places &places = behind ? *seen->raw : view.places;
    if (!places.surely_none(volume, block, count)) {
        return false;
    }
    FS_TRY(read, images_->try_read_blocks(volume, block, out));
    return read && places.surely_none(volume, block, count) && past() == seen;
}

result<> replica_core::read_blocks(const point_view &view, volume_index volume, std::uint64_t block,
                                   bytes_span out) {
    return again_while_moved([&] { return read_once(view, volume, block, out); });
}

result<std::vector<known_run>> replica_core::look(const point_view &view, volume_index volume,
                                                  std::uint64_t block, std::uint64_t count) {
    std::vector<known_run> known;
    const auto seen = past();
    FS_TRY(packed, look_packed(*seen, view.id, volume, block, count));
    for (const packed_reader::place &p : packed) {
        known.push_back({p.row.block, p.row.count, p.row.kind == packed_kind::zero});
    }
    const undo_places &places = seen->reaches(view.id) ? *seen->raw : view.places;
    for (const auto &[first, end] : gaps(block, count, packed)) {
        for (const indexed_run &run : places.find(volume, first, end - first)) {
            known.push_back({run.block, run.count, run.zero});
        }
    }
    if (past() != seen) {
        return look(view, volume, block, count);
    }
    std::ranges::sort(known, {}, &known_run::block);
    return known;
}

// Raw records first: what is packed meanwhile stands in the list that is taken then.
result<> replica_core::each_change(interval_id after, interval_id upto, const change_visitor &fn) {
    return again_while_moved([&]() -> result<> {
        for (const undo_record &record : history_->records_after(after)) {
            if (record.header.position.interval > upto) {
                break;
            }
            FS_TRY(table, history_->read_table(record));
            for (const undo_entry &e : table.entries) {
                fn(e.volume, e.block.value, e.count);
            }
        }
        for (const auto &s : *packed_->list()) {
            if (s->foot().last_interval <= after || s->foot().first_interval > upto) {
                continue;
            }
            FS_CHECK(s->visit([&](const packed_row &row) -> result<> {
                if (row.interval > after && row.interval <= upto) {
                    fn(row.volume, row.block, row.count);
                }
                return {};
            }));
        }
        return {};
    });
}

result<> replica_core::read_as_of(interval_id after, volume_index volume, std::uint64_t block,
                                  bytes_span out) {
    return again_while_moved([&]() -> result<> {
        FS_TRY(seen, past_with_raw());
        past_present present(*this, seen);
        return packed_reader(*seen->stretches, present, caches_, seen->filters)
            .read_as_of(after, volume, block, out);
    });
}

result<> replica_core::read_row(const std::shared_ptr<const stretch> &from, const packed_row &row,
                                bytes_span out) {
    return again_while_moved([&]() -> result<> {
        FS_TRY(seen, past_with_raw());
        const auto at = std::ranges::find(*seen->stretches, from);
        if (at == seen->stretches->end()) {
            return fail(errc::not_found, from->path() + " is gone");
        }
        past_present present(*this, seen);
        const packed_reader reader(*seen->stretches, present, caches_, seen->filters);
        return reader.read({static_cast<std::size_t>(at - seen->stretches->begin()), row}, out);
    });
}

} // namespace farshore
