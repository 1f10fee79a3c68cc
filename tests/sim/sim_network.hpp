#pragma once
// The engine's network over a memory_network: one adapter a life of a daemon.

#include "replicator/session/network.hpp"
#include "transport/memory_link.hpp"

#include <string>

namespace farshore::sim {

class sim_network : public network {
  public:
    sim_network(transport::memory_network &line, std::string fingerprint,
                std::string peer_fingerprint)
        : line_(line), fingerprint_(std::move(fingerprint)), peer_(std::move(peer_fingerprint)) {}
    ~sim_network() override { stop(); }

    const std::string &fingerprint() const override { return fingerprint_; }

    result<std::unique_ptr<transport::connector>> make_connector(const std::string &address,
                                                                 const std::string &alpn,
                                                                 const expected_peer &expected,
                                                                 transport::pacers, bool) override {
        if (expected.fingerprint != peer_) {
            return fail(errc::not_trusted, "another fingerprint is pinned");
        }
        return line_.make_connector(address, alpn, fingerprint_, peer_);
    }

    result<> listen(const std::string &address, transport::trust_check trust,
                    std::function<void(std::unique_ptr<transport::link>)> on_link) override {
        address_ = address;
        line_.listen(address, [trust = std::move(trust),
                               on_link = std::move(on_link)](std::unique_ptr<transport::link> l) {
            transport::peer_claim peer;
            peer.fingerprint = l->peer_fingerprint();
            peer.alpn = l->application();
            peer.address = l->peer_address();
            peer.signed_by_ca = true; // the engine asks only where there is one
            peer.has_name = [](const std::string &) { return false; };
            if (trust(peer)) {
                on_link(std::move(l));
            } else {
                l->close();
            }
        });
        return {};
    }
    std::uint16_t port() const override { return 7420; }
    task<void> close() override {
        stop();
        co_return;
    }

  private:
    void stop() {
        if (!address_.empty()) {
            line_.listen(address_, {});
            address_.clear();
        }
    }

    transport::memory_network &line_;
    std::string fingerprint_;
    std::string peer_;
    std::string address_;
};

} // namespace farshore::sim
