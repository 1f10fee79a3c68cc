// Clients that lie, stall, hang up or stay too long. Among them one test for each known fault of
// other NBD implementations that a server can have.

#include "replicator/base/limits.hpp"
#include "replicator/nbd/connection.hpp"
#include "replicator/nbd/negotiation.hpp"
#include "tests/unit/nbd/client.hpp"

#include <algorithm>
#include <fcntl.h>
#include <latch>
#include <sys/resource.h>
#include <sys/stat.h>

using namespace farshore;
using namespace farshore::nbd;
using namespace farshore::nbd::test;

namespace {

void still_serves(test_server &server) {
    raw_client client(server.path);
    REQUIRE(client.connected);
    client.go();
    CHECK(client.read(0, 16).size() == 16);
}

/// A device that says what the test wants of BLOCK_STATUS.
class status_device final : public block_device {
  public:
    std::vector<status_extent> answer;
    std::uint64_t size() const override { return limits::volume_bytes_max; }
    bool read_only() const override { return true; }
    result<> read(std::uint64_t, bytes_span out) override {
        std::ranges::fill(out, std::byte{});
        return {};
    }
    result<bool> try_read(std::uint64_t, bytes_span) override { return false; }
    result<> write(std::uint64_t, bytes_view, bool) override { return {}; }
    result<bool> try_write(std::uint64_t, bytes_view) override { return false; }
    result<> flush() override { return {}; }
    result<> trim(byte_range, bool) override { return {}; }
    result<> write_zeroes(byte_range, zero_options) override { return {}; }
    result<std::vector<status_extent>> status(byte_range, status_context, std::size_t) override {
        return answer;
    }
};

} // namespace

TEST_SUITE("nbd hostile") {
    TEST_CASE(
        "nbd hostile: a hang-up at any byte of the way in costs nobody else (CVE-2013-7441)") {
        test_server server;
        byte_vector script;
        append_struct(script, be32(client_flags_known));
        const auto option = [&](std::uint32_t number, const byte_vector &data) {
            option_header header;
            header.magic = option_magic;
            header.option = number;
            header.length = static_cast<std::uint32_t>(data.size());
            append_struct(script, header);
            append_bytes(script, data);
        };
        option(option_structured_reply, {});
        option(option_set_meta_context, raw_client::meta_data("data", {meta_name_allocation}));
        option(option_go, raw_client::info_data("data"));
        append_struct(script, encode_request({.type = command_write, .cookie = 1, .length = 64}));
        append_bytes(script, pattern(64, 1));
        append_struct(script, encode_request({.type = command_read, .cookie = 2, .length = 64}));
        for (std::size_t n = 0; n <= script.size(); ++n) {
            raw_client client(server.path);
            REQUIRE(client.connected);
            client.send(bytes_view(script).first(n));
            client.close();
        }
        still_serves(server);
    }

    TEST_CASE(
        "nbd hostile: export names of 4096 bytes and more (QEMU's stack overflow, f37708f6b8)") {
        test_server server;
        for (const std::size_t length : {255UL, 256UL, 4096UL, 4097UL, 65'536UL}) {
            const std::string name(length, 'A');
            raw_client old(server.path);
            old.begin();
            REQUIRE(old.send_option(option_export_name, as_bytes(name)));
            CHECK(old.closed_by_server());
            raw_client client(server.path);
            client.begin();
            const auto replies = client.ask(option_go, raw_client::info_data(name));
            CHECK((replies.back().type & reply_error_bit) != 0);
            CHECK(client.ask(option_go, raw_client::info_data("data")).back().type == reply_ack);
        }
    }

    TEST_CASE("nbd hostile: STARTTLS is refused and changes nothing (CVE-2021-3716)") {
        test_server server;
        raw_client client(server.path);
        client.begin();
        CHECK(client.ask(option_starttls).back().type == reply_err_unsup);
        // Not encrypted and not reset: what follows counts as before.
        CHECK(client.ask(option_structured_reply).back().type == reply_ack);
        CHECK(client.ask(option_starttls).back().type == reply_err_unsup);
        CHECK(client.ask(option_list_meta_context, raw_client::meta_data("data", {})).back().type ==
              reply_ack);
    }

    TEST_CASE("nbd hostile: clients in every state at shutdown (CVE-2024-7409)") {
        auto device = std::make_shared<memory_device>(1 << 20);
        std::latch held(1);
        std::latch release(1);
        device->on_call = [&](const char *verb) {
            if (std::string_view(verb) == "flush") {
                held.count_down();
                release.wait();
            }
            return 0;
        };
        test_server server(device);
        raw_client silent(server.path); // not even client flags
        raw_client options(server.path);
        options.begin();
        raw_client half_option(server.path);
        half_option.begin();
        half_option.send(as_bytes("IHAVE"));
        raw_client idle(server.path);
        idle.go();
        raw_client half_request(server.path);
        half_request.go();
        half_request.send(pattern(1, 1));
        raw_client half_payload(server.path);
        half_payload.go();
        half_payload.request_({.type = command_write, .cookie = 1, .length = 1 << 20},
                              pattern(99, 1));
        raw_client waiting(server.path);
        waiting.go();
        waiting.request_({.type = command_flush, .cookie = 1});
        held.wait();
        raw_client deaf(server.path); // takes no replies
        deaf.go();
        for (int i = 0; i < 20; ++i) {
            deaf.request_({.type = command_read, .cookie = 1, .length = 1 << 20});
        }
        CHECK(server.get().connections() >= 7);

        std::jthread closer([&] { server.close(std::chrono::milliseconds(50)); });
        CHECK(half_payload.closed_by_server());
        release.count_down();
        closer.join();
        CHECK(server.get().connections() == 0);
        CHECK_FALSE(raw_client(server.path).connected);
        CHECK_FALSE(std::filesystem::exists(server.path));
    }

    TEST_CASE("nbd hostile: a request in flight at shutdown is answered within the grace") {
        auto device = std::make_shared<memory_device>(1 << 20);
        std::latch held(1);
        device->on_call = [&](const char *verb) {
            if (std::string_view(verb) == "flush") {
                held.count_down();
                std::this_thread::sleep_for(std::chrono::milliseconds(5));
            }
            return 0;
        };
        test_server server(device);
        raw_client client(server.path);
        client.go();
        REQUIRE(client.request_({.type = command_flush, .cookie = 12}));
        held.wait();
        server.close(std::chrono::seconds(60));
        CHECK(client.receive_simple().cookie == 12);
        CHECK(client.closed_by_server());
    }

    TEST_CASE("nbd hostile: BLOCK_STATUS counts and sizes stay within the request (CVE-2025-47711, "
              "-47712)") {
        auto device = std::make_shared<status_device>();
        request r{.type = command_block_status, .cookie = 1, .offset = 0, .length = UINT32_MAX};
        const auto ask = [&](raw_client &client) {
            REQUIRE(client.request_(r));
            chunk c = client.receive_chunk();
            CHECK(c.flags == chunk_flag_done);
            return c;
        };
        test_server server(device);
        raw_client client(server.path);
        client.go(true, {meta_name_allocation}, "data");
        const auto first_length = [](const chunk &c) {
            return read_struct<status_descriptor>(bytes_view(c.payload).subspan(4))->length.get();
        };
        SUBCASE("an extent beyond 32 bits and beyond the request") {
            device->answer = {{1ULL << 40, 3}};
            const chunk c = ask(client);
            CHECK(c.payload.size() == 12);
            CHECK(first_length(c) == UINT32_MAX);
        }
        SUBCASE("more extents than asked for") {
            device->answer = {{4096, 0}, {4096, 3}, {4096, 0}};
            r.flags = command_flag_req_one;
            CHECK(ask(client).payload.size() == 12);
        }
        SUBCASE("more extents than an answer holds") {
            device->answer.assign(100'000, {1, 0});
            CHECK(ask(client).payload.size() == 4 + 8 * status_extents_max);
        }
        SUBCASE("extents that add up beyond the request") {
            r.length = 5000;
            device->answer = {{4096, 0}, {4096, 3}, {0, 0}, {4096, 0}};
            const chunk c = ask(client);
            CHECK(c.payload.size() == 4 + 2 * 8);
            CHECK(read_struct<status_descriptor>(bytes_view(c.payload).subspan(12))->length == 904);
        }
        SUBCASE("nothing at all") {
            device->answer = {{0, 3}};
            const chunk c = ask(client);
            CHECK(c.type == chunk_error);
            CHECK(*read_struct<be32>(c.payload) == 5);
        }
        raw_client other(server.path);
        other.go();
    }

    TEST_CASE("nbd hostile: failures are never answered as success (CVE-2022-0485)") {
        auto device = std::make_shared<memory_device>(1 << 20);
        device->on_call = [](const char *) { return EIO; };
        test_server server(device);
        raw_client client(server.path);
        client.go();
        CHECK(client.write(0, pattern(10, 1)) == 5);
        CHECK(client.write(0, pattern(10, 1), command_flag_fua) == 5);
        CHECK(client.write(0, pattern(100'000, 1)) == 5);
        for (const auto type : {command_read, command_trim, command_write_zeroes}) {
            CHECK(client.simple({.type = type, .cookie = 1, .offset = 0, .length = 10}) == 5);
        }
        CHECK(client.simple({.type = command_flush, .cookie = 1}) == 5);
    }

    TEST_CASE("nbd hostile: option data beyond the limit is skipped and refused, or ends it") {
        test_server server;
        raw_client client(server.path);
        client.begin();
        const byte_vector big(limits::nbd_option_bytes_max + 1);
        CHECK(client.ask(option_go, big).back().type == reply_err_too_big);
        CHECK(client.ask(option_list, bytes_view(big).first(limits::nbd_option_bytes_max))
                  .back()
                  .type == reply_err_invalid);
        CHECK(client.ask(option_list).back().type == reply_ack);
        option_header header;
        header.magic = option_magic;
        header.option = option_go;
        header.length = UINT32_MAX;
        client.send_struct(header);
        CHECK(client.closed_by_server());
    }

    TEST_CASE("nbd hostile: many options in a row are all answered") {
        test_server server;
        raw_client client(server.path);
        client.begin();
        for (std::uint32_t i = 0; i < 500; ++i) {
            CHECK(client.ask(1000 + i).back().type == reply_err_unsup);
        }
        CHECK(client.ask(option_go, raw_client::info_data("data")).back().type == reply_ack);
    }

    TEST_CASE("nbd hostile: wrong magic numbers and unknown client flags close the connection") {
        test_server server;
        raw_client flags(server.path);
        flags.receive(sizeof(greeting));
        flags.send_struct(be32(0x80));
        CHECK(flags.closed_by_server());
        raw_client option(server.path);
        option.begin();
        option.send(pattern(sizeof(option_header), 1));
        CHECK(option.closed_by_server());
        raw_client requests(server.path);
        requests.go();
        REQUIRE(requests.write(0, pattern(10, 1)) == 0);
        requests.send(pattern(sizeof(request_header), 1));
        CHECK(requests.closed_by_server());
        still_serves(server);
    }

    TEST_CASE(
        "nbd hostile: refused writes are drained whatever their length, then the stream goes on") {
        test_server server;
        raw_client client(server.path);
        client.go();
        const std::uint32_t too_long = limits::nbd_request_bytes_max + 1;
        CHECK(client.simple({.type = command_write, .cookie = 1, .offset = 0, .length = too_long},
                            byte_vector(too_long)) == 22);
        CHECK(client.write(test_server::size, pattern(4096, 1)) == 28);
        CHECK(client.write(test_server::size - 1, pattern(100'000, 1)) == 28);
        CHECK(client.write(UINT64_MAX - 10, pattern(11, 1)) == 28);
        CHECK(client.simple({.type = command_cache, .cookie = 1, .offset = 0, .length = 10}) == 22);
        CHECK(client.simple({.type = 4711, .cookie = 1, .offset = 0, .length = 10}) == 22);
        CHECK(client.simple(
                  {.type = command_block_status, .cookie = 1, .offset = 0, .length = 10}) == 22);
        CHECK(is_zero(server.memory->content()));
        CHECK(client.write(0, pattern(4096, 1)) == 0);
    }

    TEST_CASE("nbd hostile: a client that half-closes still gets its answers") {
        test_server server(std::make_shared<memory_device>(1 << 20));
        server.memory->never_try = true;
        raw_client client(server.path);
        client.go();
        for (std::uint64_t i = 0; i < 10; ++i) {
            client.request_({.type = command_read, .cookie = i, .length = 4096});
        }
        client.half_close();
        for (int i = 0; i < 10; ++i) {
            CHECK(client.receive_simple().error == 0);
            CHECK(client.receive(4096).size() == 4096);
        }
        CHECK(client.closed_by_server());
    }

    TEST_CASE("nbd hostile: a client that vanishes with requests in flight leaves nothing behind") {
        test_server server(std::make_shared<memory_device>(1 << 20));
        server.memory->never_try = true;
        for (int i = 0; i < 20; ++i) {
            raw_client client(server.path);
            client.go();
            for (std::uint64_t n = 0; n < 20; ++n) {
                client.request_({.type = command_read, .cookie = n, .length = 1 << 18});
            }
            client.close();
        }
        still_serves(server);
        server.close(std::chrono::seconds(60));
        CHECK(server.get().connections() == 0);
    }

    TEST_CASE(
        "nbd hostile: clients beyond the bound are turned away, and let in when there is room") {
        rlimit files{};
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &files) == 0);
        const rlim_t needed = 2 * limits::nbd_connections_max + 100;
        if (files.rlim_cur < needed) {
            files.rlim_cur = std::min(needed, files.rlim_max);
            REQUIRE(::setrlimit(RLIMIT_NOFILE, &files) == 0);
        }
        REQUIRE(files.rlim_cur >= needed);
        test_server server;
        const auto greeted = [&](unique_fd &fd) {
            fd = unique_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
            sockaddr_un where{};
            where.sun_family = AF_UNIX;
            std::memcpy(where.sun_path, server.path.c_str(), server.path.size() + 1);
            REQUIRE(::connect(fd.get(), reinterpret_cast<const sockaddr *>(&where), sizeof where) ==
                    0);
            std::array<std::byte, sizeof(greeting)> got{};
            return ::recv(fd.get(), got.data(), got.size(), MSG_WAITALL) == sizeof(greeting);
        };
        std::vector<unique_fd> clients(limits::nbd_connections_max);
        CHECK(std::ranges::all_of(clients, greeted));
        unique_fd one_more;
        CHECK_FALSE(greeted(one_more));
        clients.pop_back();
        bool let_in = false; // once the server has noticed
        for (int i = 0; i < 10'000 && !let_in; ++i) {
            let_in = greeted(one_more);
        }
        CHECK(let_in);
    }

    TEST_CASE("nbd hostile: a client that says nothing is dropped in negotiation, not later") {
        asio::io_context io;
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
        unique_fd ours(ends[0]);
        const auto exports = std::make_shared<const std::vector<export_entry>>(
            std::vector<export_entry>{{"", "", std::make_shared<memory_device>(4096)}});
        const auto talk = std::make_shared<connection>(
            unique_fd(ends[1]), exports, io.get_executor(), io.get_executor(),
            connection_options{.option_timeout = std::chrono::milliseconds(2)});
        bool ended = false;
        asio::co_spawn(io, talk->run(), [&](std::exception_ptr) { ended = true; });
        io.run_for(std::chrono::seconds(60));
        CHECK(ended);
        std::array<std::byte, 64> got{};
        CHECK(::recv(ours.get(), got.data(), got.size(), 0) == sizeof(greeting));
        CHECK(::recv(ours.get(), got.data(), got.size(), 0) == 0);
    }

    TEST_CASE(
        "nbd hostile: a stale socket is replaced, a live one and a plain file are left alone") {
        test_server server;
        const auto busy = server.get().listen({.unix_path = server.path});
        REQUIRE_FALSE(busy);
        CHECK(is(busy.error(), errc::busy));
        still_serves(server);

        const std::string plain = server.directory + "/plain";
        unique_fd(::open(plain.c_str(), O_CREAT | O_WRONLY, 0600));
        const auto refused = server.get().listen({.unix_path = plain});
        REQUIRE_FALSE(refused);
        CHECK(is(refused.error(), errc::invalid));
        CHECK(std::filesystem::is_regular_file(plain));

        const std::string stale = server.directory + "/stale";
        {
            unique_fd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
            sockaddr_un address{};
            address.sun_family = AF_UNIX;
            stale.copy(address.sun_path, sizeof address.sun_path - 1);
            REQUIRE(::bind(dead.get(), static_cast<sockaddr *>(static_cast<void *>(&address)),
                           sizeof address) == 0);
        }
        REQUIRE(server.get().listen({.unix_path = stale}));
        struct stat made{};
        REQUIRE(::stat(stale.c_str(), &made) == 0);
        CHECK((made.st_mode & 0777) == 0600);
        raw_client client(stale);
        CHECK(client.connected);
        client.go();
    }
}
