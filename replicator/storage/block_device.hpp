#pragma once
// A disk as every layer sees it: live volumes (capture over file), points (replica + undo),
// overlays. Devices stack; each has the same verbs. The NBD server validates every request (range,
// size, read-only) in one place before a device sees it; devices assert those rules.
//
// Threads: all verbs may be called from several threads at once. `try_` verbs never block for a
// disk, a lock held over disk work, or a peer; they are called on connection threads. The others
// may block and are called on a disk pool.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace farshore {

/// A run of one allocation or dirtiness state, as BLOCK_STATUS reports it.
struct status_extent {
    std::uint64_t length = 0;
    std::uint32_t flags =
        0; ///< the context's own bits (NBD_STATE_HOLE = 1, NBD_STATE_ZERO = 2; dirty = 1)
};

enum class status_context : std::uint8_t { allocation, dirty };

struct zero_options {
    bool fua = false;
    bool keep_allocated = false; ///< NBD_CMD_FLAG_NO_HOLE
    bool only_if_fast =
        false; ///< NBD_CMD_FLAG_FAST_ZERO: fail with ENOTSUP rather than write zeroes slowly
};

class block_device {
  public:
    virtual ~block_device() = default;

    /// Bytes; fixed while the device exists; need not be a multiple of any block size.
    virtual std::uint64_t size() const = 0;
    virtual bool read_only() const = 0;
    /// Whether status(dirty) means anything here.
    virtual bool has_dirty_context() const { return false; }
    /// Where that is what changed since another state: the id of that (a point's). Empty: it is
    /// what is dirty now.
    virtual std::string changed_since() const { return {}; }

    // Of who serves clients: around requests that are under way, one after the other or many at
    // once. While it is held none is begun, and those that are go on.
    /// False: it is held, and is asked again soon; else leave() follows.
    virtual bool enter() { return true; }
    virtual void leave() {}
    virtual bool held() const { return false; }

    /// Fills `out` with the bytes at `offset`. Errors: the disk's errno.
    virtual result<> read(std::uint64_t offset, bytes_span out) = 0;
    /// The same if it needs no waiting; false leaves `out` unspecified and the caller uses read().
    virtual result<bool> try_read(std::uint64_t offset, bytes_span out) = 0;

    /// After return every later read sees the bytes. Durable on return only with `fua`, otherwise
    /// after the next flush(). Overlapping concurrent writes take effect in some one order.
    virtual result<> write(std::uint64_t offset, bytes_view data, bool fua) = 0;
    /// The same without fua if it needs no waiting; false means nothing was done.
    virtual result<bool> try_write(std::uint64_t offset, bytes_view data) = 0;

    /// All writes that returned before the call, on whichever connection, are durable on return.
    virtual result<> flush() = 0;
    /// The range reads as zero or as before, by the device's choice; ours: zero.
    virtual result<> trim(byte_range range, bool fua) = 0;
    virtual result<> write_zeroes(byte_range range, zero_options options) = 0;
    /// TRIM or WRITE_ZEROES if it needs no waiting; false means nothing was done.
    virtual result<bool> try_zero(byte_range /*range*/, zero_options /*options*/) { return false; }

    /// States of [range.offset, ...): at least one and at most `max` extents, merged, in order,
    /// together not beyond the range's end. A hint: never says zero for what is not.
    virtual result<std::vector<status_extent>> status(byte_range range, status_context context,
                                                      std::size_t max) = 0;
};

} // namespace farshore
