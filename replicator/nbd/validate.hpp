#pragma once
// The only place that judges a client's request. What passes here may go to a device as it is:
// in range, of a bounded size, allowed on this export. A pure function, so that every rule is one
// line of a test.

#include "replicator/base/error.hpp"
#include "replicator/format/nbd_protocol.hpp"

#include <cstdint>

namespace farshore::nbd {

/// What a connection agreed on with its client.
struct export_facts {
    std::uint64_t size = 0;
    bool read_only = false;
    bool structured = false;      ///< structured replies were negotiated
    bool meta_allocation = false; ///< base:allocation was chosen
    bool meta_dirty = false;      ///< qemu:dirty-bitmap:... was chosen
    bool meta_changed = false;    ///< farshore:changed-since:... was chosen
};

/// Transmission flags to advertise.
std::uint16_t transmission_flags(bool read_only, bool structured);

/// wire_error::none when a device may see the request. DISC is always valid. Rules and error
/// numbers follow the protocol: beyond the end is ENOSPC for what writes data and EINVAL for all
/// else; any change on a read-only export is EPERM; FUA is ignored where it means nothing.
wire_error validate_request(const request &r, const export_facts &facts);

/// The error number a client sees for a failed device call.
wire_error wire_error_of(const error &e);

} // namespace farshore::nbd
