// Requests and replies over a real socket against a device in memory.

#include "replicator/base/limits.hpp"
#include "replicator/nbd/negotiation.hpp"
#include "tests/unit/nbd/client.hpp"

#include <atomic>
#include <latch>
#include <set>

using namespace farshore;
using namespace farshore::nbd;
using namespace farshore::nbd::test;

namespace {

std::shared_ptr<memory_device> make_device(std::uint64_t size, bool never_try) {
    auto device = std::make_shared<memory_device>(size);
    device->never_try = never_try;
    return device;
}

request read_request(std::uint64_t cookie, std::uint64_t offset, std::uint32_t length) {
    return {.type = command_read, .cookie = cookie, .offset = offset, .length = length};
}

} // namespace

TEST_SUITE("nbd server") {
    TEST_CASE(
        "nbd server: what was written is read, of any size and alignment, inline and by the pool") {
        for (const bool never_try : {false, true}) {
            CAPTURE(never_try);
            const std::uint64_t size = 3 * limits::MiB + 7;
            test_server server(make_device(size, never_try));
            raw_client client(server.path);
            client.go();
            byte_vector model(size);
            std::uint32_t seed = 1;
            for (const std::uint32_t length :
                 {1U, 511U, 4096U, 4097U, 16'000U, 32'767U, 32'768U, 65'536U, 262'143U, 262'144U,
                  262'145U, 266'240U, 1'048'577U}) {
                for (const std::uint64_t offset : {0UL, 1UL, 4095UL, 100'000UL, size - length}) {
                    const byte_vector data = pattern(length, seed++);
                    REQUIRE(client.write(offset, data) == 0);
                    std::ranges::copy(data, model.begin() + static_cast<std::ptrdiff_t>(offset));
                    REQUIRE(equal(client.read(offset, length), data));
                }
            }
            CHECK(equal(client.read(0, static_cast<std::uint32_t>(size)), model));
            CHECK(server.memory->content() == model);
        }
    }

    TEST_CASE("nbd server: structured reads carry offset and data, errors come as error chunks") {
        for (const bool never_try : {false, true}) {
            test_server server(make_device(1 << 20, never_try));
            raw_client client(server.path);
            client.go(true);
            const byte_vector data = pattern(70'000, 3);
            REQUIRE(client.write(5, data) == 0);
            request r = read_request(9, 5, 70'000);
            r.flags = command_flag_df;
            REQUIRE(client.request_(r));
            const chunk c = client.receive_chunk();
            CHECK(c.type == chunk_offset_data);
            CHECK(c.flags == chunk_flag_done);
            CHECK(c.cookie == 9);
            CHECK(*read_struct<be64>(c.payload) == 5);
            CHECK(equal(bytes_view(c.payload).subspan(8), data));

            REQUIRE(client.request_(read_request(10, 1 << 20, 1)));
            const chunk e = client.receive_chunk();
            CHECK(e.type == chunk_error);
            CHECK(e.flags == chunk_flag_done);
            CHECK(e.cookie == 10);
            CHECK(e.payload.size() == 6);
            CHECK(*read_struct<be32>(e.payload) == 22);
        }
    }

    TEST_CASE("nbd server: FLUSH makes earlier writes of every connection durable") {
        test_server server;
        raw_client writer(server.path);
        raw_client flusher(server.path);
        writer.go();
        flusher.go();
        const byte_vector data = pattern(4096, 1);
        REQUIRE(writer.write(8192, data) == 0);
        CHECK(is_zero(server.memory->stable_content()));
        CHECK(flusher.simple({.type = command_flush, .cookie = 4}) == 0);
        CHECK(server.memory->flushes == 1);
        CHECK(equal(bytes_view(server.memory->stable_content()).subspan(8192, 4096), data));
    }

    TEST_CASE("nbd server: FUA makes its own write, trim or zeroing durable and nothing else") {
        test_server server;
        raw_client client(server.path);
        client.go();
        const byte_vector data = pattern(4096, 1);
        REQUIRE(client.write(0, data) == 0);
        REQUIRE(client.write(4096, data, command_flag_fua) == 0);
        byte_vector stable = server.memory->stable_content();
        CHECK(is_zero(bytes_view(stable).first(4096)));
        CHECK(equal(bytes_view(stable).subspan(4096, 4096), data));
        for (const auto type : {command_trim, command_write_zeroes}) {
            REQUIRE(client.write(4096, data, command_flag_fua) == 0);
            CHECK(client.simple({.flags = command_flag_fua,
                                 .type = type,
                                 .cookie = 1,
                                 .offset = 4096,
                                 .length = 4096}) == 0);
            CHECK(is_zero(server.memory->stable_content()));
        }
        CHECK(server.memory->flushes == 0);
    }

    TEST_CASE("nbd server: WRITE_ZEROES passes its options on, a slow fast-zero fails alone") {
        test_server server;
        raw_client client(server.path);
        client.go();
        REQUIRE(client.write(0, pattern(8192, 1)) == 0);
        request r{.flags = command_flag_no_hole,
                  .type = command_write_zeroes,
                  .cookie = 1,
                  .offset = 1,
                  .length = 4096};
        CHECK(client.simple(r) == 0);
        CHECK(server.memory->last_zero.keep_allocated);
        CHECK_FALSE(server.memory->last_zero.only_if_fast);
        CHECK(is_zero(client.read(1, 4096)));
        CHECK_FALSE(is_zero(client.read(4097, 1)));
        server.memory->fast_zero = false;
        r.flags = command_flag_fast_zero;
        CHECK(client.simple(r) == 95);
        r.flags = 0;
        CHECK(client.simple(r) == 0);
    }

    TEST_CASE("nbd server: a trim of what is a hole already does not go to the pool") {
        auto device = make_device(1 << 20, false);
        device->knows_holes = true;
        std::atomic<int> verbs{0};
        device->on_call = [&](const char *verb) {
            verbs += std::string_view(verb) == "trim" || std::string_view(verb) == "write_zeroes"
                         ? 1
                         : 0;
            return 0;
        };
        test_server server(device);
        raw_client client(server.path);
        client.go();
        REQUIRE(client.write(4096, pattern(4096, 1)) == 0);
        request r{.type = command_trim, .cookie = 1, .offset = 4096, .length = 8192};
        for (int i = 0; i < 3; ++i) { // the first one has something to do
            CHECK(client.simple(r) == 0);
            CHECK(verbs == 1);
        }
        r.type = command_write_zeroes;
        CHECK(client.simple(r) == 0);
        CHECK(verbs == 1);
        r.flags = command_flag_no_hole;
        CHECK(client.simple(r) == 0);
        CHECK(verbs == 2);
        r.flags = command_flag_fua;
        CHECK(client.simple(r) == 0);
        CHECK(verbs == 3);
    }

    TEST_CASE("nbd server: BLOCK_STATUS answers both contexts, in order, cut to the request") {
        test_server server;
        raw_client client(server.path);
        client.go(true, {meta_name_allocation, meta_name_dirty}, "data");
        REQUIRE(client.write(65536, pattern(4096, 1)) == 0);
        request r{.type = command_block_status, .cookie = 5, .offset = 1000, .length = 200'000};
        const auto states = [&] {
            REQUIRE(client.request_(r));
            std::vector<std::vector<std::pair<std::uint32_t, std::uint32_t>>> all(2);
            for (std::uint32_t id = 1; id <= 2; ++id) {
                const chunk c = client.receive_chunk();
                CHECK(c.type == chunk_block_status);
                CHECK(c.flags == (id == 2 ? chunk_flag_done : 0));
                CHECK(c.cookie == 5);
                byte_reader in(c.payload);
                CHECK(*in.structure<be32>() == id);
                while (!in.at_end()) {
                    const auto d = in.structure<status_descriptor>();
                    REQUIRE(d);
                    all[id - 1].emplace_back(d->length, d->flags);
                }
            }
            return all;
        };
        using list = std::vector<std::pair<std::uint32_t, std::uint32_t>>;
        auto seen = states();
        CHECK(seen[0] == list{{64536, 3}, {65536, 0}, {69928, 3}});
        CHECK(seen[1] == list{{64536, 0}, {65536, 1}, {69928, 0}});
        r.flags = command_flag_req_one;
        seen = states();
        CHECK(seen[0] == list{{64536, 3}});
        CHECK(seen[1] == list{{64536, 0}});
    }

    TEST_CASE("nbd server: a device's errors reach the client with their number, on both paths") {
        for (const bool never_try : {false, true}) {
            for (const bool structured : {false, true}) {
                auto device = make_device(1 << 20, never_try);
                std::atomic<int> number = 0;
                device->on_call = [&](const char *) { return number.load(); };
                test_server server(device);
                raw_client client(server.path);
                client.go(structured);
                const auto outcome = [&](const request &r,
                                         bytes_view payload = {}) -> std::uint32_t {
                    REQUIRE(client.request_(r, payload));
                    if (!structured) {
                        return client.receive_simple().error;
                    }
                    const chunk c = client.receive_chunk();
                    CHECK(c.type == chunk_error);
                    return *read_struct<be32>(c.payload);
                };
                number = ENOSPC;
                CHECK(outcome({.type = command_write, .cookie = 1, .offset = 0, .length = 3},
                              pattern(3, 1)) == 28);
                number = EIO;
                CHECK(outcome(read_request(2, 0, 4096)) == 5);
                CHECK(outcome({.type = command_flush, .cookie = 3}) == 5);
                CHECK(outcome({.type = command_trim, .cookie = 4, .offset = 0, .length = 1}) == 5);
                number = 0;
                CHECK(client.write(0, pattern(4096, 1)) == 0); // the connection goes on
            }
        }
    }

    TEST_CASE("nbd server: a slow request holds up nobody; replies may overtake") {
        auto device = make_device(1 << 20, false);
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
        raw_client client(server.path);
        client.go();
        REQUIRE(client.request_({.type = command_flush, .cookie = 1}));
        held.wait();
        CHECK(client.write(0, pattern(4096, 1)) == 0);
        CHECK(equal(client.read(0, 4096), pattern(4096, 1)));
        release.count_down();
        CHECK(client.receive_simple().cookie == 1);
    }

    TEST_CASE("nbd server: requests in a crowd are all answered once") {
        for (const bool never_try : {false, true}) {
            test_server server(make_device(1 << 20, never_try));
            raw_client client(server.path);
            client.go();
            constexpr std::size_t count = 3000;
            // The client doesn't read while it sends: replies beyond the socket's buffer wait, and
            // the sender is slowed down by the bound on requests in flight.
            std::jthread sender([&] {
                byte_vector all;
                for (std::size_t i = 0; i < count; ++i) {
                    append_struct(all, encode_request({.type = command_write,
                                                       .cookie = i,
                                                       .offset = i % 256 * 4096,
                                                       .length = 100}));
                    append_bytes(all, pattern(100, static_cast<unsigned>(i)));
                }
                client.send(all);
            });
            std::set<std::uint64_t> cookies;
            for (std::size_t i = 0; i < count; ++i) {
                const auto reply = client.receive_simple();
                CHECK(reply.error == 0);
                cookies.insert(reply.cookie);
            }
            CHECK(cookies.size() == count);
        }
    }

    TEST_CASE("nbd server: a stream of large writes, some refused, arrives whole and in step") {
        constexpr std::uint32_t length = 200'000;
        constexpr std::uint64_t count = 40;
        for (const bool never_try : {false, true}) {
            test_server server(make_device(count / 2 * length, never_try));
            raw_client client(server.path);
            client.go();
            byte_vector all;
            for (std::uint64_t i = 0; i < count; ++i) { // every second one lies beyond the end
                const std::uint64_t place = i % 2 == 0 ? i / 2 : count;
                append_struct(all, encode_request({.type = command_write,
                                                   .cookie = i,
                                                   .offset = place * length,
                                                   .length = length}));
                append_bytes(all, pattern(length, static_cast<unsigned>(i)));
            }
            std::jthread sender([&] { client.send(all); });
            std::set<std::uint64_t> cookies;
            for (std::uint64_t i = 0; i < count; ++i) {
                const auto reply = client.receive_simple();
                CHECK(reply.error == (reply.cookie % 2 == 0 ? 0 : 28));
                cookies.insert(reply.cookie);
            }
            CHECK(cookies.size() == count);
            const byte_vector content = server.memory->content();
            for (std::uint64_t i = 0; i < count; i += 2) {
                CHECK(equal(bytes_view(content).subspan(i / 2 * length, length),
                            pattern(length, static_cast<unsigned>(i))));
            }
        }
    }

    TEST_CASE(
        "nbd server: a client that takes no replies stops being read, and is served when it does") {
        auto device = make_device(8 * limits::MiB, false);
        std::atomic<int> reads = 0;
        device->on_call = [&](const char *) {
            ++reads;
            return 0;
        };
        test_server server(device);
        raw_client client(server.path);
        client.go();
        constexpr int count = 400; // of 1 MiB: far more than may be held for one connection
        byte_vector
            all; // in one piece: hundreds of small ones would fill the socket by their overhead
        for (std::uint64_t i = 0; i < count; ++i) {
            append_struct(all, encode_request(read_request(i, 0, 1 << 20)));
        }
        REQUIRE(client.send(all));
        raw_client other(server.path);
        other.go();
        CHECK(other.read(0, 1).size() == 1); // nobody else suffers
        CHECK(reads <= static_cast<int>(limits::nbd_inflight_max) + 2);
        for (int i = 0; i < count; ++i) {
            CHECK(client.receive_simple().error == 0);
            REQUIRE(client.receive(1 << 20).size() == 1 << 20);
        }
    }

    TEST_CASE("nbd server: several connections write at once and all of it is there") {
        for (const bool never_try : {false, true}) {
            test_server server(make_device(4 * limits::MiB, never_try));
            std::vector<std::jthread> threads;
            std::atomic<int> good = 0;
            for (unsigned t = 0; t < 8; ++t) {
                threads.emplace_back([&, t] { // no doctest macros off the test's own thread
                    raw_client client(server.path);
                    byte_vector hello = client.receive(sizeof(greeting));
                    client.send_struct(be32(client_flags_known));
                    client.send_option(option_export_name, as_bytes("data"));
                    if (client.receive(sizeof(export_name_answer)).size() !=
                        sizeof(export_name_answer)) {
                        return;
                    }
                    const byte_vector data = pattern(512 * 1024, t);
                    for (std::uint64_t at = 0; at < data.size(); at += 4096) {
                        client.request_({.type = command_write,
                                         .cookie = at,
                                         .offset = t * data.size() + at,
                                         .length = 4096},
                                        bytes_view(data).subspan(at, 4096));
                    }
                    for (std::uint64_t at = 0; at < data.size(); at += 4096) {
                        if (client.receive(sizeof(simple_reply)).size() != sizeof(simple_reply)) {
                            return;
                        }
                    }
                    ++good;
                });
            }
            threads.clear();
            CHECK(good == 8);
            const byte_vector all = server.memory->content();
            for (unsigned t = 0; t < 8; ++t) {
                CHECK(equal(bytes_view(all).subspan(t * 512 * 1024, 512 * 1024),
                            pattern(512 * 1024, t)));
            }
        }
    }

    TEST_CASE("nbd server: a read-only export refuses changes, drains their payload and reads on") {
        auto device = make_device(1 << 20, false);
        device->writable = false;
        test_server server(device);
        raw_client client(server.path);
        client.go();
        CHECK(client.write(0, pattern(300'000, 1)) == 1);
        CHECK(client.simple({.type = command_trim, .cookie = 1, .offset = 0, .length = 1}) == 1);
        CHECK(client.read(0, 10).size() == 10);
        CHECK(is_zero(device->content()));
    }

    TEST_CASE("nbd server: EXPORT_NAME of old clients leads to the same export") {
        test_server server;
        raw_client client(server.path);
        client.begin(handshake_fixed_newstyle);
        REQUIRE(client.send_option(option_export_name, as_bytes("second")));
        CHECK(client.receive_struct<export_name_answer>().size == 4096);
        CHECK(is_zero(client.receive(export_name_zeroes)));
        CHECK(client.write(0, pattern(4096, 1)) == 0);
    }

    TEST_CASE("nbd server: DISC ends the connection after the requests before it") {
        test_server server(make_device(1 << 20, true));
        raw_client client(server.path);
        client.go();
        REQUIRE(client.request_({.type = command_write, .cookie = 1, .length = 4096},
                                pattern(4096, 1)));
        REQUIRE(client.request_({.type = command_disconnect, .cookie = 2}));
        CHECK(client.receive_simple().cookie == 1);
        CHECK(client.closed_by_server());
        CHECK(equal(bytes_view(server.memory->content()).first(4096), pattern(4096, 1)));
    }

    TEST_CASE("nbd server: TCP listens on a port of its own choice") {
        test_server server;
        REQUIRE(server.get().listen({.host = "127.0.0.1", .port = 0}));
        CHECK(server.get().port() != 0);
        const auto again = server.get().listen({.host = "127.0.0.1", .port = server.get().port()});
        REQUIRE_FALSE(again);
        CHECK(is(again.error(), errc::busy));
        const auto nowhere = server.get().listen({.host = "no.such.host.invalid", .port = 1});
        REQUIRE_FALSE(nowhere);
        CHECK(is(nowhere.error(), errc::invalid));
    }
}
