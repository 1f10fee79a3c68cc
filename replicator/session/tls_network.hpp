#pragma once
// network over TLS: the daemon's identity (made at first start, kept in the state directory with
// mode 0600, or the site's own files) and how links are made from it.
//
// The site's own files are read again by refresh(): a certificate that was renewed, a list of
// revoked ones that is newer take hold with the next connection. All files count together or none
// does, since who replaces them may be half done.

#include "replicator/session/config.hpp"
#include "replicator/session/network.hpp"
#include "replicator/storage/file_system.hpp"

#include <memory>
#include <optional>

namespace farshore {

class tls_network final : public network {
  public:
    /// Loads or makes STATE/identity.crt and identity.key. Errors name the file.
    static result<std::unique_ptr<tls_network>> open(file_system &files, const std::string &state,
                                                     const std::optional<tls_files> &own,
                                                     runtime run);
    ~tls_network() override;

    const std::string &fingerprint() const override;
    result<std::unique_ptr<transport::connector>>
    make_connector(const std::string &address, const std::string &alpn,
                   const expected_peer &expected, transport::pacers pace, bool urgent) override;
    result<> listen(const std::string &address, transport::trust_check trust,
                    std::function<void(std::unique_ptr<transport::link>)> on_link) override;
    void set_known(std::function<bool(const std::string &)> known) override {
        known_ = std::move(known);
    }
    std::uint16_t port() const override;
    task<void> close() override;
    task<bool> refresh() override;
    std::vector<std::string> warnings(wall_time now) const override;

  private:
    /// What the files hold.
    struct material {
        transport::identity self;
        std::string ca;
        std::string crl;
        std::vector<transport::term> terms; ///< of a site's own files
    };
    static result<material> load_own(file_system &files, const tls_files &own);
    static result<material> load_or_make(file_system &files, const std::string &state);
    tls_network(file_system &files, std::optional<tls_files> own, material found, runtime run);
    transport::tls_options options(transport::trust_check trust, transport::pacers pace) const;

    file_system &files_;
    std::optional<tls_files> own_;
    material material_;
    std::optional<std::string> problem_; ///< why newer files are not used
    runtime run_;
    std::function<bool(const std::string &)> known_;
    std::unique_ptr<transport::tls_listener> listener_;
};

/// A fortnight before the end of what is good for six weeks or more, else in the last third of its
/// time; nothing before.
std::vector<std::string> term_warnings(const std::vector<transport::term> &terms, wall_time now);

} // namespace farshore
