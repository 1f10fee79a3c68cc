// A point that an operator opened, while the copy's storage fails and is opened anew.

#include "replicator/base/geometry.hpp"
#include "replicator/base/opening_limits.hpp"
#include "tests/unit/sites/engine_rig.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace farshore {
namespace {

bool answers(const std::string &path) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    std::copy(path.begin(), path.end(), at.sun_path);
    const bool connected =
        ::connect(fd, static_cast<const sockaddr *>(static_cast<const void *>(&at)), sizeof at) ==
        0;
    ::close(fd);
    return connected;
}

/// A pair that replicates, and an opening that is served without NBD.
struct opening_fixture {
    world w;
    receiver_host site{w};
    std::optional<sender_host> primary;
    std::shared_ptr<block_device> live;

    opening_fixture() {
        primary.emplace(w, 'a');
        REQUIRE(primary->join(site.token()));
        REQUIRE(primary->streams());
        live = sender_access::device(*primary->engine, "shop", volume_index{0});
        write_live(0, 1);
    }
    void write_live(std::uint64_t block, unsigned value) {
        REQUIRE(live->write(block * block_bytes, filled(value), false));
        REQUIRE(w.await(primary->engine->wait("shop", false, std::chrono::minutes(1))));
    }
    static byte_vector filled(unsigned value) {
        return byte_vector(block_bytes, static_cast<std::byte>(value));
    }
    opened_point open(open_request wanted) {
        auto opened = w.await(site.engine->open("shop", std::move(wanted)));
        REQUIRE_MESSAGE(opened, (opened ? "" : opened.error().text()));
        return *opened;
    }
    bool served(const std::string &id) {
        return w.until([&] { return !receiver_access::opened_devices(*site.engine, id).empty(); });
    }
    std::shared_ptr<block_device> device(const std::string &id) {
        REQUIRE(served(id));
        return receiver_access::opened_devices(*site.engine, id).front();
    }
    void write(const std::string &id, std::uint64_t block, unsigned value, bool flush = true) {
        const auto d = device(id);
        REQUIRE(d->write(block * block_bytes, filled(value), false));
        REQUIRE((!flush || d->flush()));
    }
    bool has(const std::string &id, std::uint64_t block, unsigned value) {
        byte_vector out(block_bytes);
        REQUIRE(device(id)->read(block * block_bytes, out));
        return out == filled(value);
    }
    std::string directory(const std::string &id) const {
        return std::string(state) + "/groups/shop/openings/" + id;
    }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE_FIXTURE(opening_fixture,
                      "opened points: writable, what is written stays beside the copy") {
        const auto a = open({.writable = true, .space_bytes = 4 * block_bytes});
        const auto b = open({.writable = true});
        const auto c = open({});
        CHECK(a.writable);
        CHECK(a.space_limit_bytes == 4 * block_bytes);
        CHECK(b.space_limit_bytes == limits::overlay_space_default);
        write(a.id, 0, 10);
        write(b.id, 0, 20);
        CHECK(has(a.id, 0, 10));
        CHECK(has(b.id, 0, 20));
        CHECK(has(c.id, 0, 1));
        write_live(0, 2); // replication goes on
        CHECK(has(a.id, 0, 10));
        CHECK(has(c.id, 0, 1));
        const auto over = device(a.id)->write(8 * block_bytes, byte_vector(4 * block_bytes), false);
        REQUIRE(!over);
        CHECK(is_errno(over.error(), ENOSPC));
        write_live(1, 3);
        REQUIRE(site.engine->opened().size() == 3);
        CHECK(site.engine->opened()[0].space_used_bytes == block_bytes);
        REQUIRE(w.await(site.engine->close(a.id)));
        CHECK(site.disk.exists(directory(a.id)) == false);
        CHECK(has(b.id, 0, 20));
        const auto again = w.await(site.engine->close(a.id));
        REQUIRE(!again);
        CHECK(is(again.error(), errc::not_found));
        const auto d = open({.writable = true});
        CHECK(d.id != a.id); // never used again
        CHECK(has(d.id, 0, 2));
    }

    TEST_CASE_FIXTURE(opening_fixture,
                      "opened points: the copy is opened anew, what was written is there") {
        const auto a = open({.writable = true});
        write(a.id, 0, 10);
        write(a.id, 1, 11, false); // answered, and its client comes back
        sim_fault eio;
        eio.scope = sim_scope::writes;
        eio.path_prefix = "/srv/data.img";
        site.disk.inject(eio);
        REQUIRE(live->write(block_bytes, filled(2), false));
        REQUIRE(w.until([&] { return site.status().state == receiver_state::failed; }));
        REQUIRE(w.until([&] { return site.status().state == receiver_state::following; }));
        CHECK(has(a.id, 0, 10));
        CHECK(has(a.id, 1, 11));
        REQUIRE(w.await(site.engine->close(a.id)));
        CHECK(site.disk.exists(directory(a.id)) == false);
    }

    TEST_CASE_FIXTURE(opening_fixture, "opened points: over a restart in order, and a kill") {
        const std::string path = "/tmp/farshore-kept-" + std::to_string(::getpid()) + ".sock";
        const auto a = open({.nbd = "unix:" + path, .writable = true, .space_bytes = 8192});
        const auto b = open({});
        write(a.id, 0, 10);
        write(a.id, 1, 11, false);
        write_live(0, 2);
        site.stop();
        CHECK_FALSE(answers(path));
        site.start();
        REQUIRE(served(a.id));
        CHECK(answers(path));
        CHECK(has(a.id, 0, 10));
        CHECK(has(a.id, 1, 11));
        CHECK(has(b.id, 0, 1));
        const auto now = site.engine->opened().front();
        CHECK(now.id == a.id);
        CHECK(now.point == a.point);
        CHECK(now.writable);
        CHECK(now.space_limit_bytes == 8192);
        CHECK(now.space_used_bytes == 2 * block_bytes);
        REQUIRE(now.exports.size() == 1);
        CHECK(now.exports[0].uri == a.exports[0].uri);
        CHECK(!device(a.id)->write(block_bytes, byte_vector(2 * block_bytes), false)); // its limit
        write(a.id, 1, 11);
        site.stop();
        site.disk.power_cut(3);
        site.start();
        CHECK(has(a.id, 0, 10));
        CHECK(has(a.id, 1, 11));
        CHECK(has(b.id, 0, 1));
        REQUIRE(w.await(site.engine->close(a.id)));
        REQUIRE(w.await(site.engine->close(b.id)));
        site.stop();
        site.start();
        CHECK(site.engine->opened().empty());
    }

    TEST_CASE_FIXTURE(opening_fixture,
                      "opened points: files of an opening that is none are removed") {
        const auto a = open({.writable = true});
        site.stop();
        REQUIRE(site.disk.make_directories(directory("shop-99")));
        REQUIRE(site.disk.open(directory("shop-99") + "/data.map", open_mode::create));
        site.start();
        REQUIRE(served(a.id));
        CHECK(site.disk.exists(directory("shop-99")) == false);
        CHECK(site.disk.exists(directory(a.id)) == true);
    }

    TEST_CASE_FIXTURE(opening_fixture, "opened points: one that can't be made leaves nothing") {
        for (std::uint64_t nth = 1; nth < 12; ++nth) {
            sim_fault full;
            full.scope = sim_scope::mutating;
            full.path_prefix = std::string(state) + "/groups/shop/openings";
            full.nth = nth;
            full.number = ENOSPC;
            site.disk.inject(full);
            const auto opened = w.await(site.engine->open("shop", {.writable = true}));
            site.disk.clear_faults();
            if (opened) {
                REQUIRE(w.await(site.engine->close(opened->id)));
            }
            CHECK(site.engine->opened().empty());
        }
        const auto left = site.disk.list(std::string(state) + "/groups/shop/openings");
        REQUIRE(left);
        CHECK(left->empty());
        const std::string path = "/tmp/farshore-none/" + std::to_string(::getpid());
        CHECK(!w.await(site.engine->open("shop", {.nbd = "unix:" + path, .writable = true})));
        CHECK(site.engine->opened().empty());
        CHECK(!w.await(site.engine->open("shop", {.mount = "relative"})));
    }

    TEST_CASE_FIXTURE(opening_fixture,
                      "opened points: on a full disk they are looked at, and closed") {
        const auto before = open({.writable = true});
        write(before.id, 3, 30);
        site.fill();
        const auto look = open({});
        CHECK(has(look.id, 0, 1));
        CHECK(!w.await(site.engine->open("shop", {.writable = true})));
        REQUIRE(w.await(site.engine->close(look.id)));
        REQUIRE(w.await(site.engine->close(before.id))); // what it gives back is room enough
        site.give_space();
        CHECK(site.engine->opened().empty());
        CHECK(site.disk.exists(directory(before.id)) == false);
        site.stop();
        site.start();
        w.until([] { return false; });
        CHECK(site.engine->opened().empty());
    }

    TEST_CASE_FIXTURE(opening_fixture,
                      "opened points: what was opened on a full disk lasts once that has room") {
        site.fill();
        const auto look = open({});
        CHECK(look.error.value_or("").find("disk of `state` is full") != std::string::npos);
        w.run_until([] { return false; }, std::chrono::seconds(20));
        CHECK(site.engine->opened().front().error); // tried, and still full
        sim_fault eio;                              // with space, and still not writable
        eio.scope = sim_scope::mutating;
        eio.path_prefix = std::string(state) + "/groups/shop/catalogue.db";
        eio.forever = true;
        site.disk.inject(eio);
        site.give_space();
        REQUIRE(w.until([&] {
            return site.engine->opened().front().error.value_or("").find("Input/output") !=
                   std::string::npos;
        }));
        site.disk.clear_faults();
        REQUIRE(w.until([&] { return !site.engine->opened().front().error; }));
        write_live(0, 2);
        site.stop();
        site.start();
        CHECK(has(look.id, 0, 1));
        REQUIRE(w.await(site.engine->close(look.id)));
        site.stop();
        site.start();
        w.until([] { return false; });
        CHECK(site.engine->opened().empty());
    }

    TEST_CASE_FIXTURE(opening_fixture, "opened points: so many of one group, and no more") {
        for (std::size_t i = 0; i < limits::openings_max; ++i) {
            open({});
        }
        const auto more = w.await(site.engine->open("shop", {}));
        REQUIRE(!more);
        CHECK(is(more.error(), errc::limit));
        CHECK(more.error().text().find("farshore opened") != std::string::npos);
    }

    TEST_CASE(
        "opened points: stay under their id and at their place when the copy is opened anew") {
        world w;
        receiver_host site(w);
        sender_host primary(w, 'a');
        REQUIRE(primary.join(site.token()));
        REQUIRE(primary.streams());
        const auto device = sender_access::device(*primary.engine, "shop", volume_index{0});
        REQUIRE(device->write(0, byte_vector(block_bytes, std::byte{1}), false));
        REQUIRE(w.await(primary.engine->wait("shop", false, std::chrono::minutes(1))));
        const std::string path = "/tmp/farshore-opened-" + std::to_string(::getpid()) + ".sock";
        const auto open =
            w.await(site.engine->open("shop", {.point = "latest", .nbd = "unix:" + path}));
        REQUIRE(open);
        CHECK(answers(path));
        sim_fault eio;
        eio.scope = sim_scope::writes;
        eio.path_prefix = "/srv/data.img";
        eio.number = EIO;
        site.disk.inject(eio);
        REQUIRE(device->write(block_bytes, byte_vector(block_bytes, std::byte{2}), false));
        REQUIRE(w.until([&] { return site.engine->status()[0].state == receiver_state::failed; }));
        CHECK(site.engine->opened().size() == 1);
        REQUIRE(
            w.until([&] { return site.engine->status()[0].state == receiver_state::following; }));
        REQUIRE(primary.streams());
        REQUIRE(w.await(primary.engine->wait("shop", false, std::chrono::minutes(1))));
        REQUIRE(site.engine->opened().size() == 1);
        CHECK(site.engine->opened()[0].id == open->id);
        CHECK(site.engine->opened()[0].point == open->point);
        CHECK(answers(path));
        CHECK(w.await(site.engine->close(open->id)));
        CHECK_FALSE(answers(path));
    }
}

} // namespace farshore
