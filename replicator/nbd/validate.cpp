#include "replicator/nbd/validate.hpp"

#include "replicator/base/limits.hpp"

#include <cerrno>

namespace farshore::nbd {

namespace {

struct command_rule {
    std::uint16_t flags_known = command_flag_fua; ///< FUA is to be accepted on every command
    bool changes = false;                         ///< refused on a read-only export
    bool has_range = true;                        ///< offset and length name bytes of the export
    bool bounded = false;                         ///< its length is the size of a payload
    wire_error beyond_end = wire_error::invalid;
};

bool rule_of(std::uint16_t type, command_rule &rule) {
    switch (type) {
    case command_read:
        rule.flags_known |= command_flag_df;
        rule.bounded = true;
        return true;
    case command_write:
        rule.changes = true;
        rule.bounded = true;
        rule.beyond_end = wire_error::no_space;
        return true;
    case command_flush:
        rule.has_range = false;
        return true;
    case command_trim:
        rule.changes = true;
        return true;
    case command_write_zeroes:
        rule.flags_known |= command_flag_no_hole | command_flag_fast_zero;
        rule.changes = true;
        rule.beyond_end = wire_error::no_space;
        return true;
    case command_block_status:
        rule.flags_known |= command_flag_req_one;
        return true;
    default:
        return false;
    }
}

} // namespace

std::uint16_t transmission_flags(bool read_only, bool structured) {
    std::uint16_t flags = flag_has_flags | flag_can_multi_conn;
    flags |= read_only ? flag_read_only
                       : flag_send_flush | flag_send_fua | flag_send_trim | flag_send_write_zeroes |
                             flag_send_fast_zero;
    return structured ? flags | flag_send_df : flags;
}

wire_error validate_request(const request &r, const export_facts &facts) {
    if (r.type == command_disconnect) {
        return wire_error::none;
    }
    command_rule rule;
    if (!rule_of(r.type, rule) || (r.flags & ~rule.flags_known) != 0) {
        return wire_error::invalid;
    }
    if ((r.flags & command_flag_df) != 0 && !facts.structured) {
        return wire_error::invalid; // never advertised to this client
    }
    if (r.type == command_block_status &&
        !(facts.structured && (facts.meta_allocation || facts.meta_dirty || facts.meta_changed))) {
        return wire_error::invalid;
    }
    if (rule.changes && facts.read_only) {
        return wire_error::not_permitted;
    }
    if (!rule.has_range) {
        return r.offset == 0 && r.length == 0 ? wire_error::none : wire_error::invalid;
    }
    if (r.length == 0 || (rule.bounded && r.length > limits::nbd_request_bytes_max)) {
        return wire_error::invalid;
    }
    if (r.offset > facts.size || r.length > facts.size - r.offset) {
        return rule.beyond_end;
    }
    return wire_error::none;
}

wire_error wire_error_of(const error &e) {
    if (is(e, errc::full)) {
        return wire_error::no_space;
    }
    if (e.code.category() != std::generic_category()) {
        return wire_error::io;
    }
    switch (e.code.value()) {
    case EPERM:
    case EACCES:
    case EROFS:
        return wire_error::not_permitted;
    case ENOMEM:
        return wire_error::no_memory;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return wire_error::no_space;
    case ENOTSUP:
        return wire_error::not_supported;
    case EINVAL:
        return wire_error::invalid;
    default:
        return wire_error::io;
    }
}

} // namespace farshore::nbd
