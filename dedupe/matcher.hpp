#pragma once
// Finds what of a block stands elsewhere in the group, and writes the block's program.
//
// Greedy: at each anchor of the new bytes the index proposes places; the longest match, grown both
// ways, is taken if it is long enough, or if most of what follows is equal at the same distance too
// (records of a table whose page numbers, counters or links were renumbered). Behind a match the
// same distance is tried again within some bytes: that is how pages that moved (into logs,
// double-write areas, other files) and differ in a few fields are followed at the cost of a byte or
// two a field. The bytes of short gaps are written as differences to those at that distance.
// Anchors that matched nothing are new to the group and go into the index, those of copies are
// there already.
//
// What looks random is searched at sparse anchors only: it is found in long pieces or not at all.

#include "dedupe/anchors.hpp"
#include "dedupe/reference_index.hpp"
#include "dedupe/source_space.hpp"
#include "replicator/format/codec_payload.hpp"

#include <vector>

namespace farshore::dedupe {

class matcher {
  public:
    matcher(source_space &space, reference_index &index) : space_(space), index_(index) {}

    /// Recent places are a payload's own.
    void begin_payload() { recent_ = {}; }

    /// Tries to make the block of copies. `runs`: where it differs from its own old content, which
    /// the rest is copied from; one run of all of it: there is no old content. True when a copy of
    /// another place was found and all together costs less than the block; program() and literals()
    /// are then its. Either way note_new() may follow.
    bool build(const block_change &change, std::span<const codec_format::delta_run> runs);
    /// The same for a block that looks random, none of whose old content is of use. Sparse anchors
    /// of its first `searched` bytes propose places.
    bool build_random(const block_change &change, std::size_t searched);
    /// Tries for a copy of the whole block, by the digest of its content.
    bool build_whole(const block_change &change, std::uint64_t key);
    /// A copy of the whole block from a place that is known to hold it.
    void build_known(const block_change &change, codec_format::source_place place);
    bytes_view program() const { return program_; }
    bytes_view literals() const { return literals_; }
    std::uint64_t copied_bytes() const { return copied_; }

    /// Puts the anchors that matched nothing into the index, and the whole block under `key`.
    void note_new(const block_change &change, std::uint64_t key);

  private:
    struct found_match {
        codec_format::source_place place;
        std::size_t at = 0; ///< first byte in the block
        std::size_t length = 0;
    };

    void start(const block_change &change);
    bool finish();
    void match_run(std::size_t first, std::size_t end);
    void match_anchors(std::size_t end);
    void try_recent(std::size_t at, std::size_t end);
    void follow(std::size_t end);
    bool goes_on(const found_match &match, std::size_t end);
    found_match best_match(const anchor &a, std::size_t end);
    void consider(codec_format::source_place place, const anchor &a, std::size_t end,
                  found_match &best);
    void copy_own(std::size_t at, std::size_t length);
    void copy(const found_match &match);
    bool copy_behind_differences(const found_match &match);
    void write_literals(std::size_t end);

    source_space &space_;
    reference_index &index_;
    codec_format::recent_places recent_;

    // The block being built
    const block_change *change_ = nullptr;
    std::uint64_t start_ = 0; ///< its first byte in the volume
    std::size_t done_ = 0;    ///< bytes that the program makes so far
    codec_format::recent_places recent_before_;
    byte_vector program_;
    byte_vector literals_;
    std::uint64_t copied_ = 0;
    std::vector<anchor> anchors_;
    std::vector<anchor> fresh_;
};

} // namespace farshore::dedupe
