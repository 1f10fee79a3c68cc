#include "replicator/session/tls_network.hpp"

#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

result<std::string> read_text(file_system &files, const std::string &path) {
    FS_TRY(bytes, files.read_file(path));
    return std::string(as_text(bytes));
}

result<transport::identity> identity_of(file_system &files, const std::string &certificate_path,
                                        const std::string &key_path) {
    FS_TRY(certificate, read_text(files, certificate_path));
    FS_TRY(key, read_text(files, key_path));
    auto self = transport::parse_identity(std::move(certificate), std::move(key));
    if (!self) {
        return fail(self.error().code,
                    fmt::format("{} and {}: {}", certificate_path, key_path, self.error().context));
    }
    return self;
}

} // namespace

std::vector<std::string> term_warnings(const std::vector<transport::term> &terms, wall_time now) {
    constexpr duration fortnight = std::chrono::hours(14 * 24);
    std::vector<std::string> out;
    for (const transport::term &t : terms) {
        if (now < t.from) {
            out.push_back(fmt::format("{} is not good before {}; is the clock right?", t.what,
                                      to_rfc3339(t.from)));
        } else if (now >= t.until) {
            out.push_back(fmt::format(
                "{} ended at {}; put a new one in its place, it is read again by itself", t.what,
                to_rfc3339(t.until)));
        } else if (t.until - now <
                   std::min(fortnight, (t.until - std::max(t.from, wall_time{})) / 3)) {
            out.push_back(
                fmt::format("{} ends at {}; put a new one in its place, it is read again by itself",
                            t.what, to_rfc3339(t.until)));
        }
    }
    return out;
}

result<tls_network::material> tls_network::load_own(file_system &files, const tls_files &own) {
    material m;
    FS_TRY(self, identity_of(files, own.certificate, own.key));
    m.self = std::move(self);
    FS_TRY(ca, read_text(files, own.ca));
    m.ca = std::move(ca);
    if (!own.crl.empty()) {
        FS_TRY(crl, read_text(files, own.crl));
        if (crl.empty()) {
            return fail(errc::invalid, fmt::format("{} is empty", own.crl));
        }
        m.crl = std::move(crl);
    }
    auto terms = transport::terms_of(m.self.certificate_pem, m.ca, m.crl);
    if (!terms) {
        return fail(terms.error().code,
                    fmt::format("{}{}{}: {}", own.ca, own.crl.empty() ? "" : ", ", own.crl,
                                terms.error().context));
    }
    m.terms = std::move(*terms);
    return m;
}

result<tls_network::material> tls_network::load_or_make(file_system &files,
                                                        const std::string &state) {
    const std::string certificate_path = join_path(state, "identity.crt");
    const std::string key_path = join_path(state, "identity.key");
    FS_TRY(present, files.exists(key_path));
    if (!present) {
        FS_TRY(made, transport::make_identity("farshore"));
        FS_CHECK(files.replace_file(certificate_path, as_bytes(made.certificate_pem)));
        FS_CHECK(files.replace_file(key_path, as_bytes(made.key_pem)));
    }
    material m;
    FS_TRY(self, identity_of(files, certificate_path, key_path));
    m.self = std::move(self);
    return m;
}

result<std::unique_ptr<tls_network>> tls_network::open(file_system &files, const std::string &state,
                                                       const std::optional<tls_files> &own,
                                                       runtime run) {
    FS_TRY(found, own ? load_own(files, *own) : load_or_make(files, state));
    return std::unique_ptr<tls_network>(
        new tls_network(files, own, std::move(found), std::move(run)));
}

tls_network::tls_network(file_system &files, std::optional<tls_files> own, material found,
                         runtime run)
    : files_(files), own_(std::move(own)), material_(std::move(found)), run_(std::move(run)) {}
tls_network::~tls_network() = default;

const std::string &tls_network::fingerprint() const { return material_.self.fingerprint; }

transport::tls_options tls_network::options(transport::trust_check trust,
                                            transport::pacers pace) const {
    transport::tls_options o;
    o.self = material_.self;
    o.ca_pem = material_.ca;
    o.crl_pem = material_.crl;
    o.trust = std::move(trust);
    o.pace = std::move(pace);
    o.time = run_.time;
    return o;
}

result<std::unique_ptr<transport::connector>>
tls_network::make_connector(const std::string &address, const std::string &alpn,
                            const expected_peer &expected, transport::pacers pace, bool urgent) {
    FS_TRY(where, transport::parse_address(address));
    auto trust = [expected](const transport::peer_claim &seen) {
        return accept_receiver(expected, seen.fingerprint, seen.signed_by_ca,
                               seen.has_name(expected.name), seen.names);
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
    listener_ =
        std::make_unique<transport::tls_listener>(run_.home, std::move(o), std::move(on_link));
    return listener_->listen(where);
}

std::uint16_t tls_network::port() const { return listener_ ? listener_->port() : std::uint16_t{0}; }

task<void> tls_network::close() {
    if (listener_) {
        co_await listener_->close();
    }
}

task<bool> tls_network::refresh() {
    if (!own_) {
        co_return false;
    }
    auto loaded =
        co_await run_on(run_.disk, [&files = files_, own = *own_] { return load_own(files, own); });
    const bool same = loaded && loaded->self.certificate_pem == material_.self.certificate_pem &&
                      loaded->self.key_pem == material_.self.key_pem &&
                      loaded->ca == material_.ca && loaded->crl == material_.crl;
    result<> usable;
    if (!loaded) {
        usable = std::unexpected(loaded.error());
    } else if (!same && listener_) {
        usable = listener_->use(loaded->self, loaded->ca, loaded->crl);
    }
    if (!usable) {
        const std::string text =
            fmt::format("the files of [tls] can't be used, those read before stay in use: {}",
                        usable.error().text());
        if (problem_ != text) {
            log::warning("{}", text);
        }
        problem_ = text;
        co_return false;
    }
    problem_.reset();
    if (same) {
        co_return false;
    }
    const bool trust_changed = loaded->ca != material_.ca || loaded->crl != material_.crl;
    material_ = std::move(*loaded);
    log::info("[tls]: read again; own fingerprint {}{}", material_.self.fingerprint,
              trust_changed ? "; peers prove anew who they are" : "");
    co_return trust_changed;
}

std::vector<std::string> tls_network::warnings(wall_time now) const {
    std::vector<std::string> out = term_warnings(material_.terms, now);
    if (problem_) {
        out.push_back(*problem_);
    }
    return out;
}

} // namespace farshore
