#pragma once
// The messages of a session, docs/protocol.md. One link is the control link (index 0), the others
// carry frames. Order of a session:
//
//   sender                              receiver
//   hello (control) ------------------>
//                   <------------------ site_claim        only to who offered it; then
//   site_claim --------------------->   its own, and
//                   <------------------ welcome | refusal
//   hello (each data link) ----------->  (same session id; no answer)
//   begin_stream -------------------->   when order was lost: a catch-up begins
//                   <------------------ stream_ready
//   changed_request ----------------->   before begin_stream, when the copy is ahead of what the sender remembers
//                   <------------------ changed_reply ...
//   frame ... (data links) ---------->
//   digest_request ------------------>
//                   <------------------ digest_reply
//   loan_request -------------------->
//                   <------------------ loan_reply
//                   <------------------ ack, nak, verify_result, notice
//                   <------------------ compare_request   only to who offered it
//   compare_reply ------------------->
//   role_offer --------------------->   switchover: the receiver's site serves from here on, or
//                                       the offer is void; the next site_claim tells
//   heartbeat <-----------------------> heartbeat
//
// Each message is a flat list of fields: integers as LEB128 varints, byte strings and texts with a
// varint length, lists with a varint count, identities and random numbers as raw bytes. Each struct
// lists its fields once, in `visit`; encode and parse are both made from it. Every count has a
// bound before allocation. Trailing bytes are refused. Versions: hello and welcome carry versions
// and features; other messages belong to the version agreed.
//
// Parsed is not believed: `parse` refuses what lies outside the ranges that `visit` and `check`
// give, so that a number from a peer never meets an overflow or an assertion. What else a field
// must be is looked up in what was asked or is known, before anything is changed by it
// (session/peer_claims.hpp; a session's own state where that is named). A violation is the peer's
// fault (fault::peer) and ends the session:
//
//   field                        range                  must answer
//   every interval id            0..2^63-1              see below; a position is {0, 0} or both are set
//   hello.link                   0..16                  0 opens a session; else session is that of a live one
//   hello.volumes                1..1024 plain names,   those of the copy; for a new copy, the operator's list
//                                size 1..2^50           or bound (`volumes_max`, `size_max`)
//   welcome.durable, .partial    jump_max above known   durable >= applied; partial follows durable
//   welcome.partial_index        0..4096                frames that the sender holds
//   welcome.window_bytes         any                    taken as 1.125 MiB .. 64 MiB
//   refusal.code                 1..10
//   site_claim.role              0..3                  one each way, before the welcome
//   site_claim.lineage           0..1000, ids not 0    no id twice; what follows is roles/meeting.hpp
//   role_offer                   numbers and ids not 0  taken or not: roles/role_steps.hpp
//   ack.durable                                         not back; new: of this session's stream, sent to the end
//   ack.applied, .point          point <= applied       <= durable, not back
//   ack.journaled_bytes                                 not back, <= bytes of frames sent in this session
//   damage_count (all)           0..2^63-1              not back
//   begin_stream.stream, .first  not 0                  first > durable, at most jump_max above it (new copy: 2^62);
//                                                       the copy's own stream goes on with durable + 1
//   stream_ready.stream                                 the stream of the begin_stream before it, once
//   digest_request.unit, ranges  4 KiB..1 MiB, 4 KiB    inside their volumes; at most 16,384 units;
//                                steps; 1..256 ranges   at most 256 requests without an answer
//   digest_reply                                        a request without an answer; a bit a unit, 16 bytes for
//                                                       each that is not zero
//   loan_request.interval        not 0                  at most loan_window intervals after the next one
//   loan_request.runs            1..4096 blocks in all  what the lender lacks is not granted
//   loan_reply.slots, .first     1..2^18, first < slots a request without an answer, in order; a bit a block,
//                                                       no more bits set than asked, nor than slots
//   nak.blocks                   1..4096, or not        blocks of the group; damage_count above the last
//                                complete
//   heartbeat.covered            any                    only if it is the newest point; from the sender alone
//   clock_ms                     before 2200            (a warning; session/peer_clock.hpp)
//   changed_*, extent_*          see there              looked at where they are used (sender_session, extents)
//   verify_result                1..4096 items          ranges of that barrier without an answer
//   compare_request              place as digests', one   inside its volume, and none without an answer;
//                                range, not empty       only when the sender offered it
//   compare_reply.id                                    the request without an answer
//   frame                        format/frame.hpp       stream and place in order; a barrier fits its frames
//   barrier.heals                0..2^63-1              damage that was told (counts lost in a crash forgiven)
//   barrier.time                 1970..2199             (skew is another matter)

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/copy_questions.hpp"
#include "replicator/format/message_parts.hpp"
#include "replicator/format/position.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace farshore::wire {

constexpr std::uint32_t protocol_version = 1;

/// What a side may offer besides version 1: bits of hello.features_offered, and of welcome.features
/// what the receiver takes of them.
constexpr std::uint64_t feature_compare = 1; ///< the sender answers compare_request
constexpr std::uint64_t feature_labels = 2;  ///< barriers may have labels
constexpr std::uint64_t feature_covered = 4; ///< the sender says heartbeat.covered
constexpr std::uint64_t feature_roles = 8;   ///< both sites say site_claim before the welcome
constexpr std::uint64_t features_known =
    feature_compare | feature_labels | feature_covered | feature_roles;

struct volume_entry {
    std::string name;
    std::uint64_t size = 0;
    bool operator==(const volume_entry &) const = default;
    template <class V>
    void visit(V &v) {
        v(name, name_field("hello.volumes[].name"));
        v(size, field{"hello.volumes[].size", 1, limits::volume_bytes_max});
    }
};

/// First message of every link. Data links fill only version, group, session and link.
struct hello {
    static constexpr auto type = message_type::hello;
    std::uint32_t version_min = protocol_version;
    std::uint32_t version_max = protocol_version;
    std::uint64_t features_required = 0;
    std::uint64_t features_offered = 0;
    std::string group;
    random64 session;       ///< random, the same on all links of a session
    std::uint32_t link = 0; ///< 0: control
    id16 sender{};          ///< identity of the sender's state
    random64 instance;      ///< random, new at each start of the sender
    std::vector<volume_entry> volumes;
    stream_position common; ///< newest barrier that it remembers as held by both; {0,0}: none
    /// Of the control link: what its clock shows, ms since 1970, before the year 2200.
    std::uint64_t clock_ms = 0;
    template <class V>
    void visit(V &v) {
        v(version_min, field{"hello.version_min"});
        v(version_max, field{"hello.version_max"});
        v(features_required, field{"hello.features_required"});
        v(features_offered, field{"hello.features_offered"});
        v(group, name_field("hello.group"));
        v(session);
        v(link, field{"hello.link", 0, limits::data_links_max});
        v(sender);
        v(instance);
        v(volumes, length{"hello.volumes", limits::volumes_per_group_max});
        v(common, id_field("hello.common"));
        v(clock_ms, field{"hello.clock_ms"});
    }
    result<> check() const;
};

/// The receiver's answer on the control link.
struct welcome {
    static constexpr auto type = message_type::welcome;
    std::uint32_t version = protocol_version;
    std::uint64_t features = 0;
    id16 receiver{};         ///< identity of the receiver's copy of the group
    stream_position durable; ///< newest durable interval
    stream_position applied;
    stream_position partial;         ///< incomplete interval that it holds frames of, or {0,0}
    std::uint32_t partial_index = 0; ///< next frame index of it
    std::uint64_t point = 0;         ///< newest complete point, 0 none
    bool in_catch_up = false;        ///< its newest barrier is no point
    std::uint64_t damage_count = 0;
    bool damaged = false;           ///< damage not healed yet
    std::uint64_t window_bytes = 0; ///< frames it takes beyond what it has journaled
    key32 digest_key{};
    std::uint64_t clock_ms = 0; ///< as in hello
    template <class V>
    void visit(V &v) {
        v(version, field{"welcome.version"});
        v(features, field{"welcome.features"});
        v(receiver);
        v(durable, id_field("welcome.durable"));
        v(applied, id_field("welcome.applied"));
        v(partial, id_field("welcome.partial"));
        v(partial_index, field{"welcome.partial_index", 0, limits::frames_per_interval_max});
        v(point, id_field("welcome.point"));
        v(in_catch_up, "welcome.in_catch_up");
        v(damage_count, count_field("welcome.damage_count"));
        v(damaged, "welcome.damaged");
        v(window_bytes, field{"welcome.window_bytes"});
        v(digest_key);
        v(clock_ms, field{"welcome.clock_ms"});
    }
    result<> check() const;
};

enum class refusal_code : std::uint8_t {
    version = 1, ///< no common version, or an unknown required feature (named in the text)
    unknown_group = 2,
    not_paired = 3, ///< this certificate is not the one joined for the group
    busy = 4,       ///< another sender is connected for the group
    volumes = 5,    ///< names or sizes differ from the DR copy
    failed = 6,     ///< the group failed at the DR site
    full = 7,       ///< no space at the DR site
    stopping = 8,
    protocol = 9, ///< the peer broke a rule
    role = 10,    ///< the sites' roles don't fit (roles/meeting.hpp); only after site_claim
};

struct refusal {
    static constexpr auto type = message_type::refusal;
    std::uint8_t code = 0;
    std::string text;
    template <class V>
    void visit(V &v) {
        v(code, field{"refusal.code", 1, 10});
        v(text, text_field("refusal.text"));
    }
};

struct generation_entry {
    random64 id;
    stream_position left; ///< the last barrier of its parent; of the first one {0, 0}
    template <class V>
    void visit(V &v) {
        v(id);
        v(left, id_field("site_claim.lineage[].left"));
    }
};
/// What a site says of its role in the group (roles/meeting.hpp).
struct site_claim {
    static constexpr auto type = message_type::site_claim;
    std::uint8_t role = 0; ///< as site_role
    std::vector<generation_entry> lineage;
    random64 offer;              ///< handing over: the generation that the other may begin; else 0
    std::uint64_t offers = 0;    ///< the number of its newest offer
    std::uint64_t void_upto = 0; ///< the other's offers that it will never take
    template <class V>
    void visit(V &v) {
        v(role, field{"site_claim.role", 0, 3});
        v(lineage, length{"site_claim.lineage", limits::generations_max});
        v(offer);
        v(offers, count_field("site_claim.offers"));
        v(void_upto, count_field("site_claim.void_upto"));
    }
};

/// Who serves offers that, over content that both have (roles/role_state.hpp). No answer: the
/// session ends, and the sites meet again.
struct role_offer {
    static constexpr auto type = message_type::role_offer;
    std::uint64_t number = 1;
    random64 begins = 1; ///< the generation that the other site may begin
    random64 parent = 1;
    stream_position barrier;
    template <class V>
    void visit(V &v) {
        v(number, field{"role_offer.number", 1, limits::interval_id_max});
        v(begins);
        v(parent);
        v(barrier, id_field("role_offer.barrier"));
    }
};

struct ack {
    static constexpr auto type = message_type::ack;
    stream_position durable;
    stream_position applied;
    std::uint64_t point = 0;           ///< newest complete point
    std::uint64_t journaled_bytes = 0; ///< frame bytes taken into the journal in this session
    std::uint64_t damage_count = 0;
    template <class V>
    void visit(V &v) {
        v(durable, id_field("ack.durable"));
        v(applied, id_field("ack.applied"));
        v(point, id_field("ack.point"));
        v(journaled_bytes, field{"ack.journaled_bytes"});
        v(damage_count, count_field("ack.damage_count"));
    }
    result<> check() const;
};

struct begin_stream {
    static constexpr auto type = message_type::begin_stream;
    random64 stream;
    std::uint64_t first = 0; ///< id of its first interval, above every id before
    /// The copy is older than what it had acknowledged: its points may be of other images.
    bool copy_went_back = false;
    template <class V>
    void visit(V &v) {
        v(stream);
        v(first, field{"begin_stream.first", 1, limits::interval_id_max});
        v(copy_went_back, "begin_stream.copy_went_back");
    }
    result<> check() const;
};
struct stream_ready {
    static constexpr auto type = message_type::stream_ready;
    random64 stream;
    template <class V>
    void visit(V &v) {
        v(stream);
    }
};

struct damaged_entry {
    std::uint32_t volume = 0;
    std::uint64_t block = 0;
    template <class V>
    void visit(V &v) {
        v(volume, volume_field("nak.blocks[].volume"));
        v(block, block_field("nak.blocks[].block"));
    }
};
/// Blocks whose rebuilt content was wrong: the copy was changed behind our back.
struct nak {
    static constexpr auto type = message_type::nak;
    std::uint64_t damage_count = 0;
    bool complete = true; ///< false: more blocks than fit; compare everything
    std::vector<damaged_entry> blocks;
    template <class V>
    void visit(V &v) {
        v(damage_count, field{"nak.damage_count", 1, limits::interval_id_max});
        v(complete, "nak.complete");
        v(blocks, length{"nak.blocks", limits::regions_per_nak_max});
    }
    result<> check() const;
};

struct heartbeat {
    static constexpr auto type = message_type::heartbeat;
    /// Of a sender with feature_covered: the newest barrier, when it holds all that was answered to
    /// clients until now; else 0.
    std::uint64_t covered = 0;
    std::uint64_t clock_ms = 0; ///< as in hello
    template <class V>
    void visit(V &v) {
        v(covered, field{"heartbeat.covered"});
        v(clock_ms, field{"heartbeat.clock_ms"});
    }
};

struct verify_item {
    std::uint32_t volume = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    bool equal = false;
    /// A hole of which the copy has too much data to look at: ask about its parts.
    bool unseen = false;
    template <class V>
    void visit(V &v) {
        v(volume, volume_field("verify_result.items[].volume"));
        v(offset, field{"verify_result.items[].offset", 0, limits::volume_bytes_max});
        v(length, field{"verify_result.items[].length", 1, limits::verify_hole_bytes_max});
        v(equal, "verify_result.items[].equal");
        v(unseen, "verify_result.items[].unseen");
    }
};
struct verify_result {
    static constexpr auto type = message_type::verify_result;
    std::uint64_t interval = 0;
    std::vector<verify_item> items;
    std::uint64_t damage_count = 0; ///< with what is not equal here counted; 0: all of it is
    template <class V>
    void visit(V &v) {
        v(interval, field{"verify_result.interval", 1, limits::interval_id_max});
        v(items, length{"verify_result.items", 4096, 1});
        v(damage_count, count_field("verify_result.damage_count"));
    }
};

/// Text for the other side's operator, shown as the group's error until `text` is empty.
struct notice {
    static constexpr auto type = message_type::notice;
    std::string text;
    template <class V>
    void visit(V &v) {
        v(text, text_field("notice.text"));
    }
};

/// The copy's scrub wants this range compared by digests, as a verify does, and what differs
/// shipped again. One at a time.
struct compare_request {
    static constexpr auto type = message_type::compare_request;
    std::uint64_t id = 0;
    std::uint32_t volume = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    template <class V>
    void visit(V &v) {
        v(id, id_field("compare_request.id"));
        v(volume, volume_field("compare_request.volume"));
        v(offset, field{"compare_request.offset", 0, limits::volume_bytes_max, block_unit});
        v(length, field{"compare_request.length", 1, limits::compare_bytes_max});
    }
};
/// All of it was compared, and the answers are in the DR site's barriers; or why not.
struct compare_reply {
    static constexpr auto type = message_type::compare_reply;
    std::uint64_t id = 0;
    bool compared = false;
    std::string text; ///< why not
    template <class V>
    void visit(V &v) {
        v(id, id_field("compare_reply.id"));
        v(compared, "compare_reply.compared");
        v(text, text_field("compare_reply.text"));
    }
};

struct join_request {
    static constexpr auto type = message_type::join_request;
    std::string group;
    std::string secret;
    template <class V>
    void visit(V &v) {
        v(group, name_field("join_request.group"));
        v(secret, length{"join_request.secret", 128});
    }
};
struct join_reply {
    static constexpr auto type = message_type::join_reply;
    bool ok = false;
    std::string text;
    template <class V>
    void visit(V &v) {
        v(ok, "join_reply.ok");
        v(text, text_field("join_reply.text"));
    }
};

/// Payload bytes of any message, those of format/copy_questions.hpp included.
template <class Message>
buffer encode(const Message &m);
/// errc::corrupt or errc::limit, the peer's fault; the text names field, value and bound.
template <class Message>
result<Message> parse(bytes_view payload);

} // namespace farshore::wire
