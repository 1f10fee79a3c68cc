// A path that drops what is larger than a packet: small messages work, data never does.

#include "replicator/session/path_judge.hpp"
#include "tests/unit/sites/engine_rig.hpp"

namespace farshore {
namespace {

using namespace std::chrono_literals;

/// What is large is never acknowledged by the path: TCP gives the connection up after nine seconds.
class narrow_link final : public transport::link {
  public:
    narrow_link(std::unique_ptr<transport::link> inner, time_source &time, const bool &narrow)
        : inner_(std::move(inner)), time_(time), narrow_(narrow) {}

    task<result<>> send(transport::message m) override {
        if (!narrow_ || m.payload.size() <= 1200) {
            co_return co_await inner_->send(std::move(m));
        }
        const time_point until = time_.now() + 9s;
        while (!closed_ && time_.now() < until) {
            co_await time_.sleep_for(100ms);
        }
        co_return fail_errno(ETIMEDOUT, "the connection to " + peer_address());
    }
    task<result<transport::message>> receive() override { return inner_->receive(); }
    void close() override {
        closed_ = true;
        inner_->close();
    }
    const std::string &peer_address() const override { return inner_->peer_address(); }
    const std::string &peer_fingerprint() const override { return inner_->peer_fingerprint(); }
    const std::string &application() const override { return inner_->application(); }
    transport::wire_count wire() const override { return inner_->wire(); }

  private:
    std::unique_ptr<transport::link> inner_;
    time_source &time_;
    const bool &narrow_;
    bool closed_ = false;
};

task<result<std::unique_ptr<transport::link>>>
connect_narrow(std::shared_ptr<transport::connector> inner, duration timeout, time_source &time,
               const bool &narrow) {
    FS_CO_TRY(link, co_await inner->connect(timeout));
    co_return std::make_unique<narrow_link>(std::move(link), time, narrow);
}

class narrow_connector final : public transport::connector {
  public:
    narrow_connector(std::unique_ptr<transport::connector> inner, time_source &time,
                     const bool &narrow)
        : inner_(std::move(inner)), time_(time), narrow_(narrow) {}
    task<result<std::unique_ptr<transport::link>>> connect(duration timeout) override {
        return connect_narrow(inner_, timeout, time_, narrow_);
    }

  private:
    std::shared_ptr<transport::connector> inner_;
    time_source &time_;
    const bool &narrow_;
};

class narrow_network final : public sim::sim_network {
  public:
    narrow_network(transport::memory_network &line, std::string self, std::string peer,
                   time_source &time, const bool &narrow)
        : sim_network(line, std::move(self), std::move(peer)), time_(time), narrow_(narrow) {}
    result<std::unique_ptr<transport::connector>>
    make_connector(const std::string &to, const std::string &alpn, const expected_peer &expected,
                   transport::pacers pace, bool urgent) override {
        FS_TRY(inner, sim_network::make_connector(to, alpn, expected, std::move(pace), urgent));
        return std::make_unique<narrow_connector>(std::move(inner), time_, narrow_);
    }

  private:
    time_source &time_;
    const bool &narrow_;
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE(
        "path: two sessions of which the line ended both before anything large was answered") {
        path_judge j;
        const session_end narrow{true, false, true, true, 9s};
        j.ended(narrow);
        CHECK_FALSE(j.suspects());
        j.ended({true, false, false, true, 9s});  // refused: says nothing of the path
        j.ended({false, false, true, false, 0s}); // not reached: neither
        j.ended({true, false, true, false, 9s});  // had nothing large to say
        j.ended({true, false, true, true, 1s});   // too short to tell
        CHECK_FALSE(j.suspects());
        j.ended(narrow);
        CHECK(j.suspects());
        j.ended({true, true, true, true, 9s});
        CHECK_FALSE(j.suspects());
    }

    TEST_CASE("path: one that drops large packets is named in status, until data gets through") {
        world w;
        bool narrow = false;
        receiver_host site(w);
        sender_host primary(w, 'a', [&](transport::memory_network &line) {
            return std::make_unique<narrow_network>(line, std::string(64, 'a'),
                                                    receiver_fingerprint, w.clock, narrow);
        });
        REQUIRE(primary.join(site.token()));
        REQUIRE(primary.streams());
        narrow = true;
        const auto device = sender_access::device(*primary.engine, "shop", volume_index{0});
        byte_vector noise(64 * 1024);
        for (std::size_t i = 0; i < noise.size(); ++i) {
            noise[i] = static_cast<std::byte>((i * 2654435761U) >> 13);
        }
        REQUIRE(device->write(0, noise, false));
        CHECK(w.run_until([&] { return says(primary.status().error, "Check the MTU"); },
                          std::chrono::minutes(1)));
        // Said while a connection is up as well.
        CHECK(w.run_until(
            [&] {
                return primary.status().connected && says(primary.status().error, "Check the MTU");
            },
            std::chrono::minutes(1)));
        narrow = false;
        CHECK(w.run_until([&] { return primary.status().connected && !primary.status().error; },
                          std::chrono::minutes(1)));
    }
}

} // namespace farshore
