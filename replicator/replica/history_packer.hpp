#pragma once
// Packs a group's history in the background (history/packed_store.hpp): raw segments of undo/ that
// both commit records are past, and stretches whose points were mostly let go, which are merged and
// thinned in the same step. One job at a time, in steps of some ten milliseconds.
//
// A job reads what never changes; what it made is shown and what it stands for removed at its end,
// so it may be given up at any time. A content that fails its checksum is packed as lost, and told;
// so is one that the disk refused in several jobs.
//
// Threads: one at a time; apply and readers run beside it.

#include "replicator/history/stretch_maker.hpp"
#include "replicator/replica/point_view.hpp"

#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace farshore {

struct packer_options {
    std::array<std::byte, 16> identity{};
    std::uint64_t stretch_bytes = 0; ///< of undo in one stretch, at most (but one segment)
    duration age_max{};              ///< closed undo that is older is packed, however little
    int level = 3;
};

/// What the group says when a job is looked for.
struct packer_facts {
    std::uint64_t end_segment = 0; ///< both commit records are in it or in a later one
    interval_id newest_point;      ///< what comes after it stays raw
    std::set<interval_id> kept;    ///< points that stay, whoever wants them
    std::uint64_t room = 0;        ///< bytes that a stretch may take
    std::int64_t now = 0;          ///< file_system::now()
};

/// What is worth merging: [first, first + count) of the list.
struct merge_choice {
    std::size_t first = 0;
    std::size_t count = 0;
    bool operator==(const merge_choice &) const = default;
};
struct merge_candidate {
    std::uint64_t rows = 0;
    std::size_t listed = 0; ///< points when it was made
    std::size_t kept = 0;   ///< of these
};
constexpr std::uint64_t merged_rows_max = 1 << 19; ///< of what goes into one merged stretch
/// The oldest run of neighbours whose points were let go: of each at most a quarter stays, so that
/// none is written anew often; together at least four of them, or that have lost eight points. Else
/// the oldest run of eight that are small and of about one size, for a history of quiet days would
/// be of thousands. Nothing: count 0.
merge_choice choose_merge(std::span<const merge_candidate> all);

class history_packer {
  public:
    history_packer(file_system &files, std::shared_ptr<replica_core> core, packer_options options);
    ~history_packer();
    history_packer(const history_packer &) = delete;
    history_packer &operator=(const history_packer &) = delete;

    /// Undo is packed, however little, when nothing was added for so long.
    static constexpr duration quiet_after = std::chrono::seconds(5);

    enum class outcome : std::uint8_t {
        idle, ///< nothing to do
        goes_on,
        made, ///< a draft is finished: take it in
    };
    result<outcome> step(const packer_facts &facts);
    /// After `made`, and under the lock that keeps others from dropping history: the draft is shown
    /// and what it stands for goes. Errors: the disk's; the raw undo is still there then.
    result<> take_in();
    /// Of what was taken in: facts whose content is lost, each one once.
    std::vector<packed_fact> take_lost() { return std::exchange(lost_, {}); }
    /// Ends a job, after an error or to let it go.
    void give_up();

  private:
    struct job;
    result<std::unique_ptr<job>> next_job(const packer_facts &facts);
    result<std::unique_ptr<job>> raw(const packer_facts &facts);
    result<std::unique_ptr<job>> merge(const packer_facts &facts);

    file_system &files_;
    std::shared_ptr<replica_core> core_;
    packer_options options_;
    chain_depths depths_;
    std::unique_ptr<job> job_;
    std::vector<packed_fact> lost_;
    unsigned failures_ = 0; ///< jobs that the disk refused (EIO) since one was made
};

} // namespace farshore
