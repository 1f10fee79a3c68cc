#pragma once
// How the engine gets links: TLS over TCP in the product (tls_network.hpp), memory in the simulation.
// All calls on the home executor.

#include "transport/link.hpp"
#include "transport/pacer.hpp"
#include "transport/tls_link.hpp"

#include <functional>
#include <memory>
#include <string>

namespace farshore::engine {

class network {
  public:
    virtual ~network() = default;
    /// Own certificate's fingerprint.
    virtual const std::string &fingerprint() const = 0;
    /// Links to `address`, trusting only `pinned` (empty: whoever the site's CA signed). `urgent`: bytes count in the
    /// pacers and do not wait for them, so that heartbeats get through whatever the throttle is.
    virtual result<std::unique_ptr<transport::connector>>
    make_connector(const std::string &address, const std::string &alpn, const std::string &pinned,
                   transport::pacers pace, bool urgent) = 0;
    virtual result<> listen(const std::string &address, transport::trust_check trust,
                            std::function<void(std::unique_ptr<transport::link>)> on_link) = 0;
    /// Before listen(): whether a paired peer last came from this source (transport/guest_policy.hpp).
    virtual void set_known(std::function<bool(const std::string &)>) {}
    virtual std::uint16_t port() const = 0; ///< actually bound
    virtual task<void> close() = 0;         ///< stops listening
};

} // namespace farshore::engine
