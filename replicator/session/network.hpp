#pragma once
// How the engine gets links: TLS over TCP in the product (tls_network.hpp), memory in the
// simulation. All calls on the home executor.

#include "replicator/session/peer_trust.hpp"
#include "transport/link.hpp"
#include "transport/pacer.hpp"
#include "transport/tls_link.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace farshore {

class network {
  public:
    virtual ~network() = default;
    /// Own certificate's fingerprint.
    virtual const std::string &fingerprint() const = 0;
    /// Links to `address`, trusting only whom is expected there. `urgent`: bytes count in the
    /// pacers and do not wait for them, so that heartbeats get through whatever the throttle is.
    virtual result<std::unique_ptr<transport::connector>>
    make_connector(const std::string &address, const std::string &alpn,
                   const expected_peer &expected, transport::pacers pace, bool urgent) = 0;
    virtual result<> listen(const std::string &address, transport::trust_check trust,
                            std::function<void(std::unique_ptr<transport::link>)> on_link) = 0;
    /// Before listen(): whether a paired peer last came from this source
    /// (transport/guest_policy.hpp).
    // NOLINTNEXTLINE(performance-unnecessary-value-param): a network that listens keeps it
    virtual void set_known(std::function<bool(const std::string &)>) {}
    virtual std::uint16_t port() const = 0; ///< actually bound
    virtual task<void> close() = 0;         ///< stops listening
    /// Reads the site's own files again. True: who is trusted may have changed, so that peers
    /// should prove themselves anew. Files that can't be used leave what was, and warnings() says
    /// so.
    virtual task<bool> refresh() { co_return false; }
    /// What the operator should look at before it stops the pair: certificates that end, files that
    /// can't be used.
    virtual std::vector<std::string> warnings(wall_time) const { return {}; }
};

} // namespace farshore
