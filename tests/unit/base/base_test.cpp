#include "replicator/base/async.hpp"
#include "replicator/base/bytes.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace farshore;

TEST_SUITE("base") {
    TEST_CASE("bytes: zero detection looks at every byte") {
        buffer b(4096);
        std::memset(b.data(), 0, b.size());
        CHECK(is_zero(b.view()));
        for (const std::size_t at : {0UL, 1UL, 2047UL, 4095UL}) {
            b.span()[at] = std::byte{1};
            CHECK_FALSE(is_zero(b.view()));
            b.span()[at] = std::byte{0};
        }
        CHECK(is_zero({}));
    }

    TEST_CASE("bytes: what a buffer gives back is gone, the rest is as it was") {
        for (const std::size_t size : {5UL, 5000UL, std::size_t{4} << 20}) {
            buffer b(size);
            std::memset(b.data(), 7, size);
            b.give_back(size / 2);
            CHECK(b.size() == size / 2);
            CHECK(std::ranges::all_of(b.view(), [](std::byte x) { return x == std::byte{7}; }));
            b.give_back(0);
            CHECK(b.empty());
        }
    }

    TEST_CASE("geometry: a range touches every unit it overlaps, and only those") {
        CHECK(blocks_of({0, 1}).count() == 1);
        CHECK(blocks_of({4095, 2}).count() == 2);
        CHECK(blocks_of({4096, 4096}).first == 1);
        CHECK(blocks_of({4096, 4096}).count() == 1);
        CHECK(blocks_of({10, 0}).count() == 0);
        CHECK(bytes_in_block(block_index{2}, 10000) == 10000 - 8192);
        CHECK(bytes_in_block(block_index{3}, 10000) == 0);
        CHECK(range_of(region_index{1}, 70000) == byte_range{65536, 70000 - 65536});
    }

    TEST_CASE("clock: what is done now and then by many is done by all at once") {
        using namespace std::chrono_literals;
        const time_point zero{};
        CHECK(next_tick(zero, 1s) == zero + 1s);
        CHECK(next_tick(zero + 1ns, 1s) == zero + 1s);
        CHECK(next_tick(zero + 999ms, 1s) == zero + 1s);
        CHECK(next_tick(zero + 1s, 1s) == zero + 2s);
        CHECK(next_tick(zero + 12'345ms, 5s) == zero + 15s);
    }

    TEST_CASE("clock: RFC 3339 in UTC with milliseconds") {
        CHECK(to_rfc3339(wall_time{std::chrono::milliseconds(1767225600123)}) ==
              "2026-01-01T00:00:00.123Z");
    }

    TEST_CASE("hash: a stream equals one call") {
        byte_vector data(10000, std::byte{7});
        checksum_stream s;
        s.update(bytes_view(data).first(17));
        s.update(bytes_view(data).subspan(17));
        CHECK(s.digest128() == checksum_128(data));
    }

    namespace {
    task<void> waiter(condition &s, time_source &c, int &out) {
        out = co_await s.wait_until(c, c.now() + std::chrono::hours(1)) ? 1 : 2;
    }
    task<void> pooled(executor pool, int &out) {
        out = co_await run_on(pool, [] { return 42; });
    }
    } // namespace

    TEST_CASE("condition: a waiter returns true on notify; pool work returns its value") {
        asio::io_context io;
        asio::thread_pool pool(1);
        system_clock c;
        condition s;
        task_group g(io.get_executor());
        int woken = 0;
        int value = 0;
        g.spawn(waiter(s, c, woken));
        g.spawn(pooled(pool.get_executor(), value));
        io.poll();
        s.notify_all();
        io.restart();
        io.run();
        CHECK(woken == 1);
        CHECK(value == 42);
        CHECK(g.running() == 0);
    }

    TEST_CASE("condition: notifying is safe after a waiting coroutine was destroyed") {
        condition s;
        system_clock c;
        int woken = 0;
        {
            asio::io_context io;
            asio::co_spawn(io, waiter(s, c, woken), asio::detached);
            io.poll();
        } // the coroutine goes with its io_context
        s.notify_all();
        CHECK(woken == 0);
    }
}
