#include "replicator/engine/tls_network.hpp"

#include "replicator/base/limits.hpp"

#include <fmt/format.h>

namespace farshore::engine {
namespace {

result<std::string> read_text(file_system &files, const std::string &path) {
    FS_TRY(bytes, files.read_file(path));
    return std::string(as_text(bytes));
}

} // namespace

result<std::unique_ptr<tls_network>> tls_network::open(file_system &files, const std::string &state,
                                                       const std::optional<tls_files> &own, runtime run) {
    std::string certificate_path = join_path(state, "identity.crt");
    std::string key_path = join_path(state, "identity.key");
    std::string ca;
    if (own) {
        certificate_path = own->certificate;
        key_path = own->key;
        FS_TRY(text, read_text(files, own->ca));
        ca = std::move(text);
    } else {
        FS_TRY(present, files.exists(key_path));
        if (!present) {
            FS_TRY(made, transport::make_identity("farshore"));
            FS_CHECK(files.replace_file(certificate_path, as_bytes(made.certificate_pem)));
            FS_CHECK(files.replace_file(key_path, as_bytes(made.key_pem)));
        }
    }
    FS_TRY(certificate, read_text(files, certificate_path));
    FS_TRY(key, read_text(files, key_path));
    auto self = transport::parse_identity(std::move(certificate), std::move(key));
    if (!self) {
        return fail(self.error().code, fmt::format("{} and {}: {}", certificate_path, key_path,
                                                   self.error().context));
    }
    return std::unique_ptr<tls_network>(new tls_network(std::move(*self), std::move(ca), std::move(run)));
}

tls_network::tls_network(transport::identity self, std::string ca, runtime run)
    : self_(std::move(self)), ca_(std::move(ca)), run_(std::move(run)) {}
tls_network::~tls_network() = default;

const std::string &tls_network::fingerprint() const { return self_.fingerprint; }

transport::tls_options tls_network::options(transport::trust_check trust, transport::pacers pace) const {
    transport::tls_options o;
    o.self = self_;
    o.ca_pem = ca_;
    o.trust = std::move(trust);
    o.pace = std::move(pace);
    o.time = run_.time;
    return o;
}

result<std::unique_ptr<transport::connector>>
tls_network::make_connector(const std::string &address, const std::string &alpn, const std::string &pinned,
                            transport::pacers pace, bool urgent) {
    FS_TRY(where, transport::parse_address(address));
    const bool any_of_ca = !ca_.empty() && pinned.empty();
    auto trust = [pinned, any_of_ca](const std::string &seen, const std::string &, const std::string &) {
        return any_of_ca || seen == pinned;
    };
    transport::tls_options o = options(std::move(trust), std::move(pace));
    o.pace_waits = !urgent;
    return std::make_unique<transport::tls_connector>(run_.home, where, alpn, std::move(o));
}

result<> tls_network::listen(const std::string &address, transport::trust_check trust,
                             std::function<void(std::unique_ptr<transport::link>)> on_link) {
    FS_TRY(where, transport::parse_address(address));
    transport::tls_options o = options(std::move(trust), {});
    o.known = known_;
    o.first_message_bytes_max = limits::hello_bytes_max;
    listener_ = std::make_unique<transport::tls_listener>(run_.home, std::move(o), std::move(on_link));
    return listener_->listen(where);
}

std::uint16_t tls_network::port() const { return listener_ ? listener_->port() : std::uint16_t{0}; }

task<void> tls_network::close() {
    if (listener_) {
        co_await listener_->close();
    }
}

} // namespace farshore::engine
