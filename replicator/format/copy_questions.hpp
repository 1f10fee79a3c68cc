#pragma once
// What a sender asks about the copy, and the receiver's answers: digests of ranges, where it has
// data, blocks of another group to build on, what it changed since a barrier. A part of the
// messages of a session, which are described in format/messages.hpp; included by it.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/message_parts.hpp"
#include "replicator/format/position.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace farshore::wire {

struct digest_range {
    std::uint32_t volume = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    template <class V>
    void visit(V &v) {
        v(volume, volume_field("digest_request.ranges[].volume"));
        v(offset, field{"digest_request.ranges[].offset", 0, limits::volume_bytes_max, block_unit});
        v(length, field{"digest_request.ranges[].length", 1, limits::MiB});
    }
};
constexpr std::size_t digest_ranges_max = 256;
/// Digests of ranges, each in units of `unit` bytes (the last may be shorter).
struct digest_request {
    static constexpr auto type = message_type::digest_request;
    std::uint64_t id = 0;
    std::uint64_t unit = 0;
    std::vector<digest_range> ranges;
    template <class V>
    void visit(V &v) {
        v(id, field{"digest_request.id"});
        v(unit, field{"digest_request.unit", block_unit, limits::MiB, block_unit});
        v(ranges, length{"digest_request.ranges", digest_ranges_max, 1});
    }
};
struct digest_reply {
    static constexpr auto type = message_type::digest_reply;
    std::uint64_t id = 0;
    byte_vector zero_bits; ///< one bit a unit, lowest first: the unit is all zero
    byte_vector digests;   ///< 16 bytes for each other unit, in order
    template <class V>
    void visit(V &v) {
        v(id, field{"digest_reply.id"});
        v(zero_bits, length{"digest_reply.zero_bits", limits::digests_per_message_max / 8 + 1});
        v(digests, length{"digest_reply.digests", limits::digests_per_message_max * 16, 0, 16});
    }
};

struct extent_range {
    std::uint32_t volume = 0;
    std::uint64_t offset = 0; ///< of whole blocks, as the length but at the volume's end
    std::uint64_t length = 0;
    template <class V>
    void visit(V &v) {
        v(volume, volume_field("extent_request.ranges[].volume"));
        v(offset, field{"extent_request.ranges[].offset", 0, limits::volume_bytes_max, block_unit});
        v(length, field{"extent_request.ranges[].length", 1, limits::volume_bytes_max});
    }
};
constexpr std::size_t extent_ranges_max = 256;
/// Asks where the copy has data. Ranges of any length: one says "all of 64 TiB".
struct extent_request {
    static constexpr auto type = message_type::extent_request;
    std::uint64_t id = 0;
    std::vector<extent_range> ranges; ///< at least one
    template <class V>
    void visit(V &v) {
        v(id, field{"extent_request.id"});
        v(ranges, length{"extent_request.ranges", extent_ranges_max});
    }
};
struct data_extent {
    /// Blocks without data before it, from the last extent or the range's start.
    std::uint64_t gap = 0;
    std::uint64_t blocks = 0; ///< with data, about: not 0
    template <class V>
    void visit(V &v) {
        v(gap, field{"extent_reply.extents[].gap"});
        v(blocks, field{"extent_reply.extents[].blocks"});
    }
};
struct extent_part {
    std::uint64_t covered = 0; ///< bytes of the range that it speaks of; all, but for the last part
    std::uint32_t extents = 0; ///< how many of the list are its own
    template <class V>
    void visit(V &v) {
        v(covered, field{"extent_reply.parts[].covered"});
        v(extents, field{"extent_reply.parts[].extents"});
    }
};
/// A part for each range in order, until the list is full; what has no part, or is not covered, is
/// asked again. What is covered and in no extent is a hole: it reads as zeroes.
struct extent_reply {
    static constexpr auto type = message_type::extent_reply;
    std::uint64_t id = 0;
    std::vector<extent_part> parts;
    std::vector<data_extent> extents; ///< of all parts, one after the other
    template <class V>
    void visit(V &v) {
        v(id, field{"extent_reply.id"});
        v(parts, length{"extent_reply.parts", extent_ranges_max});
        v(extents, length{"extent_reply.extents", limits::extents_per_message_max});
    }
};

/// Neighbouring blocks of another group of the pair.
struct loan_run {
    std::uint32_t volume = 0;
    std::uint64_t block = 0; ///< the first
    byte_vector digests;     ///< 16 bytes a block: keyed with the session's digest key
    template <class V>
    void visit(V &v) {
        v(volume, volume_field("loan_request.runs[].volume"));
        v(block, block_field("loan_request.runs[].block"));
        v(digests, length{"loan_request.runs[].digests", limits::loan_blocks_max * 16, 16, 16});
    }
};
/// Asks the receiver to copy blocks of another group's replica for an interval to come, where they
/// have these digests. What is copied is a source of the interval's payloads: "Loans" in
/// docs/protocol.md.
struct loan_request {
    static constexpr auto type = message_type::loan_request;
    std::uint64_t id = 0;
    std::uint64_t interval = 0; ///< the only one that may refer to them
    std::string lender;         ///< the other group
    std::vector<loan_run> runs; ///< together at most limits::loan_blocks_max blocks
    template <class V>
    void visit(V &v) {
        v(id, field{"loan_request.id"});
        v(interval, field{"loan_request.interval", 1, limits::interval_id_max});
        v(lender, name_field("loan_request.lender"));
        v(runs, length{"loan_request.runs", limits::loan_blocks_max, 1});
    }
    result<> check() const;
    std::size_t blocks() const; ///< of all runs
};
struct loan_reply {
    static constexpr auto type = message_type::loan_reply;
    std::uint64_t id = 0;
    byte_vector granted;     ///< one bit a block, lowest first
    std::uint64_t first = 0; ///< slot of the first granted block; the others follow
    std::uint64_t slots = 0; ///< after the last slot comes slot 0
    template <class V>
    void visit(V &v) {
        v(id, field{"loan_reply.id"});
        v(granted, length{"loan_reply.granted", limits::loan_blocks_max / 8 + 1});
        v(first, field{"loan_reply.first", 0, loan_slots_max - 1});
        v(slots, field{"loan_reply.slots", 1, loan_slots_max});
    }
    result<> check() const;
    std::size_t granted_blocks() const; ///< bits set
};

/// What did the copy change after this barrier? Answered once all that is durable is applied.
struct changed_request {
    static constexpr auto type = message_type::changed_request;
    stream_position after; ///< not above the welcome's `durable`
    template <class V>
    void visit(V &v) {
        v(after, id_field("changed_request.after"));
    }
};
/// Neighbouring 64 KiB regions.
struct changed_run {
    std::uint32_t volume = 0;
    std::uint64_t first = 0;
    std::uint64_t count = 0; ///< not 0
    template <class V>
    void visit(V &v) {
        v(volume, volume_field("changed_reply.runs[].volume"));
        v(first, field{"changed_reply.runs[].first"});
        v(count, field{"changed_reply.runs[].count", 1});
    }
};
/// One or more for a request; at most limits::changed_runs_max runs in all of them.
struct changed_reply {
    static constexpr auto type = message_type::changed_reply;
    /// False: the history does not reach back so far; then `runs` is empty and this is the last.
    bool known = false;
    std::vector<changed_run> runs;
    bool more = false;
    template <class V>
    void visit(V &v) {
        v(known, "changed_reply.known");
        v(runs, length{"changed_reply.runs", limits::changed_runs_per_message_max});
        v(more, "changed_reply.more");
    }
};

} // namespace farshore::wire
