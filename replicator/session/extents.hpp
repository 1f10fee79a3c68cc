#pragma once
// Where the DR site's copy has data: what is asked, what may be answered, and what an answer means.
// The catch-up scan and `verify` ask before they read, hash and compare, so that runs of holes cost
// one question each, not one a mebibyte (docs/protocol.md "Holes").
//
// Pure. An answer is looked at as a whole before anything of it is used: check_extent_reply().

#include "replicator/base/error.hpp"
#include "replicator/capture/capture_group.hpp"
#include "replicator/format/messages.hpp"

#include <vector>

namespace farshore {

/// What an answer says of one of the ranges that were asked about.
struct extent_answer {
    pending_range asked;
    std::uint64_t covered = 0; ///< it speaks of so many of the range's first bytes; 0: of none
    std::vector<byte_range>
        holes; ///< of the copy, within what is covered; ascending, apart from each other

    bool whole() const { return covered == asked.range.length; }
    /// What it says nothing of.
    pending_range rest() const {
        return {asked.volume, {asked.range.offset + covered, asked.range.length - covered}};
    }
};

wire::extent_request extent_request_for(std::uint64_t id, const std::vector<pending_range> &ranges);

/// At the receiver: whether the ranges lie in their volumes, of these sizes.
result<> check_extent_request(const wire::extent_request &said,
                              const std::vector<std::uint64_t> &volume_sizes);

/// Builds a reply, range by range and extent by extent.
class extent_reply_writer {
  public:
    explicit extent_reply_writer(std::uint64_t id) { reply_.id = id; }
    bool full() const { return reply_.extents.size() >= limits::extents_per_message_max; }
    void begin(const wire::extent_range &range);
    /// The next data of the copy, in bytes, where the range has some of it; taken as whole blocks.
    void data(byte_range found);
    /// Nothing more up to here.
    void end(std::uint64_t covered_to);
    wire::extent_reply take() { return std::move(reply_); }

  private:
    wire::extent_reply reply_;
    byte_range range_;
    std::uint64_t at_ = 0; ///< end of the last extent, in bytes from the range's start
};

/// At the sender: an answer to `asked`, one entry a range in order. Errors (errc::corrupt,
/// errc::limit) name what the DR site said; nothing of such an answer may be used.
result<std::vector<extent_answer>> check_extent_reply(const std::vector<pending_range> &asked,
                                                      const wire::extent_reply &reply);

} // namespace farshore
