// A device that is held for a moment: requests under way end, new ones wait without an answer, and
// are served or refused as soon as it is known which.

#include "tests/unit/nbd/client.hpp"

#include <atomic>
#include <cerrno>
#include <chrono>

namespace farshore::nbd::test {
namespace {

constexpr auto a_while = std::chrono::milliseconds(60);

bool becomes(const std::function<bool()> &what) {
    for (int i = 0; i < 2000 && !what(); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return what();
}

} // namespace

TEST_SUITE("nbd") {
    TEST_CASE("nbd server: a device that is held begins no request, and each is served later") {
        for (const bool pool : {false, true}) {
            CAPTURE(pool);
            test_server server;
            server.memory->never_try = pool;
            raw_client client(server.path);
            client.go();
            const byte_vector data = pattern(4096, 3);
            REQUIRE(client.write(0, data) == 0);
            REQUIRE(becomes([&] { return server.memory->inside == 0; }));
            server.memory->held_now = true;
            const request w{.type = command_write, .cookie = 9, .offset = 8192, .length = 4096};
            REQUIRE(client.request_(w, data));
            REQUIRE(client.request_({.type = command_flush, .cookie = 10}));
            std::this_thread::sleep_for(a_while);
            CHECK(server.memory->inside == 0);
            CHECK(is_zero(bytes_view(server.memory->content()).subspan(8192, 4096)));
            server.memory->held_now = false;
            const std::uint64_t first = client.receive_simple().cookie; // in any order
            CHECK(first + client.receive_simple().cookie == 19);
            CHECK(equal(bytes_view(server.memory->content()).subspan(8192, 4096), data));
            CHECK(becomes([&] { return server.memory->inside == 0; }));
        }
    }

    TEST_CASE("nbd server: who holds a device sees when requests that were under way have ended") {
        test_server server;
        server.memory->never_try = true;
        std::atomic<bool> go_on = false;
        server.memory->on_call = [&](const char *) {
            while (!go_on) {
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
            }
            return 0;
        };
        raw_client client(server.path);
        client.go();
        const byte_vector data = pattern(4096, 3);
        const request w{.type = command_write, .cookie = 9, .offset = 8192, .length = 4096};
        REQUIRE(client.request_(w, data));
        REQUIRE(becomes([&] { return server.memory->inside == 1; }));
        server.memory->held_now = true;
        std::this_thread::sleep_for(a_while);
        CHECK(server.memory->inside == 1);
        go_on = true;
        CHECK(client.receive_simple().error == 0);
        CHECK(becomes([&] { return server.memory->inside == 0; }));
        server.memory->held_now = false;
    }

    TEST_CASE("nbd server: a client that leaves in the middle of a request is inside no more") {
        test_server server;
        raw_client client(server.path);
        client.go();
        const request w{.type = command_write, .cookie = 9, .offset = 0, .length = 300'000};
        REQUIRE(client.request_(w, pattern(1000, 1))); // and nothing behind it
        REQUIRE(becomes([&] { return server.memory->inside == 1; }));
        client.close();
        CHECK(becomes([&] { return server.memory->inside == 0; }));
    }

    TEST_CASE("nbd server: it stops while a device is held") {
        test_server server;
        raw_client client(server.path);
        client.go();
        server.memory->held_now = true;
        REQUIRE(client.request_({.type = command_flush, .cookie = 10}));
        server.close(std::chrono::milliseconds(100));
        CHECK(client.closed_by_server());
    }
}

} // namespace farshore::nbd::test
