// What a map is worth: every row of both tables, and that no combination of evidence trusts more
// than it proves.

#include "replicator/capture/dirty_map_cases.hpp"

#include <doctest/doctest.h>

using namespace farshore;

TEST_SUITE_BEGIN("dirty_map");

namespace {

constexpr std::int64_t second = 1'000'000'000;

constexpr map_evidence good() {
    map_evidence e;
    e.present = e.readable = e.same_size = e.same_file = e.intact = true;
    e.times = volume_times::as_left;
    return e;
}

} // namespace

TEST_CASE("dirty map cases: each evidence has its verdict") {
    map_evidence e;
    CHECK(judge_map(e).what == map_case::missing);
    e.present = true;
    CHECK(judge_map(e).what == map_case::unreadable);
    e.readable = e.clean = e.same_boot = true;
    CHECK(judge_map(e).what == map_case::resized);
    e.same_size = true;
    CHECK(judge_map(e).what == map_case::replaced);
    e.same_file = true;
    e.shared = true;
    CHECK(judge_map(e).what == map_case::shared);
    e.shared = false;
    CHECK(judge_map(e).what == map_case::rotted);
    e = good();
    e.clean = true;
    CHECK(judge_map(e).what == map_case::clean_stop);
    e.times = volume_times::later;
    CHECK(judge_map(e).what == map_case::written);
    e.times = volume_times::earlier;
    CHECK(judge_map(e).what == map_case::put_back);
    e.times = volume_times::unsure;
    CHECK(judge_map(e).what == map_case::clock_back);
    e = good();
    CHECK(judge_map(e).what == map_case::other_boot);
    e.same_boot = true;
    CHECK(judge_map(e).what == map_case::remounted);
    e.same_instance = true;
    CHECK(judge_map(e).what == map_case::same_boot);
    e.sync_failed = true;
    CHECK(judge_map(e).what == map_case::sync_failed);
}

TEST_CASE("dirty map cases: the fine bits alone are trusted only when it is proved that they are "
          "the newest") {
    for (unsigned bits = 0; bits < 1U << 10; ++bits) {
        for (const volume_times times :
             {volume_times::untold, volume_times::as_left, volume_times::later,
              volume_times::earlier, volume_times::unsure}) {
            map_evidence e;
            e.present = (bits & 1) != 0;
            e.readable = (bits & 2) != 0;
            e.same_size = (bits & 4) != 0;
            e.same_file = (bits & 8) != 0;
            e.clean = (bits & 16) != 0;
            e.intact = (bits & 32) != 0;
            e.same_boot = (bits & 64) != 0;
            e.same_instance = (bits & 128) != 0;
            e.sync_failed = (bits & 256) != 0;
            e.shared = (bits & 512) != 0;
            e.times = times;
            const map_verdict v = judge_map(e);
            const bool told_wrong = times == volume_times::later ||
                                    times == volume_times::earlier || times == volume_times::unsure;
            const bool usable =
                e.present && e.readable && e.same_size && e.same_file && !e.shared && !told_wrong;
            const bool proved =
                e.clean ? e.intact : e.same_boot && e.same_instance && !e.sync_failed;
            CHECK((v.trust == map_trust::fine_bits) == (usable && proved));
            CHECK((v.trust == map_trust::fine_bits_and_active) == (usable && !proved && !e.clean));
            const bool served_before = e.present && e.readable && e.same_size;
            CHECK((v.alarm != nullptr) == (served_before && v.trust == map_trust::nothing));
        }
    }
}

TEST_CASE("dirty map cases: times after a stop in order must be those at the stop") {
    time_evidence e;
    e.clean = true;
    e.left = {10 * second, 11 * second};
    e.now = e.left;
    CHECK(judge_times(e) == volume_times::as_left);
    e.now.changed_ns += 1; // a restore that set the time of the last write back
    CHECK(judge_times(e) == volume_times::later);
    e.now = {10 * second + 1, 11 * second};
    CHECK(judge_times(e) == volume_times::later);
    e.now = {9 * second, 10 * second};
    CHECK(judge_times(e) == volume_times::earlier);
    e.now = {};
    CHECK(judge_times(e) == volume_times::untold); // a block device
}

TEST_CASE("dirty map cases: times after a kill may be as late as our own last write") {
    time_evidence e;
    e.same_boot = e.same_instance = true;
    e.left = {10 * second, 10 * second};
    e.clock_ns = 1000 * second;
    e.last_write_ns = 500 * second;
    e.now = {503 * second, 503 * second};
    CHECK(judge_times(e) == volume_times::as_left);
    e.now.changed_ns += 1;
    CHECK(judge_times(e) == volume_times::later);
    e.durable = e.left;
    e.same_instance = false; // the noted time may be older than what was noted
    CHECK(judge_times(e) == volume_times::as_left);
    e.now = {800 * second, 800 * second + 1};
    CHECK(judge_times(e) == volume_times::later);
    e.same_instance = true;
    e.now = {500 * second, 500 * second};
    e.clock_ns = 496 * second;
    CHECK(judge_times(e) == volume_times::unsure);
    e.clock_ns = 497 * second;
    CHECK(judge_times(e) == volume_times::as_left);
    e.last_write_ns = 10 * second; // nobody wrote in this life
    e.now = e.left;
    CHECK(judge_times(e) == volume_times::as_left);
    e.durable = {11 * second, 11 * second}; // of before the clock was set back
    CHECK(judge_times(e) == volume_times::as_left);
}

TEST_CASE("dirty map cases: times after a power cut") {
    time_evidence e;
    e.left = {10 * second, 10 * second};
    e.clock_ns = 1000 * second;
    e.last_write_ns = 500 * second;
    e.boot_began_ns = 520 * second;
    e.now = {519 * second, 519 * second};
    CHECK(judge_times(e) == volume_times::as_left);
    e.now = {500 * second, 520 * second + 1}; // in this boot, before we were started
    CHECK(judge_times(e) == volume_times::later);
    e.now = {400 * second, 400 * second};
    CHECK(judge_times(e) == volume_times::as_left);
    e.durable = {401 * second, 401 * second};
    CHECK(judge_times(e) == volume_times::earlier);
    e.durable = e.now;
    CHECK(judge_times(e) == volume_times::as_left);
}

TEST_SUITE_END();
