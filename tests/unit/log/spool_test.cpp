// The spool on a simulated disk: what is held where, a disk that stands still or fills up, what an
// earlier life left.

#include "replicator/log/spool.hpp"
#include "tests/support/intervals.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

#include <future>
#include <thread>

namespace farshore {
namespace {

constexpr std::size_t frame_bytes = 60'000;

struct rig {
    sim_file_system files{1};
    spool_options options{"/spool", 128 * 1024, 4 << 20};
    std::unique_ptr<spool> held = open();

    std::unique_ptr<spool> open() {
        auto opened = spool::open(files, options);
        REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().text()));
        return std::move(*opened);
    }
    result<> push(std::uint64_t id, std::uint64_t stream = 7) const {
        auto frames = test::plain_interval(id, 1, frame_bytes);
        spooled_interval what;
        what.position = {stream_id{stream}, interval_id{id}};
        for (const buffer &f : frames) {
            what.bytes += f.size();
        }
        what.frames = static_cast<std::uint32_t>(frames.size());
        return held->push(what, std::move(frames));
    }
    bool loads(std::uint64_t id) const {
        const auto got = held->load(interval_id{id});
        const auto wanted = test::plain_interval(id, 1, frame_bytes);
        return got && std::ranges::equal(**got, wanted, [](const buffer &a, const buffer &b) {
                   return std::ranges::equal(a.view(), b.view());
               });
    }
    std::vector<std::string> segments() {
        std::vector<std::string> out;
        const auto names = files.list("/spool");
        REQUIRE(names);
        std::ranges::copy_if(*names, std::back_inserter(out),
                             [](const std::string &n) { return n.ends_with(".seg"); });
        return out;
    }
};

/// Holds every call of the disk that changes something, from close() until open().
class gate {
  public:
    explicit gate(sim_file_system &files) {
        files.before_call([this](const sim_call &call) {
            std::unique_lock lock(mutex_);
            if (closed_ && call.what != sim_operation::read) {
                held_ = true;
                changed_.notify_all();
                changed_.wait(lock, [this] { return !closed_; });
            }
        });
    }
    void close() {
        const std::scoped_lock lock(mutex_);
        closed_ = true;
    }
    void open() {
        const std::scoped_lock lock(mutex_);
        closed_ = false;
        changed_.notify_all();
    }
    void wait_until_held() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return held_; });
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool closed_ = false;
    bool held_ = false;
};

TEST_SUITE_BEGIN("log");

TEST_CASE("spool: in memory while that is short, then on disk, in order and complete") {
    rig r;
    REQUIRE(r.push(1));
    REQUIRE(r.push(2));
    CHECK(r.held->use().disk_bytes < frame_bytes); // headers at most
    REQUIRE(r.push(3));
    CHECK(r.held->use().memory_bytes == 0);
    CHECK(r.held->use().disk_bytes > 3 * frame_bytes);
    REQUIRE(r.push(4));
    for (std::uint64_t id = 1; id <= 4; ++id) {
        CHECK(r.loads(id));
    }
    CHECK(r.held->first()->interval.value == 1);
    CHECK(r.held->last()->interval.value == 4);
    r.held->drop_through(interval_id{3});
    CHECK_FALSE(r.loads(3));
    CHECK(r.loads(4));
    CHECK(r.held->untidy());
    r.held->tidy();
    CHECK_FALSE(r.held->untidy());
    CHECK(r.held->use().intervals == 1);
}

TEST_CASE("spool: what an earlier life left is removed, and not one byte of it is read") {
    rig r;
    for (std::uint64_t id = 1; id <= 60; ++id) {
        REQUIRE(r.push(id));
    }
    REQUIRE(r.segments().size() > 2);
    r.held.reset();
    std::uint64_t reads = 0;
    r.files.before_call([&](const sim_call &call) { reads += call.what == sim_operation::read; });
    r.held = r.open();
    CHECK(reads == 0);
    CHECK(r.segments().empty());
    CHECK_FALSE(r.held->first());
    CHECK(r.held->use().disk_bytes == 0);
    REQUIRE(r.push(61)); // ids go on, or begin anew
    CHECK(r.loads(61));
}

TEST_CASE("spool: what an earlier life left may be damaged in any way") {
    rig r;
    for (std::uint64_t id = 1; id <= 8; ++id) {
        REQUIRE(r.push(id));
    }
    const std::string first = "/spool/" + r.segments().front();
    r.held.reset();
    r.files.corrupt(first, 3); // of another version, as far as a reader can tell
    r.held = r.open();
    REQUIRE(r.push(1));
    CHECK(r.loads(1));
}

TEST_CASE("spool: only what spills waits for a disk that stands still") {
    rig r;
    gate disk(r.files);
    REQUIRE(r.push(1));
    REQUIRE(r.push(2));
    disk.close();
    std::jthread spilling([&] { static_cast<void>(r.push(3)); });
    disk.wait_until_held();
    // As home does meanwhile: none of it returns late, or the test hangs.
    CHECK(r.held->last()->interval.value == 3);
    CHECK(r.held->use().intervals == 3);
    CHECK(r.held->find(interval_id{2}));
    r.held->drop_through(interval_id{1});
    CHECK(r.held->first()->interval.value == 2);
    CHECK(r.loads(2)); // still in memory
    r.held->clear();
    CHECK(r.held->untidy());
    disk.open();
    spilling.join();
    r.held->tidy();
    CHECK(r.held->use().intervals == 0);
    CHECK(r.held->use().bytes == 0);
    REQUIRE(r.push(4));
    CHECK(r.loads(4));
}

TEST_CASE("spool: the stream after one that was cleared while it was spilled is kept whole") {
    rig r;
    gate disk(r.files);
    REQUIRE(r.push(1));
    REQUIRE(r.push(2));
    r.held->set_memory_max(1024);
    disk.close();
    std::jthread spilling([&] { r.held->tidy(); }); // as when the group's share of memory shrinks
    disk.wait_until_held();
    r.held->clear();
    r.held->set_memory_max(1 << 20);
    REQUIRE(r.push(4, 8)); // the next stream; it is in memory
    r.held->set_memory_max(1024);
    disk.open();
    spilling.join();
    for (int round = 0; round < 3 && r.held->untidy(); ++round) {
        r.held->tidy();
    }
    CHECK(r.held->use().memory_bytes == 0);
    CHECK(r.loads(4));
    REQUIRE(r.push(5, 8));
    r.held->tidy();
    CHECK(r.loads(4));
    CHECK(r.loads(5));
    r.held->drop_through(interval_id{5});
    r.held->tidy();
    CHECK(r.segments().size() <= 1);
}

TEST_CASE("spool: less memory while it runs spills what it holds, and a disk that can't take it "
          "loses nothing") {
    rig r;
    REQUIRE(r.push(1));
    REQUIRE(r.push(2));
    CHECK_FALSE(r.held->untidy());
    r.held->set_memory_max(1024);
    REQUIRE(r.held->untidy());
    r.files.set_capacity(r.files.used_bytes());
    r.held->tidy();
    CHECK_FALSE(r.held->untidy());
    CHECK(r.held->use().memory_bytes > 1024);
    r.files.set_capacity(1ULL << 40);
    r.held->set_memory_max(1024);
    r.held->tidy();
    CHECK(r.held->use().memory_bytes == 0);
    CHECK(r.loads(1));
    CHECK(r.loads(2));
    r.held->set_memory_max(1 << 20);
    REQUIRE(r.push(3));
    CHECK(r.held->use().memory_bytes > 0);
}

TEST_CASE("spool: a full disk refuses the newest interval, and what was held stays") {
    rig r;
    REQUIRE(r.push(1));
    REQUIRE(r.push(2));
    r.files.set_capacity(r.files.used_bytes());
    const auto refused = r.push(3);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().context.find("the spool /spool can't take more") != std::string::npos);
    CHECK(r.held->last()->interval.value == 2);
    CHECK(r.loads(1));
    CHECK(r.loads(2));
    r.files.set_capacity(1ULL << 40);
    REQUIRE(r.push(3));
    CHECK(r.loads(3));
}

TEST_CASE("spool: its own limit is kept on the disk") {
    rig r;
    std::uint64_t id = 0;
    while (r.push(++id)) {
        REQUIRE(id < 200);
        CHECK(r.held->use().disk_bytes <= r.options.disk_bytes_max + (1 << 20));
    }
    CHECK(r.held->use().bytes > r.options.disk_bytes_max / 2);
    r.held->drop_through(interval_id{id - 1});
    r.held->tidy();
    CHECK(r.push(id));
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
