#pragma once
// One range of a volume as catch-up and verify look at it: read with writers kept out, judged by a
// peer's digests, recorded where it differs.
//
// The range is excluded from writes from before its last read until what was read is in the open
// interval, so what is recorded is the newest version, and later writes are recorded above it.
//
// Threads: one; takes the group's lock where its methods say so, or for themselves.

#include "replicator/base/bytes.hpp"
#include "replicator/capture/capture_core.hpp"

#include <algorithm>
#include <set>
#include <vector>

namespace farshore {

/// What to do with a unit, by its digests.
enum class unit_verdict : std::uint8_t {
    same,         ///< resolved
    take,         ///< record its blocks
    take_nonzero, ///< the peer has zeroes: record the blocks that are not
    look_finer,   ///< stays pending
};

std::unexpected<error> lost_recording();

/// One range under the range lock, with its content.
class range_scan {
  public:
    range_scan(capture_core &group, captured_volume &v, byte_range range);
    ~range_scan();
    range_scan(const range_scan &) = delete;
    range_scan &operator=(const range_scan &) = delete;

    /// Reads once without the range, so that the disk is not waited for while writers are kept out.
    result<> read();
    /// The same block by block, without those that the disk can't read. A disk or file system that
    /// is gone as a whole is another failure: a sync and a read elsewhere must work if blocks are
    /// lost. What was lost is tried again with the range held, since a client may have written it
    /// meanwhile.
    result<> read_blocks();
    /// Of these blocks alone, which are known to be unreadable: who writes one makes it known by
    /// himself.
    result<> read_blocks_of(const std::set<std::uint64_t> &only);
    /// Under the group's lock: whether recording went on all the time.
    bool valid_locked() const;
    bytes_view content() const { return content_.view().first(range_.length); }
    bytes_view unit(std::size_t i, std::uint64_t unit_bytes) const {
        const std::uint64_t at = i * unit_bytes;
        return content().subspan(at, std::min(unit_bytes, range_.length - at));
    }

    /// Everything is taken, whatever the peer has.
    void compare_nothing() { compares_ = false; }
    /// Applies the verdicts (one a unit, in order) to the regions that are still pending.
    result<resolve_outcome> apply(std::uint64_t unit_bytes,
                                  const std::vector<unit_verdict> &verdicts);
    /// Records what read_blocks() could read now of what was unreadable.
    result<> apply_known_again();

  private:
    result<> enter();
    result<> read_block(std::uint64_t block);
    result<> read_content();
    const std::byte *block_at(std::uint64_t block) const {
        return content_.data() + (block - blocks_.first) * block_bytes;
    }
    bool zero(std::uint64_t block) const { return is_zero({block_at(block), block_bytes}); }
    void judge_locked(std::uint64_t unit_bytes, const std::vector<unit_verdict> &verdicts,
                      resolve_outcome &outcome);
    void record_locked();
    void copy_and_part();

    capture_core &group_;
    captured_volume &v_;
    const byte_range range_;
    const index_range blocks_;
    buffer content_;
    range_table::ticket ticket_ = 0;
    std::uint64_t run_ = 0;
    std::vector<std::uint64_t> resolved_;   ///< regions
    std::vector<std::uint64_t> taken_;      ///< blocks, ascending
    std::set<std::uint64_t> lost_;          ///< blocks that can't be read
    std::set<std::uint64_t> skipped_;       ///< and that were not to be
    std::vector<std::uint64_t> newly_lost_; ///< of the regions that are resolved
    bool sample_differs_ = false;
    bool compares_ = true;
    interval_core *core_ = nullptr;
    run_list runs_;
};

} // namespace farshore
