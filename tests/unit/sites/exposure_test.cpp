// What the record of a group's exposure says, against what was done to it.

#include "tests/unit/sites/engine_rig.hpp"

#include <algorithm>

namespace farshore {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

struct exposed : world {
    receiver_host site{*this};
    sender_host primary{*this, 'a'};
    const byte_vector data = byte_vector(4096, std::byte{'x'});

    exposed() {
        REQUIRE(primary.join(site.token()));
        REQUIRE(primary.streams());
        write();
    }
    void write() {
        const auto device = sender_access::device(*primary.engine, "shop", volume_index{0});
        REQUIRE(device->write(0, data, false));
        REQUIRE(await(primary.engine->wait("shop", true, minutes(1))));
    }
    void pass(duration d) {
        run_until([] { return false; }, d);
    }
    rpo_figures rpo() {
        const auto told = await(site.engine->report("shop", wall_time{}));
        REQUIRE(told);
        return rpo_of(told->hours);
    }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE_FIXTURE(exposed, "exposure: while nothing is written nothing is at risk") {
        pass(minutes(50));
        write();
        pass(seconds(10));
        const rpo_figures f = rpo();
        REQUIRE(f.worst);
        CHECK(*f.worst < seconds(5));
        CHECK(f.watched > minutes(49));
        CHECK(f.connected > minutes(49));
    }

    TEST_CASE_FIXTURE(exposed, "exposure: a line that is cut costs what it takes to come back") {
        line.half_open();
        const auto device = sender_access::device(*primary.engine, "shop", volume_index{0});
        REQUIRE(device->write(0, data, false));
        pass(minutes(3));
        line.heal();
        REQUIRE(until([&] { return primary.status().connected; }));
        write();
        pass(seconds(5));
        const rpo_figures f = rpo();
        REQUIRE(f.worst);
        CHECK(*f.worst > minutes(2));
        CHECK(*f.worst < minutes(5));
        CHECK(f.connected < f.watched);
    }

    TEST_CASE_FIXTURE(exposed,
                      "exposure: what came while the receiver was down is found after it") {
        site.stop();
        const auto device = sender_access::device(*primary.engine, "shop", volume_index{0});
        REQUIRE(device->write(0, data, false));
        pass(minutes(20));
        site.start();
        REQUIRE(run_until([&] { return primary.status().connected; }, minutes(2)));
        write();
        pass(seconds(5));
        const rpo_figures f = rpo();
        REQUIRE(f.worst);
        CHECK(*f.worst > minutes(19));
        CHECK(f.watched < minutes(10));
    }

    TEST_CASE("exposure: what is written is at risk from then on, not from the next barrier on") {
        world w;
        w.interval = minutes(10);
        receiver_host site(w);
        sender_host primary(w, 'a');
        REQUIRE(primary.join(site.token()));
        REQUIRE(primary.streams());
        const byte_vector data(4096, std::byte{'x'});
        const auto device = sender_access::device(*primary.engine, "shop", volume_index{0});
        REQUIRE(device->write(0, data, false));
        REQUIRE(w.await(primary.engine->wait("shop", true, minutes(1))));
        REQUIRE(device->write(0, data, false)); // the interval stays open
        w.run_until([] { return false; }, minutes(4));
        const auto told = w.await(site.engine->report("shop", wall_time{}));
        REQUIRE(told);
        CHECK(rpo_of(told->hours).worst.value_or(duration{}) > minutes(3));
    }

    TEST_CASE_FIXTURE(exposed,
                      "exposure: a restart of an idle group's receiver puts nothing at risk") {
        pass(minutes(10));
        site.stop();
        pass(minutes(20));
        site.start();
        REQUIRE(run_until([&] { return primary.status().connected; }, minutes(2)));
        pass(minutes(10));
        const rpo_figures f = rpo();
        CHECK(f.worst.value_or(duration{}) < seconds(5));
    }
}

} // namespace farshore
