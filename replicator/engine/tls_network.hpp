#pragma once
// network over TLS: the daemon's identity (made at first start, kept in the state directory with mode
// 0600, or the site's own files) and how links are made from it.

#include "replicator/engine/config.hpp"
#include "replicator/engine/network.hpp"
#include "replicator/storage/file_system.hpp"

#include <memory>
#include <optional>

namespace farshore::engine {

class tls_network final : public network {
  public:
    /// Loads or makes STATE/identity.crt and identity.key. Errors name the file.
    static result<std::unique_ptr<tls_network>> open(file_system &files, const std::string &state,
                                                     const std::optional<tls_files> &own, runtime run);
    ~tls_network() override;

    const std::string &fingerprint() const override;
    result<std::unique_ptr<transport::connector>> make_connector(const std::string &address,
                                                                 const std::string &alpn,
                                                                 const std::string &pinned,
                                                                 transport::pacers pace, bool urgent) override;
    result<> listen(const std::string &address, transport::trust_check trust,
                    std::function<void(std::unique_ptr<transport::link>)> on_link) override;
    void set_known(std::function<bool(const std::string &)> known) override { known_ = std::move(known); }
    std::uint16_t port() const override;
    task<void> close() override;

  private:
    tls_network(transport::identity self, std::string ca, runtime run);
    transport::tls_options options(transport::trust_check trust, transport::pacers pace) const;

    transport::identity self_;
    std::string ca_;
    runtime run_;
    std::function<bool(const std::string &)> known_;
    std::unique_ptr<transport::tls_listener> listener_;
};

} // namespace farshore::engine
