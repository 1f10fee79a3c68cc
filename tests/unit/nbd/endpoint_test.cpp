#include "replicator/nbd/listener.hpp"
#include "tests/support/temp_directory.hpp"
#include "tests/unit/nbd/client.hpp"

using namespace farshore;
using namespace farshore::nbd;

TEST_SUITE("nbd endpoint") {
    TEST_CASE("nbd endpoint: the three forms") {
        const auto unix_socket = parse_endpoint("unix:/run/a b.sock");
        REQUIRE(unix_socket);
        CHECK(unix_socket->unix_path == "/run/a b.sock");
        const auto v4 = parse_endpoint("tcp:127.0.0.1:10809");
        REQUIRE(v4);
        CHECK(v4->unix_path.empty());
        CHECK(v4->host == "127.0.0.1");
        CHECK(v4->port == 10809);
        const auto v6 = parse_endpoint("tcp:[::1]:0");
        REQUIRE(v6);
        CHECK(v6->host == "::1");
        CHECK(v6->port == 0);
    }

    TEST_CASE("nbd endpoint: refuses what it can't listen on, naming the text") {
        for (const std::string text :
             {"", "unix:", "unix:relative", "tcp:", "tcp:host", "tcp::1", "tcp:host:", "tcp:host:x",
              "tcp:host:65536", "tcp:host:-1", "tcp:host:1x", "tcp:::1:80", "tcp:[::1:80",
              "tcp:[]:80", "/run/socket", "http://x"}) {
            CAPTURE(text);
            const auto parsed = parse_endpoint(text);
            REQUIRE_FALSE(parsed);
            CHECK(is(parsed.error(), errc::invalid));
            CHECK(parsed.error().context.contains("'" + text + "'"));
        }
    }

    TEST_CASE("nbd endpoint: a socket path fits the kernel's address or is refused") {
        CHECK(parse_endpoint("unix:/" + std::string(106, 'x')));
        CHECK_FALSE(parse_endpoint("unix:/" + std::string(107, 'x')));
    }

    TEST_CASE("nbd endpoint: a burst of clients waits in the kernel's queue") {
        const temp_directory directory;
        const std::string path = directory.path() + "/socket";
        const auto listening = listening_socket::open({.unix_path = path});
        REQUIRE(listening);
        std::vector<unique_fd> clients;
        for (int i = 0; i < 300; ++i) {
            unique_fd &client = clients.emplace_back(
                ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
            sockaddr_un address{};
            address.sun_family = AF_UNIX;
            path.copy(address.sun_path, sizeof address.sun_path - 1);
            REQUIRE(::connect(client.get(), static_cast<sockaddr *>(static_cast<void *>(&address)),
                              sizeof address) == 0);
        }
    }

    TEST_CASE("nbd endpoint: URIs are percent-encoded") {
        CHECK(export_uri({.unix_path = "/run/farshore/data.sock"}, "data") ==
              "nbd+unix:///data?socket=/run/farshore/data.sock");
        CHECK(export_uri({.unix_path = "/tmp/a b&c#?%.sock"}, "x y\xc3\xa4") ==
              "nbd+unix:///x%20y%C3%A4?socket=/tmp/a%20b%26c%23%3F%25.sock");
        CHECK(export_uri({.host = "dr.example", .port = 10809}, "") == "nbd://dr.example:10809/");
        CHECK(export_uri({.host = "::1", .port = 1}, "wal") == "nbd://[::1]:1/wal");
    }
}
