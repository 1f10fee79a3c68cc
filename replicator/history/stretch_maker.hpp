#pragma once
// Makes one packed stretch of facts: in steps, so that who does it can stop for something better.
//
// How a content is written, the smallest that is allowed: zero; a delta to the next version of the
// block, which is the next row or, for the last one, what the block holds as of the stretch's
// moment; a copy of another block as of the moment (of blocks of this stretch: pages that also went
// through a double-write area); in full. What is read back is the content or an error, for deltas
// and copies have a checksum of their own.
//
// A content that fails its checksum (or, where that is said, can't be read) is written as lost: who
// needs it gets an error, the rest of the history is packed all the same.
//
// A delta or copy leads to other content, which may itself lead on; chain_depths.hpp bounds that.
// In a merged stretch the last row of a block leads on only where the last row of what was merged
// did, with no more behind it: the rows that come after have reckoned with that.
//
// Threads: one at a time.

#include "replicator/history/chain_depths.hpp"
#include "replicator/history/facts.hpp"
#include "replicator/history/stretch_writer.hpp"

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace farshore {

/// Where the contents are.
class fact_contents {
  public:
    virtual ~fact_contents() = default;
    /// One block. Checked.
    virtual result<> read(const packed_fact &fact, bytes_span out) = 0;
    /// XXH3-64 of the content, where it is known without reading; 0: it is not. A content that is
    /// lost keeps it.
    virtual std::uint64_t checksum(const packed_fact &fact) = 0;
    /// One block as of the stretch's moment.
    virtual result<> read_as_of_moment(std::uint64_t key, bytes_span out) = 0;
};

struct stretch_input {
    std::vector<packed_fact> facts; ///< in any order
    stretch_facts about;            ///< points: those that are kept
    bool merged = false;
    bool unreadable_is_lost = false; ///< EIO, too; else it is an error
};

class stretch_maker {
  public:
    /// `depths` are read only; take_depths() has what is to be put there. `contents` and `depths`
    /// outlive it.
    stretch_maker(file_system &files, std::string path, stretch_options options,
                  stretch_input input, fact_contents &contents, const chain_depths &depths);

    /// Goes on for about so many blocks. True: there is more to do; false: the file is finished.
    /// After an error nothing may be called.
    result<bool> step(std::size_t blocks);
    /// Once it is finished: of every block in it, and of what copies lead to.
    const std::unordered_map<std::uint64_t, std::uint8_t> &depths() const { return new_depths_; }

    /// Facts whose content is lost.
    const std::vector<packed_fact> &lost() const { return lost_; }

  private:
    enum class stage : std::uint8_t { sort, look, write, finish, done };

    result<> sort();
    result<> look(std::size_t blocks);
    result<> write(std::size_t blocks);
    std::span<const packed_fact> next_group();
    result<> write_group(std::span<const packed_fact> group);
    result<bool> write_content(packed_row row, const packed_fact &fact, const packed_fact *after,
                               std::uint8_t allowed);
    result<bool> usable(const result<> &read) const;
    result<bool> next_version(const packed_fact &fact, const packed_fact *after);
    result<bool> find_copy(const packed_fact &fact, packed_row &row);
    std::size_t window_of(interval_id interval) const;
    void lead_to(std::uint64_t key, std::uint8_t depth);

    file_system &files_;
    std::string path_;
    stretch_options options_;
    stretch_input input_;
    fact_contents &contents_;
    const chain_depths &depths_;
    std::vector<interval_id> bounds_; ///< of windows: points and moment
    std::unique_ptr<stretch_writer> writer_;
    std::unordered_map<std::uint64_t, std::uint64_t> as_of_moment_; ///< checksum to key
    std::unordered_map<std::uint64_t, std::uint8_t> new_depths_;
    std::vector<packed_fact> lost_;
    std::vector<codec_format::delta_run> runs_;
    byte_vector content_;
    byte_vector base_;
    std::size_t at_ = 0;
    stage stage_ = stage::sort;
};

} // namespace farshore
