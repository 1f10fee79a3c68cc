#pragma once
// The NBD protocol as far as our server speaks it: fixed newstyle negotiation, simple and
// structured replies, block status. Source: doc/proto.md of the NBD project. All integers are
// big-endian.
//
// Negotiation
//   server -> client   greeting 18: "NBDMAGIC", "IHAVEOPT", handshake flags 16
//   client -> server   client flags 32
//   client -> server   option header 16: "IHAVEOPT", option 32, length 32; then the data
//   server -> client   option reply header 20: magic 64, option 32, type 32, length 32; then the data
// Transmission
//   client -> server   request 28: magic 32, flags 16, type 16, cookie 64, offset 64, length 32;
//                      then the payload of a WRITE
//   server -> client   simple reply 16: magic 32, error 32, cookie 64; then the data of a READ
//                      structured chunk 20: magic 32, flags 16, type 16, cookie 64, length 32;
//                      then its payload
//
// Nothing here is checksummed: the stream is a local socket or guarded by who set up the network.
// A wrong magic means that the stream is out of step: the connection is closed. Unknown options and
// commands are answered with an error and the stream goes on.

#include "replicator/format/endian.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace farshore::nbd {

constexpr std::uint64_t greeting_magic = 0x4e42444d41474943; ///< "NBDMAGIC"
constexpr std::uint64_t option_magic = 0x49484156454f5054;   ///< "IHAVEOPT"
constexpr std::uint64_t option_reply_magic = 0x0003e889045565a9;
constexpr std::uint32_t request_magic = 0x25609513;
constexpr std::uint32_t simple_reply_magic = 0x67446698;
constexpr std::uint32_t structured_reply_magic = 0x668e33ef;

// Handshake flags of the server, and of the client (the same bits).
constexpr std::uint16_t handshake_fixed_newstyle = 1 << 0;
constexpr std::uint16_t handshake_no_zeroes = 1 << 1;
constexpr std::uint32_t client_flags_known = handshake_fixed_newstyle | handshake_no_zeroes;

// Options, replies to them, information types.
constexpr std::uint32_t option_export_name = 1;
constexpr std::uint32_t option_abort = 2;
constexpr std::uint32_t option_list = 3;
constexpr std::uint32_t option_starttls = 5;
constexpr std::uint32_t option_info = 6;
constexpr std::uint32_t option_go = 7;
constexpr std::uint32_t option_structured_reply = 8;
constexpr std::uint32_t option_list_meta_context = 9;
constexpr std::uint32_t option_set_meta_context = 10;

constexpr std::uint32_t reply_ack = 1;
constexpr std::uint32_t reply_server = 2;
constexpr std::uint32_t reply_info = 3;
constexpr std::uint32_t reply_meta_context = 4;
constexpr std::uint32_t reply_error_bit = 1U << 31;
constexpr std::uint32_t reply_err_unsup = reply_error_bit | 1;
constexpr std::uint32_t reply_err_policy = reply_error_bit | 2;
constexpr std::uint32_t reply_err_invalid = reply_error_bit | 3;
constexpr std::uint32_t reply_err_unknown = reply_error_bit | 6;
constexpr std::uint32_t reply_err_too_big = reply_error_bit | 9;

constexpr std::uint16_t info_export = 0;
constexpr std::uint16_t info_name = 1;
constexpr std::uint16_t info_description = 2;
constexpr std::uint16_t info_block_size = 3;

// Transmission flags: what an export offers.
constexpr std::uint16_t flag_has_flags = 1 << 0;
constexpr std::uint16_t flag_read_only = 1 << 1;
constexpr std::uint16_t flag_send_flush = 1 << 2;
constexpr std::uint16_t flag_send_fua = 1 << 3;
constexpr std::uint16_t flag_send_trim = 1 << 5;
constexpr std::uint16_t flag_send_write_zeroes = 1 << 6;
constexpr std::uint16_t flag_send_df = 1 << 7;
constexpr std::uint16_t flag_can_multi_conn = 1 << 8;
constexpr std::uint16_t flag_send_fast_zero = 1 << 11;

// Commands and their flags.
constexpr std::uint16_t command_read = 0;
constexpr std::uint16_t command_write = 1;
constexpr std::uint16_t command_disconnect = 2;
constexpr std::uint16_t command_flush = 3;
constexpr std::uint16_t command_trim = 4;
constexpr std::uint16_t command_cache = 5;
constexpr std::uint16_t command_write_zeroes = 6;
constexpr std::uint16_t command_block_status = 7;

constexpr std::uint16_t command_flag_fua = 1 << 0;
constexpr std::uint16_t command_flag_no_hole = 1 << 1;
constexpr std::uint16_t command_flag_df = 1 << 2;
constexpr std::uint16_t command_flag_req_one = 1 << 3;
constexpr std::uint16_t command_flag_fast_zero = 1 << 4;

// Structured reply chunks.
constexpr std::uint16_t chunk_flag_done = 1 << 0;
constexpr std::uint16_t chunk_none = 0;
constexpr std::uint16_t chunk_offset_data = 1;
constexpr std::uint16_t chunk_offset_hole = 2;
constexpr std::uint16_t chunk_block_status = 5;
constexpr std::uint16_t chunk_error = (1 << 15) | 1;

/// Error numbers as the protocol fixes them (they happen to be Linux's).
enum class wire_error : std::uint32_t {
    none = 0,
    not_permitted = 1,
    io = 5,
    no_memory = 12,
    invalid = 22,
    no_space = 28,
    not_supported = 95,
    shutting_down = 108,
};

struct greeting {
    be64 magic = greeting_magic;
    be64 style = option_magic;
    be16 flags = handshake_fixed_newstyle | handshake_no_zeroes;
};
static_assert(wire_struct<greeting> && sizeof(greeting) == 18 && offsetof(greeting, flags) == 16);

struct option_header {
    be64 magic;
    be32 option;
    be32 length;
};
static_assert(wire_struct<option_header> && sizeof(option_header) == 16);
static_assert(offsetof(option_header, option) == 8 && offsetof(option_header, length) == 12);

struct option_reply_header {
    be64 magic = option_reply_magic;
    be32 option;
    be32 type;
    be32 length;
};
static_assert(wire_struct<option_reply_header> && sizeof(option_reply_header) == 20);
static_assert(offsetof(option_reply_header, option) == 8 &&
              offsetof(option_reply_header, type) == 12 &&
              offsetof(option_reply_header, length) == 16);

/// Payload of reply_info for info_export.
struct export_info {
    be16 type = info_export;
    be64 size;
    be16 flags;
};
static_assert(wire_struct<export_info> && sizeof(export_info) == 12);
static_assert(offsetof(export_info, size) == 2 && offsetof(export_info, flags) == 10);

struct block_size_info {
    be16 type = info_block_size;
    be32 minimum;
    be32 preferred;
    be32 maximum;
};
static_assert(wire_struct<block_size_info> && sizeof(block_size_info) == 14);

/// Answer to option_export_name, which has no header; 124 zero bytes follow unless no_zeroes.
struct export_name_answer {
    be64 size;
    be16 flags;
};
static_assert(wire_struct<export_name_answer> && sizeof(export_name_answer) == 10);
constexpr std::size_t export_name_zeroes = 124;

struct request_header {
    be32 magic;
    be16 flags;
    be16 type;
    be64 cookie; ///< the client's, given back unread
    be64 offset;
    be32 length;
};
static_assert(wire_struct<request_header> && sizeof(request_header) == 28);
static_assert(offsetof(request_header, flags) == 4 && offsetof(request_header, type) == 6 &&
              offsetof(request_header, cookie) == 8 && offsetof(request_header, offset) == 16 &&
              offsetof(request_header, length) == 24);

struct simple_reply {
    be32 magic = simple_reply_magic;
    be32 error;
    be64 cookie;
};
static_assert(wire_struct<simple_reply> && sizeof(simple_reply) == 16);
static_assert(offsetof(simple_reply, error) == 4 && offsetof(simple_reply, cookie) == 8);

struct chunk_header {
    be32 magic = structured_reply_magic;
    be16 flags;
    be16 type;
    be64 cookie;
    be32 length;
};
static_assert(wire_struct<chunk_header> && sizeof(chunk_header) == 20);
static_assert(offsetof(chunk_header, flags) == 4 && offsetof(chunk_header, type) == 6 &&
              offsetof(chunk_header, cookie) == 8 && offsetof(chunk_header, length) == 16);

/// What stands before the data of a READ in an offset_data chunk.
struct data_chunk_prefix {
    chunk_header header;
    be64 offset;
};
static_assert(wire_struct<data_chunk_prefix> && sizeof(data_chunk_prefix) == 28);

/// A part of a READ that is all zeroes.
struct hole_chunk {
    chunk_header header;
    be64 offset;
    be32 length;
};
static_assert(wire_struct<hole_chunk> && sizeof(hole_chunk) == 32);
static_assert(offsetof(hole_chunk, offset) == 20 && offsetof(hole_chunk, length) == 28);

struct error_chunk {
    chunk_header header;
    be32 error;
    be16 message_length;
};
static_assert(wire_struct<error_chunk> && sizeof(error_chunk) == 26);

struct status_descriptor {
    be32 length;
    be32 flags;
};
static_assert(wire_struct<status_descriptor> && sizeof(status_descriptor) == 8);

/// A request in native form.
struct request {
    std::uint16_t flags = 0;
    std::uint16_t type = 0;
    std::uint64_t cookie = 0;
    std::uint64_t offset = 0;
    std::uint32_t length = 0;

    bool fua() const { return (flags & command_flag_fua) != 0; }
};

/// The request at the front of `bytes`, which hold at least a request_header. errc::corrupt: cut
/// short or the magic is wrong. Its values are not judged: see validate_request().
result<request> parse_request(bytes_view bytes);
/// For tests, clients and fuzzing.
request_header encode_request(const request &r);

/// Data of INFO and GO. Views into the option's data.
struct info_option {
    std::string_view export_name;
    std::vector<std::uint16_t> requests;
};
/// errc::corrupt when lengths don't add up, errc::limit when the name is beyond
/// nbd_export_name_max.
result<info_option> parse_info_option(bytes_view data);

/// Data of LIST_META_CONTEXT and SET_META_CONTEXT. Views into the option's data.
struct meta_option {
    std::string_view export_name;
    std::vector<std::string_view> queries;
};
/// As parse_info_option; also errc::limit for a query beyond nbd_export_name_max.
result<meta_option> parse_meta_option(bytes_view data);

} // namespace farshore::nbd
