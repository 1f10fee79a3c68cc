// A line that takes nothing any more and says nothing about it: what the DR site has, it goes on
// with.

#include "replicator/base/geometry.hpp"
#include "tests/unit/sites/engine_rig.hpp"

namespace farshore {
namespace {

/// Shared by the links of the receiver: while it holds, what they send waits until they are closed.
struct line_valve {
    bool shut = false;
    condition moved;
};

class valve_link final : public transport::link {
  public:
    valve_link(std::unique_ptr<transport::link> inner, line_valve &valve)
        : inner_(std::move(inner)), valve_(valve) {}

    task<result<>> send(transport::message m) override {
        while (valve_.shut && !closed_) {
            co_await valve_.moved.wait();
        }
        co_return co_await inner_->send(std::move(m));
    }
    task<result<transport::message>> receive() override { return inner_->receive(); }
    void close() override {
        closed_ = true;
        inner_->close();
        valve_.moved.notify_all();
    }
    const std::string &peer_address() const override { return inner_->peer_address(); }
    const std::string &peer_fingerprint() const override { return inner_->peer_fingerprint(); }
    const std::string &application() const override { return inner_->application(); }
    transport::wire_count wire() const override { return inner_->wire(); }

  private:
    std::unique_ptr<transport::link> inner_;
    line_valve &valve_;
    bool closed_ = false;
};

class valve_network final : public network {
  public:
    valve_network(transport::memory_network &line, line_valve &valve)
        : inner_(line, receiver_fingerprint, ""), valve_(valve) {}

    const std::string &fingerprint() const override { return inner_.fingerprint(); }
    result<std::unique_ptr<transport::connector>>
    make_connector(const std::string &to, const std::string &alpn, const expected_peer &expected,
                   transport::pacers pace, bool bulk) override {
        return inner_.make_connector(to, alpn, expected, std::move(pace), bulk);
    }
    result<> listen(const std::string &at, transport::trust_check trust,
                    std::function<void(std::unique_ptr<transport::link>)> on_link) override {
        return inner_.listen(
            at, std::move(trust),
            [this, on_link = std::move(on_link)](std::unique_ptr<transport::link> l) {
                on_link(std::make_unique<valve_link>(std::move(l), valve_));
            });
    }
    std::uint16_t port() const override { return inner_.port(); }
    task<void> close() override { return inner_.close(); }

  private:
    sim::sim_network inner_;
    line_valve &valve_;
};

const byte_vector written(static_cast<std::size_t>(block_bytes), std::byte{0x6B});

/// A streaming pair. From the next write to the replica on, nothing that the DR site sends gets
/// out.
struct hanging_pair {
    world w;
    line_valve valve;
    receiver_host site{w, trusting::tokens, [this](transport::memory_network &line) {
                           return std::make_unique<valve_network>(line, valve);
                       }};
    sender_host primary{w, 'a'};
    std::shared_ptr<block_device> device;

    hanging_pair() {
        REQUIRE(primary.join(site.token()));
        REQUIRE(primary.streams());
        device = sender_access::device(*primary.engine, "shop", volume_index{0});
        REQUIRE(w.await(primary.engine->wait("shop", false, std::chrono::minutes(1))));
        site.disk.before_call([this](const sim_call &call) {
            valve.shut =
                valve.shut || (call.what == sim_operation::write && call.path == "/srv/data.img");
        });
    }
    ~hanging_pair() {
        site.disk.before_call({});
        valve.shut = false;
        valve.moved.notify_all();
    }
    void write(std::uint64_t block) { REQUIRE(device->write(block * block_bytes, written, false)); }
    bool shows(std::uint64_t block) {
        byte_vector there(block_bytes);
        REQUIRE((*site.disk.open("/srv/data.img", open_mode::read))
                    ->read_at(block * block_bytes, there));
        return there == written;
    }
    interval_id applied() const { return site.engine->status().front().applied_barrier->id; }
    receiver_state state() const { return site.engine->status().front().state; }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("hanging line: what is durable is applied although acknowledgements don't get out") {
        hanging_pair p;
        p.write(3);
        REQUIRE(p.w.until([&] { return p.valve.shut; }));
        p.write(7);
        CHECK(p.w.run_until([&] { return p.shows(7); }, std::chrono::seconds(4)));
        CHECK(p.shows(3));
    }

    TEST_CASE(
        "hanging line: a copy whose storage failed is opened anew without waiting for the line") {
        hanging_pair p;
        sim_fault eio;
        eio.scope = sim_scope::writes;
        eio.path_prefix = "/srv/data.img";
        eio.number = EIO;
        p.site.disk.inject(eio);
        p.write(3);
        REQUIRE(p.w.until([&] { return p.state() == receiver_state::failed; }));
        CHECK(p.valve.shut);
        // Five seconds of pause; the sender counts as dead only after ten.
        CHECK(p.w.run_until([&] { return p.state() == receiver_state::following && p.shows(3); },
                            std::chrono::seconds(8)));
    }

    TEST_CASE(
        "hanging line: a full disk that has space again is used without waiting for the line") {
        hanging_pair p;
        sim_fault full;
        full.scope = sim_scope::writes;
        full.path_prefix = "/srv/data.img";
        full.number = ENOSPC;
        full.forever = true;
        p.site.disk.inject(full);
        const interval_id before = p.applied();
        p.write(3);
        REQUIRE(p.w.until(
            [&] { return says(p.site.engine->status().front().error, "No space left"); }));
        CHECK(p.valve.shut);
        p.site.disk.clear_faults();
        CHECK(p.w.run_until([&] { return p.applied() > before; }, std::chrono::seconds(8)));
        CHECK(p.shows(3));
    }

    TEST_CASE("hanging line: the receiver stops in time") {
        hanging_pair p;
        p.write(3);
        REQUIRE(p.w.until([&] { return p.valve.shut; }));
        const time_point began = p.w.clock.now();
        p.site.end_serving();
        p.w.await(p.site.engine->stop(std::chrono::seconds(10)));
        CHECK(p.w.clock.now() - began < std::chrono::seconds(3));
    }
}

} // namespace farshore
