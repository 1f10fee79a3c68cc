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
constexpr std::uint64_t look_blocks = 16384; ///< how far a status looks at a time
constexpr std::uint32_t hole_and_zero = 3;   // NBD_STATE_HOLE | NBD_STATE_ZERO

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

/// The state of the first blocks at `offset`: zero as of the point for sure, or data. Whether an
/// image has a hole is asked before the index is looked at, so a later write there shows in the
/// index.
result<status_extent> point_device::extent_at(std::uint64_t offset, std::uint64_t end) {
    FS_TRY(data, core_->images().next_data(volume_, offset));
    const std::uint64_t block = offset / block_bytes;
    const std::uint64_t last = ceil_div(end, block_bytes);
    FS_TRY(runs, core_->look(*view_, volume_, block, std::min(last - block, look_blocks)));
    const auto until = [&](std::uint64_t byte) { return std::min(byte, end) - offset; };
    if (!runs.empty() && runs.front().block == block) {
        return status_extent{until((block + runs.front().count) * block_bytes),
                             runs.front().zero ? hole_and_zero : 0};
    }
    // As in the image, up to the next block that the index has.
    std::uint64_t stop = std::min(end, (block + look_blocks) * block_bytes);
    if (!runs.empty()) {
        stop = std::min(stop, runs.front().block * block_bytes);
    }
    const std::uint64_t hole_end =
        data.length == 0 ? size_ : data.offset / block_bytes * block_bytes;
    if (hole_end > offset) {
        return status_extent{until(std::min(stop, hole_end)), hole_and_zero};
    }
    return status_extent{
        until(std::min(stop, std::max(ceil_div(data.end(), block_bytes), block + 1) * block_bytes)),
        0};
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
    std::uint64_t at = range.offset;
    while (at < range.end()) {
        FS_TRY(extent, extent_at(at, range.end()));
        at += extent.length;
        if (!extents.empty() && extents.back().flags == extent.flags) {
            extents.back().length += extent.length;
        } else if (extents.size() < max) {
            extents.push_back(extent);
        } else {
            break;
        }
    }
    return extents;
}

} // namespace farshore
