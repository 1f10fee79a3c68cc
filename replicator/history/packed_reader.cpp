#include "replicator/history/packed_reader.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/history/stretch_writer.hpp"

#include <algorithm>
#include <array>

namespace farshore {
namespace {

/// [first, end) of what no stretch has said anything of yet.
struct open_range {
    std::uint64_t first = 0;
    std::uint64_t end = 0;
};

/// What is left of `open` behind the rows, which are in order and inside it.
void take_out(std::vector<open_range> &left, open_range open,
              std::span<const packed_reader::place> rows) {
    for (const packed_reader::place &p : rows) {
        if (p.row.block > open.first) {
            left.push_back({open.first, p.row.block});
        }
        open.first = p.row.block + p.row.count;
    }
    if (open.first < open.end) {
        left.push_back(open);
    }
}

} // namespace

std::size_t packed_reader::first_after(const stretch_list &stretches, interval_id after) {
    return static_cast<std::size_t>(
        std::ranges::partition_point(
            stretches, [&](const auto &s) { return s->foot().last_interval <= after; }) -
        stretches.begin());
}

bool packed_reader::may_hold(std::size_t stretch, volume_index volume, std::uint64_t block) const {
    if (filters_.empty()) {
        const auto asked = stretches_[stretch]->filter();
        return !asked || asked->may_hold(packed_key(volume, block));
    }
    const auto &filter = filters_[stretch];
    return !filter || filter->may_hold(packed_key(volume, block));
}

bool packed_reader::untouched(const stretch_list &stretches, const filter_list &filters,
                              interval_id after, volume_index volume, std::uint64_t block,
                              std::uint64_t count) {
    for (std::size_t s = first_after(stretches, after); s < stretches.size(); ++s) {
        for (std::uint64_t b = block; b < block + count; ++b) {
            if (!filters[s] || filters[s]->may_hold(packed_key(volume, b))) {
                return false;
            }
        }
    }
    return true;
}

result<std::vector<packed_reader::place>> packed_reader::find(interval_id after,
                                                              volume_index volume,
                                                              std::uint64_t block,
                                                              std::uint64_t count) const {
    std::vector<place> found;
    std::vector<open_range> open{{block, block + count}};
    std::vector<open_range> left;
    std::vector<packed_row> rows;
    std::vector<place> places;
    for (std::size_t s = first_after(stretches_, after); s < stretches_.size() && !open.empty();
         ++s) {
        left.clear();
        for (const open_range &range : open) {
            if (range.end - range.first == 1 && !may_hold(s, volume, range.first)) {
                left.push_back(range);
                continue;
            }
            rows.clear();
            FS_CHECK(stretches_[s]->find(volume, range.first, range.end - range.first, after,
                                         caches_, rows));
            places.clear();
            for (const packed_row &row : rows) {
                places.push_back({s, row});
            }
            take_out(left, range, places);
            found.insert(found.end(), places.begin(), places.end());
        }
        open.swap(left);
    }
    std::ranges::sort(found, {}, [](const place &p) { return p.row.block; });
    return found;
}

result<> packed_reader::read_as_of(std::size_t from, interval_id after, volume_index volume,
                                   std::uint64_t block, bytes_span out, unsigned hops) const {
    std::vector<packed_row> rows;
    for (std::size_t s = from; s < stretches_.size(); ++s) {
        if (!may_hold(s, volume, block)) {
            continue;
        }
        FS_CHECK(stretches_[s]->find(volume, block, 1, after, caches_, rows));
        if (!rows.empty()) {
            return read({s, rows.front()}, out, hops);
        }
    }
    return present_.read(volume, block, out);
}

result<> packed_reader::read(const place &at, bytes_span out, unsigned hops) const {
    const stretch &s = *stretches_[at.stretch];
    const packed_row &row = at.row;
    REPL_ASSERT(out.size() == row.count * block_bytes);
    const auto damaged = [&](const char *what) {
        return fail(errc::corrupt, s.path() + ": packed history: " + what);
    };
    if (hops > hops_max) {
        return damaged("content that leads on and on");
    }
    if (row.kind == packed_kind::zero) {
        std::ranges::fill(out, std::byte{0});
        return {};
    }
    if (row.kind == packed_kind::full) {
        return s.read(row, caches_, out);
    }
    if (row.kind == packed_kind::copy) {
        FS_CHECK(read_as_of(at.stretch, s.foot().moment, row.from_volume, row.from_block, out,
                            hops + 1));
    } else {
        std::array<std::byte, block_bytes> delta;
        const bytes_span content = std::span(delta).first(row.length);
        FS_CHECK(s.read(row, caches_, content));
        FS_CHECK(read_as_of(at.stretch, row.interval, row.volume, row.block, out, hops + 1));
        FS_CHECK(apply_packed_delta(content, out));
    }
    return checksum64(out) == row.checksum
               ? result<>()
               : damaged("a block fails its checksum, or what it was made of has changed");
}

} // namespace farshore
