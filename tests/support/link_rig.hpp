#pragma once
// Two rigs that make pairs of links, for the conformance suite and for tests of one kind: TLS over
// loopback sockets, and memory under a simulated clock.

#include "tests/support/sim_clock.hpp"
#include "transport/memory_link.hpp"
#include "transport/tls_link.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <vector>

namespace farshore::test {

template <class T>
task<void> store(task<T> t, std::optional<T> &out) {
    out = co_await std::move(t);
}

/// Starts a task whose outcome can be looked at later. Must outlive it.
template <class T>
class running {
  public:
    running(asio::io_context &io, task<T> t) {
        asio::co_spawn(io, store(std::move(t), value_), asio::detached);
    }
    running(const running &) = delete;
    running &operator=(const running &) = delete;
    bool done() const { return value_.has_value(); }
    T &value() { return *value_; }

  private:
    std::optional<T> value_;
};

inline task<bool> finished(task<void> t) {
    co_await std::move(t);
    co_return true;
}

class memory_rig {
  public:
    explicit memory_rig(transport::memory_network_options options = {})
        : network(io.get_executor(), clock, options) {
        network.listen("site-b", [this](std::unique_ptr<transport::link> l) {
            accepted.push_back(std::move(l));
        });
    }

    template <class Predicate>
    bool run_until(Predicate done) {
        return test::run_until(io, clock, done, std::chrono::hours(1));
    }
    std::unique_ptr<transport::connector> connector() {
        return network.make_connector("site-b", transport::alpn_session, "finger-a", "finger-b");
    }

    sim_clock clock;
    asio::io_context io{1};
    transport::memory_network network;
    std::vector<std::unique_ptr<transport::link>> accepted;
    std::string fingerprint_a = "finger-a";
    std::string fingerprint_b = "finger-b";
};

inline const transport::identity &identity_a() {
    static const auto made = transport::make_identity("site-a");
    return *made;
}
inline const transport::identity &identity_b() {
    static const auto made = transport::make_identity("site-b");
    return *made;
}

inline transport::trust_check trust_only(const std::string &fingerprint) {
    return [fingerprint](const transport::peer_claim &peer) {
        return peer.fingerprint == fingerprint
                   ? result<>()
                   : fail(errc::not_trusted, "is not the one pinned for it");
    };
}

class tls_rig {
  public:
    /// Each side trusts the other; tests change the options before start().
    tls_rig() {
        a.self = identity_a();
        a.trust = trust_only(identity_b().fingerprint);
        b.self = identity_b();
        b.trust = trust_only(identity_a().fingerprint);
    }
    ~tls_rig() {
        accepted.clear();
        if (listener) {
            running<bool> closing(io, finished(listener->close()));
            run_until([&] { return closing.done(); });
        }
    }

    void start() {
        listener = std::make_unique<transport::tls_listener>(
            io.get_executor(), b,
            [this](std::unique_ptr<transport::link> l) { accepted.push_back(std::move(l)); });
        REQUIRE(listener->listen({"127.0.0.1", 0}));
    }
    template <class Predicate>
    bool run_until(Predicate done) {
        const time_point end = machine.now() + std::chrono::seconds(60);
        while (!done()) {
            if (machine.now() > end) {
                return false;
            }
            io.restart();
            io.run_one_for(std::chrono::milliseconds(20));
        }
        return true;
    }
    std::unique_ptr<transport::connector> connector(std::string alpn = transport::alpn_session) {
        if (!listener) {
            start();
        }
        return std::make_unique<transport::tls_connector>(
            io.get_executor(), transport::address{"127.0.0.1", listener->port()}, std::move(alpn),
            a);
    }

    system_clock machine;
    asio::io_context io{1};
    transport::tls_options a; ///< connects
    transport::tls_options b; ///< accepts
    std::unique_ptr<transport::tls_listener> listener;
    std::vector<std::unique_ptr<transport::link>> accepted;
    std::string fingerprint_a = identity_a().fingerprint;
    std::string fingerprint_b = identity_b().fingerprint;
};

template <class T, class Rig>
T run(Rig &rig, task<T> t) {
    running<T> r(rig.io, std::move(t));
    REQUIRE(rig.run_until([&] { return r.done(); }));
    return std::move(r.value());
}

struct link_pair {
    std::unique_ptr<transport::link> a; ///< connected
    std::unique_ptr<transport::link> b; ///< accepted
};

template <class Rig>
link_pair connect(Rig &rig) {
    const auto connector = rig.connector();
    const std::size_t before = rig.accepted.size();
    auto a = run(rig, connector->connect(std::chrono::seconds(20)));
    REQUIRE_MESSAGE(a.has_value(), (a ? std::string() : a.error().text()));
    REQUIRE(rig.run_until([&] { return rig.accepted.size() > before; }));
    auto b = std::move(rig.accepted.back());
    rig.accepted.pop_back();
    return {std::move(*a), std::move(b)};
}

} // namespace farshore::test
