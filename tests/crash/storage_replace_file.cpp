// replace_file after every mutating call, killed and with many power cuts each: the file is wholly
// old or wholly new, new once replace_file has said so, and the next replace_file works.

#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace farshore;

namespace {

constexpr std::uint64_t seeds = 50;

byte_vector old_content() { return byte_vector(3000, std::byte{'o'}); }
byte_vector new_content() { return byte_vector(9000, std::byte{'n'}); }

/// A file system with the old content (or none) in /d/f, all durable.
sim_file_system prepared(bool with_old) {
    sim_file_system fs(1);
    REQUIRE(fs.make_directories("/d"));
    if (with_old) {
        REQUIRE(fs.replace_file("/d/f", old_content()));
    }
    return fs;
}

/// What /d/f is: "old", "new", "none" or "mixed".
std::string state_of(sim_file_system &fs) {
    const auto present = fs.exists("/d/f");
    REQUIRE(present);
    if (!*present) {
        return "none";
    }
    const auto bytes = fs.read_file("/d/f");
    REQUIRE(bytes);
    return *bytes == old_content() ? "old" : *bytes == new_content() ? "new" : "mixed";
}

/// The state after one crash; afterwards the file can be replaced as if nothing had been.
std::string recover(sim_file_system &fs) {
    const std::string state = state_of(fs);
    REQUIRE(fs.replace_file("/d/f", as_bytes("third")));
    fs.power_cut(0);
    const auto third = fs.read_file("/d/f");
    REQUIRE(third);
    CHECK(as_text(*third) == "third");
    const auto names = fs.list("/d");
    REQUIRE(names);
    CHECK(*names == std::vector<std::string>{"f"});
    return state;
}

/// All states seen when the machine stops after `k` mutating calls.
std::set<std::string> states_after(bool with_old, std::uint64_t k, bool &acknowledged) {
    sim_file_system running = prepared(with_old);
    running.stop_after(k);
    acknowledged = running.replace_file("/d/f", new_content()).has_value();
    std::set<std::string> states;
    for (std::uint64_t seed = 0; seed < seeds; ++seed) {
        sim_file_system crashed(running);
        crashed.power_cut(seed);
        states.insert(recover(crashed));
    }
    sim_file_system killed(running);
    killed.kill();
    states.insert(recover(killed));
    return states;
}

} // namespace

TEST_SUITE("crash") {
    TEST_CASE("replace_file: whole old or whole new content after a crash at any call") {
        for (const bool with_old : {true, false}) {
            CAPTURE(with_old);
            const std::string before = with_old ? "old" : "none";
            sim_file_system counted = prepared(with_old);
            const std::uint64_t first = counted.mutating_calls();
            REQUIRE(counted.replace_file("/d/f", new_content()));
            const std::uint64_t calls = counted.mutating_calls() - first;
            REQUIRE(calls >= 5);
            std::set<std::string> all;
            for (std::uint64_t k = 0; k <= calls; ++k) {
                CAPTURE(k);
                bool acknowledged = false;
                const std::set<std::string> states = states_after(with_old, k, acknowledged);
                CHECK(acknowledged == (k == calls));
                for (const std::string &state : states) {
                    CAPTURE(state);
                    CHECK((state == "new" || (state == before && !acknowledged)));
                }
                all.insert(states.begin(), states.end());
            }
            CHECK(all == std::set<std::string>{before, "new"}); // the seeds reach both
        }
    }

    TEST_CASE("replace_file: a failure of any call is reported and leaves whole content") {
        sim_file_system counted = prepared(true);
        const std::uint64_t first = counted.mutating_calls();
        REQUIRE(counted.replace_file("/d/f", new_content()));
        const std::uint64_t calls = counted.mutating_calls() - first;
        for (const int number : {EIO, ENOSPC}) {
            for (std::uint64_t k = 1; k <= calls; ++k) {
                for (const bool forever : {false, true}) {
                    CAPTURE(k);
                    CAPTURE(forever);
                    sim_file_system fs = prepared(true);
                    fs.inject({.nth = k, .forever = forever, .number = number});
                    const auto done = fs.replace_file("/d/f", new_content());
                    REQUIRE_FALSE(done);
                    CHECK(is_errno(done.error(), number));
                    fs.clear_faults();
                    for (std::uint64_t seed = 0; seed < 10; ++seed) {
                        sim_file_system crashed(fs);
                        crashed.power_cut(seed);
                        CHECK(recover(crashed) != "mixed");
                    }
                    CHECK(recover(fs) != "mixed");
                }
            }
        }
    }

    TEST_CASE("replace_file: a full disk keeps the old content, and room makes it work again") {
        for (std::uint64_t pages = 1; pages <= 4; ++pages) {
            CAPTURE(pages);
            sim_file_system fs = prepared(true);
            fs.set_capacity(pages * 4096); // one is taken by the old content, three are needed
            const auto done = fs.replace_file("/d/f", new_content());
            CHECK(done.has_value() == (pages >= 4));
            CHECK(state_of(fs) == (pages >= 4 ? "new" : "old"));
            fs.set_capacity(1 << 20);
            CHECK(fs.replace_file("/d/f", new_content()));
            fs.power_cut(0);
            CHECK(state_of(fs) == "new");
        }
    }
}
