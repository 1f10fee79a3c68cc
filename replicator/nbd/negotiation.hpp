#pragma once
// What happens between a client's connect and its first request, as a pure state machine: options
// in, replies out. The connection moves the bytes; every decision stands here, where tests and
// the fuzzer reach it without a socket.
//
// One object a connection; not thread-safe.

#include "replicator/base/bytes.hpp"
#include "replicator/nbd/server.hpp"
#include "replicator/nbd/validate.hpp"

#include <cstdint>
#include <span>
#include <string_view>

namespace farshore::nbd {

constexpr std::uint32_t meta_id_allocation = 1; ///< ids that BLOCK_STATUS chunks carry
constexpr std::uint32_t meta_id_dirty = 2;
constexpr std::uint32_t meta_id_changed = 3;
constexpr std::string_view meta_name_allocation = "base:allocation";
constexpr std::string_view meta_name_dirty = "qemu:dirty-bitmap:farshore";
/// Of a device that tells what changed since a point, with its id behind: for QEMU, and for all.
constexpr std::string_view meta_name_since = "qemu:dirty-bitmap:since-";
constexpr std::string_view meta_name_changed = "farshore:changed-since:";

class negotiation {
  public:
    enum class outcome : std::uint8_t {
        more,     ///< send the replies, read the next option
        transmit, ///< send the replies, then requests follow
        finish,   ///< send the replies, then close: the client said goodbye
        refuse,   ///< close: the protocol has no way to answer this
    };

    /// `exports` is not empty and outlives this object.
    explicit negotiation(std::span<const export_entry> exports) : exports_(exports) {}

    /// The client's answer to the greeting. False: unknown bits, to be refused by closing.
    bool accept_client_flags(std::uint32_t flags);

    /// Handles one option with its whole data, appends the replies to `out`. Whatever the data
    /// holds, `out` grows by a bounded amount: a reply an export or context at most.
    outcome handle_option(std::uint32_t option, bytes_view data, byte_vector &out);

    /// The reply to an option whose data is beyond nbd_option_bytes_max (and is skipped unread).
    static void refuse_size(std::uint32_t option, byte_vector &out);

    /// After outcome::transmit.
    const export_entry &chosen() const { return *chosen_; }
    export_facts facts() const;

  private:
    /// "" is the only export; of several none is meant.
    const export_entry *find(std::string_view name) const;
    /// Says which exports there are.
    void refuse_name(byte_vector &out, std::uint32_t option, std::string_view name) const;
    void reply_list(byte_vector &out) const;
    outcome choose_by_name(bytes_view data, byte_vector &out);
    outcome inform(std::uint32_t option, bytes_view data, byte_vector &out);
    void meta_context(std::uint32_t option, bytes_view data, byte_vector &out);
    void choose(const export_entry &entry);

    std::span<const export_entry> exports_;
    const export_entry *chosen_ = nullptr;
    const export_entry *meta_export_ = nullptr; ///< the export the contexts were chosen for
    bool meta_allocation_ = false;
    bool meta_dirty_ = false;
    bool meta_changed_ = false;
    bool structured_ = false;
    bool no_zeroes_ = false;
};

} // namespace farshore::nbd
