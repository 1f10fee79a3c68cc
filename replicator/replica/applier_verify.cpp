// Ranges that the primary's operator wants compared with what the images hold at a barrier: by
// their digests; long holes by looking whether the copy has data there, as far as that is cheap.

#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "replicator/replica/applier.hpp"

#include <algorithm>

namespace farshore {
namespace {

/// What holes of the primary may have read here at one barrier (verify): a third of a second of a
/// disk.
constexpr std::uint64_t hole_bytes_looked_at_max = 256 * limits::MiB;

} // namespace

// `unseen`: there is more of it than the budget allows to read.
result<applier::hole_verdict> applier::zero_content(volume_index volume, index_range blocks,
                                                    std::uint64_t &budget) {
    constexpr std::uint64_t blocks_each = limits::MiB / block_bytes;
    buffer bytes;
    for (std::uint64_t at = blocks.first; at < blocks.last; at += blocks_each) {
        const std::uint64_t count = std::min(blocks_each, blocks.last - at);
        const std::uint64_t size = count * block_bytes;
        if (size > budget) {
            return hole_verdict::unseen;
        }
        budget -= size;
        bytes = buffer(static_cast<std::size_t>(size));
        FS_CHECK(read_over(&current_, volume, at, bytes.span()));
        if (!is_zero(bytes.view())) {
            return hole_verdict::differs;
        }
    }
    return hole_verdict::zero;
}

// A hole of the primary: only what the images or the changes on their way there have data of is
// read. When that is too much the sender asks about smaller parts of it.
result<applier::hole_verdict> applier::is_zero_now(volume_index volume, byte_range range,
                                                   std::uint64_t &budget) {
    const index_range blocks = blocks_of(range);
    for (const overlay *changes : {&batch_, &current_}) {
        for (const overlay_run &run : changes->find(volume, blocks.first, blocks.count())) {
            if (run.content == nullptr) {
                continue;
            }
            FS_TRY(found, zero_content(volume, {run.block, run.block + run.count}, budget));
            if (found != hole_verdict::zero) {
                return found;
            }
        }
    }
    for (std::uint64_t at = range.offset; at < range.end();) {
        FS_TRY(data, core_.images().next_data(volume, at));
        if (data.length == 0 || data.offset >= range.end()) {
            break;
        }
        const byte_range found{data.offset, std::min(data.end(), range.end()) - data.offset};
        FS_TRY(verdict, zero_content(volume, blocks_of(found), budget));
        if (verdict != hole_verdict::zero) {
            return verdict;
        }
        at = blocks_of(found).last * block_bytes;
    }
    return hole_verdict::zero;
}

result<> applier::verify(const interval_entry &entry) {
    if (entry.commit.verify.empty()) {
        return {};
    }
    if (!verify_key_) {
        log::warning("interval {}: no key to compare its ranges with",
                     entry.position.interval.value);
        return {};
    }
    dedupe::digester digest(*verify_key_);
    buffer bytes;
    std::uint64_t budget = hole_bytes_looked_at_max;
    for (const verify_entry &v : entry.commit.verify) {
        if (v.range.length >
            limits::verify_bytes_max) { // a hole; shorter ones are digested as all else
            FS_TRY(found, is_zero_now(v.volume, v.range, budget));
            outcome_.verified.push_back({v, entry.position.interval, found == hole_verdict::zero,
                                         found == hole_verdict::unseen});
            continue;
        }
        const index_range blocks = blocks_of(v.range);
        bytes = buffer(static_cast<std::size_t>(blocks.count() * block_bytes));
        FS_CHECK(read_over(&current_, v.volume, blocks.first, bytes.span()));
        const auto found = digest.of(bytes.view().subspan(
            static_cast<std::size_t>(v.range.offset - blocks.first * block_bytes),
            static_cast<std::size_t>(v.range.length)));
        outcome_.verified.push_back({v, entry.position.interval, found.bytes == v.digest});
    }
    return {};
}

} // namespace farshore
