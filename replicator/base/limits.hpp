#pragma once
// Every bound of the product by name. A length from the wire or a disk is compared with its bound
// before it is used for an allocation or in arithmetic.

#include <cstddef>
#include <cstdint>

namespace farshore::limits {

constexpr std::uint64_t KiB = 1024;
constexpr std::uint64_t MiB = 1024 * KiB;
constexpr std::uint64_t GiB = 1024 * MiB;

// Groups and volumes
constexpr std::size_t groups_max = 256;             ///< of one daemon
constexpr std::size_t retain_rules_max = 32;        ///< of one group
constexpr std::size_t volumes_per_group_max = 1024; ///< of one group
/// Of a group's lineage (roles/lineage.hpp). With a switchover there and back each week it is
/// reached after nine years, and the group is set up anew then.
constexpr std::size_t generations_max = 1000;
constexpr std::size_t name_bytes_max = 64;             ///< group and volume names
constexpr std::uint64_t volume_bytes_max = 1ULL << 50; ///< 1 PiB

constexpr std::size_t unreadable_blocks_max =
    4096; ///< of one volume, left out of points; beyond, no point is made

// NBD
constexpr std::size_t nbd_request_bytes_max = 32 * MiB; ///< payload of one READ or WRITE
constexpr std::size_t nbd_refused_payload_bytes_max =
    128 * MiB; ///< dropped before a WRITE is refused; more closes
constexpr std::size_t nbd_option_bytes_max = 64 * KiB;   ///< one option during negotiation
constexpr std::size_t nbd_export_name_max = 4096;        ///< by the NBD protocol
constexpr std::size_t nbd_connections_max = 1024;        ///< of one daemon
constexpr std::size_t nbd_inflight_max = 64;             ///< requests of one connection
constexpr std::size_t nbd_inflight_bytes_max = 64 * MiB; ///< buffered payload of one connection

// Intervals and frames
constexpr std::size_t interval_raw_bytes_max =
    32 * MiB; ///< new data in an interval: closed early at it
constexpr std::size_t interval_entries_max = 1 << 16; ///< blocks in an interval
constexpr std::size_t interval_queue_max = 64;        ///< closed, not yet encoded
constexpr std::size_t frame_raw_bytes_max = 4 * MiB; ///< block content that a data frame stands for
constexpr std::size_t frame_payload_bytes_max = 1 * MiB + 128 * KiB;
constexpr std::size_t frame_blocks_max = frame_raw_bytes_max / 4096;
constexpr std::size_t frames_per_interval_max = 4096;
constexpr std::uint64_t verify_bytes_max = MiB;          ///< a range that is compared by its digest
constexpr std::uint64_t verify_hole_bytes_max = 2 * GiB; ///< a hole that is compared by extents
constexpr std::size_t segment_bytes_max = 256 * MiB;     ///< a file of the interval log

// Undo
constexpr std::size_t covered_bytes_max = 64 * MiB; ///< which blocks the history has, of one group

// Packed history
constexpr std::uint64_t stretch_undo_bytes_max = 256 * MiB; ///< raw undo in one stretch

// Scrub
constexpr std::size_t damages_max = 4096; ///< marks of damaged pieces, of one group; coarser beyond
constexpr std::size_t damaged_points_listed_max = 1000; ///< of one damaged piece, in answers
constexpr std::uint64_t compare_bytes_max = 64 * GiB;   ///< asked for at a time; holes but 64 MiB
constexpr std::size_t scrub_findings_max = 256;         ///< of one pass, in answers

// Numbers that peers say
constexpr std::uint64_t interval_id_max =
    (1ULL << 63) - 1; ///< and of all other counts: sums can't overflow
/// How far a peer's position may be above what is known here. No honest peer gets so far ahead:
/// reserved ids are skipped by 1,024 at a power cut.
constexpr std::uint64_t interval_jump_max = 1ULL << 40;
constexpr std::uint64_t first_stream_id_max =
    1ULL << 62; ///< up to here a stream may begin anywhere above its copy
constexpr std::uint64_t loan_window = 4096;       ///< intervals ahead that loans may be asked for
constexpr std::uint64_t heals_slack = 1024;       ///< damage that was told and lost by a crash
constexpr std::size_t peer_text_bytes_max = 4096; ///< words for the other side's operator

// Loans between groups
constexpr std::size_t loan_bytes_max = 1024 * MiB; ///< of one group at the DR site
constexpr std::size_t loan_blocks_max = 4096;      ///< in one request

// Transport
constexpr std::size_t message_bytes_max = 2 * MiB;    ///< one message after authentication
constexpr std::size_t handshake_bytes_max = 64 * KiB; ///< of TLS data before authentication
constexpr std::size_t hello_bytes_max = 128 * KiB;    ///< first message
constexpr std::size_t join_bytes_max = 16 * KiB; ///< one message of somebody who has but a token
constexpr std::size_t data_links_max = 16;
constexpr std::size_t sessions_unauthenticated_max = 64; ///< of one listener at a time
constexpr std::size_t window_bytes_max = 64 * MiB; ///< sent and not acknowledged, of one group
constexpr std::size_t digests_per_message_max = 16384;
constexpr std::size_t regions_per_nak_max = 4096;
constexpr std::size_t changed_runs_max =
    1 << 16; ///< runs of regions that the DR site says changed; coarser beyond
constexpr std::size_t changed_runs_per_message_max = 4096;
constexpr std::size_t extents_per_message_max = 16384; ///< of data, in an answer about holes

// Control socket and configuration
constexpr std::size_t control_line_bytes_max = 1 * MiB;
constexpr std::size_t control_clients_max = 64;
constexpr std::size_t config_bytes_max = 4 * MiB;

} // namespace farshore::limits
