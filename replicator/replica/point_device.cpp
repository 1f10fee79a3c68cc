#include "replicator/replica/point_device.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace farshore {
namespace {

constexpr std::uint64_t piece_bytes = limits::MiB;
constexpr std::uint64_t try_blocks_max = 16;  ///< each is looked for in each stretch
constexpr std::uint64_t look_blocks = 16384;  ///< how far a status looks at a time
constexpr std::size_t data_ranges_max = 1024; ///< of an image in one look
constexpr std::uint32_t hole_and_zero = 3;    // NBD_STATE_HOLE | NBD_STATE_ZERO

} // namespace

result<> point_device::refuse() { return fail_errno(EROFS, "a recovery point is read-only"); }

// Whole blocks go straight into `out`; an edge inside a block goes through a block of its own.
result<> point_device::read(std::uint64_t offset, bytes_span out) {
    REPL_ASSERT(offset <= size_ && out.size() <= size_ - offset);
    buffer edge;
    while (!out.empty()) {
        const std::uint64_t block = offset / block_bytes;
        const std::uint64_t inside = offset % block_bytes;
        std::size_t some = 0;
        if (inside == 0 && out.size() >= block_bytes) {
            some = static_cast<std::size_t>(
                std::min<std::uint64_t>(out.size() / block_bytes * block_bytes, piece_bytes));
            FS_CHECK(core_->read_blocks(*view_, volume_, block, out.first(some)));
        } else {
            if (edge.empty()) {
                edge = buffer(static_cast<std::size_t>(block_bytes));
            }
            FS_CHECK(core_->read_blocks(*view_, volume_, block, edge.span()));
            some = std::min(out.size(), static_cast<std::size_t>(block_bytes - inside));
            std::memcpy(out.data(), edge.data() + inside, some);
        }
        out = out.subspan(some);
        offset += some;
    }
    return {};
}

// What did not change since is read where the request came in; all else on a pool.
result<bool> point_device::try_read(std::uint64_t offset, bytes_span out) {
    REPL_ASSERT(offset <= size_ && out.size() <= size_ - offset);
    if (offset % block_bytes != 0 || out.size() % block_bytes != 0 ||
        out.size() > try_blocks_max * block_bytes) {
        return false;
    }
    return core_->try_read_blocks(*view_, volume_, offset / block_bytes, out);
}

/// The states from `offset` on, up to `end` or less. Whether an image has a hole is asked before
/// stretches and undo are looked at, so a later write there shows in them.
result<std::vector<status_extent>> point_device::extents_at(std::uint64_t offset,
                                                            std::uint64_t end) {
    const std::uint64_t first = offset / block_bytes;
    std::uint64_t last = std::min(ceil_div(end, block_bytes), first + look_blocks);
    std::vector<byte_range> data; // of the image, in whole blocks
    for (std::uint64_t at = offset; at < last * block_bytes && at < size_;) {
        FS_TRY(range, core_->images().next_data(volume_, at));
        if (range.length == 0) {
            break;
        }
        const std::uint64_t from = range.offset / block_bytes;
        const std::uint64_t to = std::max(ceil_div(range.end(), block_bytes), from + 1);
        data.push_back({from * block_bytes, (to - from) * block_bytes});
        at = data.back().end();
        if (data.size() == data_ranges_max) { // what is behind is for the next look
            last = std::min(last, to);
            break;
        }
    }
    FS_TRY(runs, core_->look(*view_, volume_, first, last - first));
    std::vector<status_extent> extents;
    const std::uint64_t stop = std::min(end, last * block_bytes);
    const auto add = [&](std::uint64_t to, bool zero) {
        to = std::min(to, stop);
        if (to > offset) {
            extents.push_back({to - offset, zero ? hole_and_zero : 0});
            offset = to;
        }
    };
    auto in = data.begin();
    const auto as_image = [&](std::uint64_t to) {
        while (offset < std::min(to, stop)) {
            while (in != data.end() && in->end() <= offset) {
                ++in;
            }
            const bool hole = in == data.end() || in->offset > offset;
            add(std::min(to, in == data.end() ? to : hole ? in->offset : in->end()), hole);
        }
    };
    for (const known_run &run : runs) {
        as_image(run.block * block_bytes);
        add((run.block + run.count) * block_bytes, run.zero);
    }
    as_image(stop);
    return extents;
}

result<std::vector<status_extent>> point_device::status(byte_range range, status_context context,
                                                        std::size_t max) {
    std::vector<status_extent> extents;
    if (context == status_context::dirty) {
        if (changes_.blocks != nullptr) {
            return changes_.blocks->status(volume_, range, max);
        }
        extents.push_back({range.length, 0});
        return extents;
    }
    for (std::uint64_t at = range.offset; at < range.end();) {
        FS_TRY(some, extents_at(at, range.end()));
        for (const status_extent &extent : some) {
            at += extent.length;
            if (!extents.empty() && extents.back().flags == extent.flags) {
                extents.back().length += extent.length;
            } else if (extents.size() < max) {
                extents.push_back(extent);
            } else {
                return extents;
            }
        }
    }
    return extents;
}

} // namespace farshore
