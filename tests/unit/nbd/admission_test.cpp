#include "replicator/base/limits.hpp"
#include "replicator/nbd/admission.hpp"
#include "tests/unit/nbd/client.hpp"

#include <array>
#include <atomic>
#include <latch>
#include <thread>
#include <vector>

using namespace farshore;
using namespace farshore::nbd;
using namespace farshore::nbd::test;

TEST_SUITE("nbd admission") {
    TEST_CASE("nbd admission: the table") {
        for (const std::size_t data : {0UL, lean_bytes_max, lean_bytes_max + 1}) {
            CHECK(admit(true, false, data) == admission::ample);
            CHECK(admit(true, true, data) == admission::ample);
            CHECK(admit(false, true, data) == admission::wait_own);
        }
        CHECK(admit(false, false, lean_bytes_max) == admission::lean);
        CHECK(admit(false, false, lean_bytes_max + 1) == admission::queue);
    }

    TEST_CASE("nbd admission: who owes and moves nothing for a minute is stuck, nobody else") {
        stuck_watch watch;
        const time_point start{};
        const auto at = [&](int s) { return start + std::chrono::seconds(s); };
        CHECK_FALSE(watch.stuck(at(0), true, 5));
        CHECK_FALSE(watch.stuck(at(59), true, 5));
        CHECK(watch.stuck(at(60), true, 5));
        CHECK_FALSE(watch.stuck(at(61), true, 6)); // a byte
        CHECK_FALSE(watch.stuck(at(120), true, 6));
        CHECK_FALSE(watch.stuck(at(122), false, 6)); // owes nothing
        CHECK_FALSE(watch.stuck(at(300), true, 6));  // owes again: from now
        CHECK(watch.stuck(at(360), true, 6));
    }
}

namespace {

client_bounds bounds_of(const std::shared_ptr<memory_account> &account, std::size_t places = 64) {
    return {account->open_share(), std::make_shared<client_places>(places)};
}

std::vector<export_entry> one_export(std::uint64_t size) {
    return {{"data", "shop/db", std::make_shared<memory_device>(size)}};
}

} // namespace

TEST_SUITE("nbd memory") {
    TEST_CASE(
        "nbd memory: clients that take no replies stay within the account, others are served") {
        const auto account = std::make_shared<memory_account>(4 * limits::MiB);
        const auto device = std::make_shared<memory_device>(64 * limits::MiB);
        std::atomic<int> reads{0};
        device->on_call = [&reads](const char *verb) {
            reads += std::string_view(verb) == "read" ? 1 : 0;
            return 0;
        };
        test_server server({{"data", "shop/db", device}}, bounds_of(account));
        std::vector<std::unique_ptr<raw_client>> greedy;
        for (int i = 0; i < 12; ++i) {
            greedy.push_back(std::make_unique<raw_client>(server.path));
            greedy.back()->go();
            for (std::uint64_t n = 0; n < 32; ++n) {
                REQUIRE(
                    greedy.back()->request_({.type = command_read,
                                             .cookie = n,
                                             .offset = 0,
                                             .length = static_cast<std::uint32_t>(limits::MiB)}));
            }
        }
        // Small requests are served without credit, one at a time.
        raw_client modest(server.path);
        modest.go();
        for (int i = 0; i < 20; ++i) {
            CHECK(modest.read(0, 4096).size() == 4096);
            CHECK(modest.write(4096, pattern(8192, 3)) == 0);
            CHECK(account->used() <= account->bytes_max());
        }
        CHECK(account->used() <= account->bytes_max());
        CHECK(reads <= 20 + 4); // no more was made for the others than the account has room for
        // A large one has its turn as soon as the others go.
        REQUIRE(modest.request_({.type = command_read,
                                 .cookie = 9,
                                 .offset = 0,
                                 .length = static_cast<std::uint32_t>(limits::MiB)}));
        greedy.clear();
        CHECK(modest.receive_simple().error == 0);
        CHECK(modest.receive(limits::MiB).size() == limits::MiB);
    }

    TEST_CASE("nbd memory: requests larger than the whole account pass, one after the other") {
        const auto account = std::make_shared<memory_account>(2 * limits::MiB);
        test_server server(one_export(64 * limits::MiB), bounds_of(account));
        std::array<std::unique_ptr<raw_client>, 3> clients;
        for (auto &c : clients) {
            c = std::make_unique<raw_client>(server.path);
            c->go();
            REQUIRE(c->request_({.type = command_read,
                                 .cookie = 1,
                                 .offset = 0,
                                 .length = static_cast<std::uint32_t>(16 * limits::MiB)}));
        }
        // Side by side: whose turn is first depends on the loops, and who has it must take its
        // answer.
        std::array<std::size_t, 3> got{};
        {
            std::vector<std::jthread> readers;
            for (std::size_t i = 0; i < clients.size(); ++i) {
                readers.emplace_back([&c = *clients[i], &size = got[i]] {
                    if (c.receive_simple().error == 0) {
                        size = c.receive(16 * limits::MiB).size();
                    }
                });
            }
        }
        for (const std::size_t size : got) {
            CHECK(size == 16 * limits::MiB);
        }
        // What went alone is given back as soon as its answer is taken.
        for (auto &c : clients) {
            CHECK(c->read(0, 4096).size() == 4096);
        }
        CHECK(account->used() <= 2 * limits::MiB);
    }

    TEST_CASE("nbd memory: writes of all sizes are right without and with credit") {
        for (const std::uint64_t credit : {64 * limits::KiB, 64 * limits::MiB}) {
            CAPTURE(credit);
            const auto account = std::make_shared<memory_account>(credit);
            test_server server(one_export(limits::MiB), bounds_of(account));
            raw_client client(server.path);
            client.go();
            for (const std::size_t n : {1UL, 4096UL, 8192UL, 8193UL, 16'355UL, 16'356UL, 16'357UL,
                                        16'384UL, 32'768UL, 100'000UL, 266'240UL, 700'000UL}) {
                CAPTURE(n);
                const byte_vector data = pattern(n, static_cast<unsigned>(n));
                CHECK(client.write(0, data) == 0);
                CHECK(equal(client.read(0, static_cast<std::uint32_t>(n)), data));
            }
        }
    }

    TEST_CASE("nbd threads: overlapping changes of a client wait in a queue, and leave the pool to "
              "others") {
        auto device = std::make_shared<memory_device>(limits::MiB);
        std::atomic<int> under_way{0};
        std::latch held(1);
        std::latch release(1);
        device->on_call = [&](const char *verb) {
            if (std::string_view(verb) == "write_zeroes" && under_way.fetch_add(1) == 0) {
                held.count_down();
                release.wait();
            }
            return 0;
        };
        test_server server({{"data", "shop/db", device}},
                           default_client_bounds()); // a pool of four threads
        raw_client greedy(server.path);
        greedy.go();
        for (std::uint64_t n = 0; n < 24; ++n) {
            REQUIRE(greedy.request_({.type = command_write_zeroes,
                                     .cookie = n,
                                     .offset = n * 8192,
                                     .length = 512 * 1024}));
        }
        held.wait();
        raw_client other(server.path);
        other.go();
        CHECK(other.simple({.type = command_flush, .cookie = 1}) == 0);
        CHECK(under_way == 1); // the first is under way, none of those behind it
        release.count_down();
        for (std::uint64_t n = 0; n < 24; ++n) {
            CHECK(greedy.receive_simple().error == 0);
        }
    }

    TEST_CASE("nbd threads: overlapping writes of a client are done in order") {
        auto device = std::make_shared<memory_device>(limits::MiB);
        test_server server({{"data", "shop/db", device}}, default_client_bounds());
        raw_client client(server.path);
        client.go();
        for (unsigned n = 0; n < 40; ++n) {
            REQUIRE(client.request_({.flags = command_flag_fua,
                                     .type = command_write,
                                     .cookie = n,
                                     .offset = 0,
                                     .length = 8192},
                                    pattern(8192, n)));
        }
        for (unsigned n = 0; n < 40; ++n) {
            CHECK(client.receive_simple().error == 0);
        }
        CHECK(equal(client.read(0, 8192), pattern(8192, 39)));
    }

    TEST_CASE("nbd places: the clients of one server leave every other its reserve") {
        const auto account = std::make_shared<memory_account>(4 * limits::MiB);
        const auto places = std::make_shared<client_places>(16);
        test_server full(one_export(4096), {account->open_share(), places});
        test_server other(one_export(4096), {account->open_share(), places});
        std::vector<std::unique_ptr<raw_client>> idle;
        for (int i = 0; i < 20; ++i) {
            idle.push_back(std::make_unique<raw_client>(full.path));
        }
        CHECK(idle.back()->closed_by_server());
        CHECK(idle[8]->closed_by_server()); // its reserve and half of what is common are eight
        for (int i = 0; i < 4; ++i) {
            idle.push_back(std::make_unique<raw_client>(other.path));
            idle.back()->go();
            CHECK(idle.back()->read(0, 16).size() == 16);
        }
    }
}
