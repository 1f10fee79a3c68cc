#include "replicator/hook/channel.hpp"
#include "replicator/hook/tether.hpp"

#include <doctest/doctest.h>

#include <poll.h>
#include <unistd.h>

using namespace farshore;
using namespace farshore::hook;
using std::chrono::milliseconds;
using clk = tether::clock;

TEST_SUITE("hook") {
    TEST_CASE("tether: a wait ends by its file, its time, its most") {
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        const tether free(milliseconds(5));
        CHECK(free.wait(ends[0], POLLIN).error().code == errc::timeout);
        CHECK(free.left() == milliseconds(0));
        CHECK(free.check().error().code == errc::timeout);
        const tether more(std::chrono::hours(1));
        CHECK(more.wait(ends[0], POLLIN, milliseconds(1)).value() == 0);
        REQUIRE(::write(ends[1], "x", 1) == 1);
        CHECK((more.wait(ends[0], POLLIN).value() & POLLIN) != 0);
        CHECK(more.check());
        ::close(ends[0]);
        ::close(ends[1]);
    }
    TEST_CASE("tether: a peer that always has something to say does not outlast the time") {
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        REQUIRE(::write(ends[1], "x", 1) == 1); // and nobody reads it
        const tether t(milliseconds(50));
        const auto began = clk::now();
        auto waited = t.wait(ends[0], POLLIN);
        while (waited && clk::now() - began < std::chrono::seconds(5)) {
            waited = t.wait(ends[0], POLLIN);
        }
        REQUIRE_FALSE(waited);
        CHECK(waited.error().code == errc::timeout);
        CHECK(clk::now() - began < std::chrono::seconds(5));
        ::close(ends[0]);
        ::close(ends[1]);
    }
    TEST_CASE("tether: any word of the guard, and its end, cut every wait") {
        auto ends = make_channel();
        REQUIRE(ends);
        const tether t(ends->second.get(), clk::now() + std::chrono::hours(1));
        CHECK(t.check());
        REQUIRE(send_word(ends->first.get(), guard_says::release));
        CHECK(t.check().error().code == errc::cancelled);
        CHECK(next_guard_word(ends->second.get()).value() == guard_says::release);
        CHECK(t.check());
        ends->first.reset();
        CHECK(t.sleep(std::chrono::hours(1)).error().code == errc::cancelled);
        CHECK(next_guard_word(ends->second.get()).error().code == errc::closed);
    }
    TEST_CASE("tether: a guard that is gone ends a wait at once") {
        auto ends = make_channel();
        REQUIRE(ends);
        const tether t(ends->second.get(), clk::now() + std::chrono::hours(1));
        ends->first.reset();
        const auto waited = t.wait(-1, 0, std::chrono::seconds(2));
        REQUIRE_FALSE(waited);
        CHECK(waited.error().code == errc::cancelled);
    }
    TEST_CASE("tether: without a guard nothing is armed") {
        auto ends = make_channel();
        REQUIRE(ends);
        tether t(ends->second.get(), clk::now() + std::chrono::hours(1));
        CHECK_FALSE(t.armed());
        REQUIRE(t.arm("trace"));
        CHECK(t.armed());
        const auto word = next_worker_word(ends->first.get());
        REQUIRE(word);
        REQUIRE(*word);
        CHECK((*word)->what == worker_says::armed);
        CHECK((*word)->text == "trace");
        ends->first.reset();
        CHECK_FALSE(t.arm("later"));
    }
    TEST_CASE("channel: a last word is heard although ours was not read") {
        auto ends = make_channel();
        REQUIRE(ends);
        REQUIRE(send_word(ends->first.get(), guard_says::let_go));
        worker_word word;
        word.text = "why";
        REQUIRE(send_word(ends->second.get(), word));
        ends->second.reset();
        const auto got = next_worker_word(ends->first.get());
        REQUIRE(got);
        REQUIRE(*got);
        CHECK((*got)->text == "why");
        CHECK(next_worker_word(ends->first.get()).error().code == errc::closed);
    }
    TEST_CASE("channel: a word goes through whole") {
        auto ends = make_channel();
        REQUIRE(ends);
        worker_word word;
        word.what = worker_says::released;
        word.text = "why";
        word.freeze = milliseconds(7);
        word.proved = true;
        word.known.add("a", "b");
        CHECK_FALSE(next_worker_word(ends->first.get()).value());
        REQUIRE(send_word(ends->second.get(), word));
        const auto got = next_worker_word(ends->first.get());
        REQUIRE(got);
        REQUIRE(*got);
        CHECK((*got)->what == word.what);
        CHECK((*got)->text == word.text);
        CHECK((*got)->freeze == word.freeze);
        CHECK((*got)->proved);
        CHECK((*got)->known == word.known);
        REQUIRE(send_word(ends->second.get(), guard_says::let_go)); // no word of a worker
        CHECK_FALSE(next_worker_word(ends->first.get()));
    }
}
