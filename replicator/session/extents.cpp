#include "replicator/session/extents.hpp"

#include "replicator/base/geometry.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

std::unexpected<error> wrong(const wire::extent_reply &reply, const std::string &what) {
    return fail_peer(errc::corrupt,
                     fmt::format("the DR site's extent_reply {} {}", reply.id, what));
}

/// The holes between `extents` in the first `covered` bytes of the range.
result<std::vector<byte_range>> holes_between(const wire::extent_reply &reply, byte_range range,
                                              const wire::extent_part &part, std::size_t first) {
    const std::uint64_t blocks = ceil_div(part.covered, block_bytes);
    std::vector<byte_range> holes;
    std::uint64_t at = 0; // blocks from the range's start
    const auto add = [&](std::uint64_t end_block) {
        const std::uint64_t from = at * block_bytes;
        const std::uint64_t to = std::min(end_block * block_bytes, part.covered);
        if (to > from) {
            holes.push_back({range.offset + from, to - from});
        }
    };
    for (std::size_t i = first; i < first + part.extents; ++i) {
        const wire::data_extent &e = reply.extents[i];
        if (e.gap > blocks - at || e.blocks == 0 || e.blocks > blocks - at - e.gap) {
            return wrong(reply, fmt::format("has an extent of {} blocks, {} after the last, in a "
                                            "range of which {} blocks are left",
                                            e.blocks, e.gap, blocks - at));
        }
        add(at + e.gap);
        at += e.gap + e.blocks;
    }
    add(blocks);
    return holes;
}

} // namespace

wire::extent_request extent_request_for(std::uint64_t id,
                                        const std::vector<pending_range> &ranges) {
    wire::extent_request m;
    m.id = id;
    for (const pending_range &r : ranges) {
        m.ranges.push_back({r.volume.value, r.range.offset, r.range.length});
    }
    return m;
}

result<> check_extent_request(const wire::extent_request &said,
                              const std::vector<std::uint64_t> &volume_sizes) {
    if (said.ranges.empty()) {
        return fail_peer(errc::corrupt, "an extent_request without ranges");
    }
    for (const wire::extent_range &r : said.ranges) {
        const std::uint64_t size = r.volume < volume_sizes.size() ? volume_sizes[r.volume] : 0;
        const bool inside = r.offset < size && r.length != 0 && r.length <= size - r.offset;
        const bool whole = r.offset % block_bytes == 0 &&
                           (r.length % block_bytes == 0 || r.length == size - r.offset);
        if (!inside || !whole) {
            return fail_peer(errc::corrupt,
                             fmt::format("extent_request.ranges name {} bytes at {} of volume {}, "
                                         "which has {} bytes; ranges are whole "
                                         "blocks of it",
                                         r.length, r.offset, r.volume, size));
        }
    }
    return {};
}

void extent_reply_writer::begin(const wire::extent_range &range) {
    range_ = {range.offset, range.length};
    at_ = 0;
    reply_.parts.push_back({});
}

void extent_reply_writer::data(byte_range found) {
    const std::uint64_t from = std::max(found.offset, range_.offset + at_) - range_.offset;
    const std::uint64_t to = std::min(found.end(), range_.end()) - range_.offset;
    const std::uint64_t first = from / block_bytes;
    const std::uint64_t last = ceil_div(to, block_bytes);
    const std::uint64_t done = at_ / block_bytes;
    if (first <= done && done > 0 && reply_.parts.back().extents > 0) { // touches the one before
        reply_.extents.back().blocks += last - done;
    } else {
        reply_.extents.push_back({first - done, last - first});
        ++reply_.parts.back().extents;
    }
    at_ = last * block_bytes;
}

void extent_reply_writer::end(std::uint64_t covered_to) {
    reply_.parts.back().covered = std::min(covered_to, range_.end()) - range_.offset;
}

result<std::vector<extent_answer>> check_extent_reply(const std::vector<pending_range> &asked,
                                                      const wire::extent_reply &reply) {
    if (reply.parts.empty() || reply.parts.size() > asked.size()) {
        return wrong(reply,
                     fmt::format("has {} parts for {} ranges", reply.parts.size(), asked.size()));
    }
    std::vector<extent_answer> answers;
    std::size_t used = 0;
    for (std::size_t i = 0; i < asked.size(); ++i) {
        extent_answer answer{asked[i], 0, {}};
        if (i < reply.parts.size()) {
            const wire::extent_part &part = reply.parts[i];
            const std::uint64_t length = asked[i].range.length;
            const bool whole = part.covered == length;
            const bool last = i + 1 == reply.parts.size();
            // Only the last part may end early, and at a block; it speaks of something, so that
            // asking ends.
            if (part.covered == 0 || part.covered > length ||
                (!whole && (!last || part.covered % block_bytes != 0))) {
                return wrong(reply, fmt::format("covers {} of the {} bytes of range {}",
                                                part.covered, length, i));
            }
            if (part.extents > reply.extents.size() - used) {
                return wrong(reply, fmt::format("has fewer extents than its parts say"));
            }
            FS_TRY(holes, holes_between(reply, asked[i].range, part, used));
            answer.covered = part.covered;
            answer.holes = std::move(holes);
            used += part.extents;
        }
        answers.push_back(std::move(answer));
    }
    if (used != reply.extents.size()) {
        return wrong(reply, fmt::format("has {} extents beyond those of its parts",
                                        reply.extents.size() - used));
    }
    return answers;
}

} // namespace farshore
