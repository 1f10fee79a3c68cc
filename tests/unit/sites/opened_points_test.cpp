// A point that an operator opened, while the copy's storage fails and is opened anew.

#include "replicator/base/geometry.hpp"
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

} // namespace

TEST_SUITE("sites") {
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
