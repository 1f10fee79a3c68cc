#include "replicator/base/memory_account.hpp"
#include "replicator/base/shares.hpp"

#include <doctest/doctest.h>

#include <random>
#include <vector>

using namespace farshore;

TEST_SUITE("shares") {
    TEST_CASE("shares: one tenant has all, several have a reserve each that no other can take") {
        share_pool pool(800);
        const auto a = pool.join();
        CHECK(pool.take(a, 800));
        pool.give(a, 800);
        const auto b = pool.join();
        CHECK(pool.most_of_one() == 200 + 200);
        CHECK(pool.take(a, 400));
        CHECK_FALSE(pool.take(a, 1));
        CHECK(pool.take(b, 400));
        const auto c = pool.join(); // all is given out: its reserve comes as others give back
        CHECK_FALSE(pool.take(a, 1));
        pool.give(a, 400);
        CHECK(pool.take(c, 133));
        pool.leave(b);
        CHECK(pool.used() == 133);
    }

    TEST_CASE("shares: a greedy tenant never keeps another from its reserve, whatever the order") {
        std::mt19937 random(7);
        for (int round = 0; round < 200; ++round) {
            const std::size_t tenants = 2 + random() % 7;
            share_pool pool(1000);
            std::vector<share_pool::tenant> who;
            std::vector<std::uint64_t> held(tenants, 0);
            for (std::size_t i = 0; i < tenants; ++i) {
                who.push_back(pool.join());
            }
            for (int step = 0; step < 300; ++step) {
                const std::size_t i = random() % (tenants - 1); // the last one asks for nothing yet
                const std::uint64_t n = random() % 60;
                if (random() % 3 == 0) {
                    const std::uint64_t back = std::min(n, held[i]);
                    pool.give(who[i], back);
                    held[i] -= back;
                } else if (pool.take(who[i], n)) {
                    held[i] += n;
                }
                std::uint64_t sum = 0;
                for (const std::uint64_t h : held) {
                    sum += h;
                }
                REQUIRE(pool.used() == sum);
                REQUIRE(sum <= pool.total());
            }
            CHECK(pool.take(who.back(), 1000 / 2 / tenants));
        }
    }
}

TEST_SUITE("memory account") {
    TEST_CASE("memory account: who gets none queues, and is served when others give back") {
        const auto account = std::make_shared<memory_account>(1000);
        const auto share = account->open_share();
        memory_account::credit a(share, 0);
        memory_account::credit b(share, 0);
        memory_account::credit c(share, 0);
        CHECK(a.ensure(600));
        CHECK(a.ensure(500)); // has it
        CHECK(account->tight());
        CHECK_FALSE(b.ensure(500));
        int woken = 0;
        b.wait(500, [&] { ++woken; });
        CHECK_FALSE(c.ensure(100)); // not before b
        c.wait(100, [&] { woken += 10; });
        CHECK(account->waiting() == 2);
        CHECK(woken == 0);
        a.release(0);
        CHECK(woken == 11);
        CHECK(b.bytes() == 500);
        CHECK(c.bytes() == 100);
        CHECK(account->used() == 600);
    }

    TEST_CASE("memory account: a greedy group leaves another its reserve") {
        const auto account = std::make_shared<memory_account>(1000);
        const auto greedy = account->open_share();
        const auto other = account->open_share();
        std::vector<std::unique_ptr<memory_account::credit>> many;
        for (int i = 0; i < 60; ++i) {
            many.push_back(std::make_unique<memory_account::credit>(greedy, 0));
            if (!many.back()->ensure(20)) {
                many.back()->wait(20, [] {});
            }
        }
        memory_account::credit mine(other, 0);
        CHECK(mine.ensure(250));
        CHECK(account->used() <= 1000);
    }

    TEST_CASE("memory account: what is larger than any share goes alone, one at a time") {
        const auto account = std::make_shared<memory_account>(100);
        const auto share = account->open_share();
        memory_account::credit a(share, 0);
        memory_account::credit b(share, 0);
        memory_account::credit small(share, 0);
        CHECK(a.ensure(5000));
        CHECK_FALSE(b.ensure(5000));
        bool woken = false;
        b.wait(5000, [&] { woken = true; });
        memory_account::credit other(account->open_share(), 0);
        CHECK(other.ensure(20)); // the shares are not touched by it
        CHECK_FALSE(a.ensure(6000));
        a.release(4000); // not in part
        CHECK(a.bytes() == 5000);
        CHECK_FALSE(woken);
        a.release(0);
        CHECK(woken);
        CHECK(b.bytes() == 5000);
    }

    TEST_CASE(
        "memory account: an idle credit is kept while there is enough, and returned when not") {
        const auto account = std::make_shared<memory_account>(1000);
        const auto share = account->open_share();
        memory_account::credit a(share, 300);
        CHECK(a.ensure(10));
        CHECK(a.bytes() == 300); // a step, so that it need not ask again
        a.release_if_tight(0);
        CHECK(a.bytes() == 300);
        memory_account::credit b(share, 300);
        CHECK(b.ensure(400));
        a.release_if_tight(0);
        CHECK(a.bytes() == 0);
        CHECK(account->used() == 400);
    }

    TEST_CASE("memory account: who leaves the queue or the daemon gives all back") {
        const auto account = std::make_shared<memory_account>(1000);
        {
            const auto share = account->open_share();
            memory_account::credit a(share, 0);
            CHECK(a.ensure(900));
            memory_account::credit b(share, 0);
            b.wait(500, [] {});
        }
        CHECK(account->used() == 0);
        CHECK(account->waiting() == 0);
    }
}
