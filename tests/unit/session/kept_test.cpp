// A value with a file, over a disk that the test lets work when it wants.

#include "replicator/session/kept.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

#include <optional>

namespace farshore {
namespace {

struct numbers {
    int a = 0;
    int b = 0;
};
std::string text_of(const numbers &n) { return std::to_string(n.a) + " " + std::to_string(n.b); }

struct rig {
    asio::io_context home{1};
    asio::io_context disk{1};
    sim_file_system files{1};
    task_group tasks{home.get_executor()};
    std::optional<kept<numbers>> value;
    std::vector<result<>> outcomes;

    rig() {
        REQUIRE(files.make_directories("/state"));
        value.emplace(files, disk.get_executor(), "/state/n");
    }
    ~rig() { settle(); }
    void run_home() {
        home.restart();
        home.poll();
    }
    void settle() {
        std::size_t ran = 1;
        while (ran > 0) {
            home.restart();
            disk.restart();
            ran = home.poll();
            ran += disk.poll();
        }
    }
    template <class F>
    void change(F f) {
        tasks.spawn(note(value->change(f)));
    }
    task<void> note(task<result<>> t) { outcomes.push_back(co_await std::move(t)); }
    std::string text() {
        const auto bytes = files.read_file("/state/n");
        return bytes ? std::string(as_text(*bytes)) : "";
    }
    void fill() { files.set_capacity(files.used_bytes()); }
};

const auto set_a = [](int to) {
    return [to](numbers &n) -> result<> { return n.a = to, result<>(); };
};

TEST_SUITE_BEGIN("session");

TEST_CASE("kept: a change holds when it is on the disk, and not before") {
    rig r;
    r.change(set_a(3));
    r.run_home();
    CHECK((*r.value)->a == 0);
    CHECK(r.outcomes.empty());
    r.settle();
    CHECK((*r.value)->a == 3);
    CHECK(r.text() == "3 0");
    REQUIRE(r.outcomes.size() == 1);
    CHECK(r.outcomes[0]);
}

TEST_CASE(
    "kept: changes of a slow disk are made one after another, each on what the one before left") {
    rig r;
    const auto more = [](numbers &n) -> result<> { return ++n.a, result<>(); };
    for (int i = 0; i < 5; ++i) {
        r.change(more);
    }
    r.settle();
    CHECK((*r.value)->a == 5);
    CHECK(r.text() == "5 0");
}

TEST_CASE("kept: a full disk leaves what was, in memory and in the file") {
    rig r;
    r.change(set_a(1));
    r.settle();
    r.fill();
    r.change(set_a(1234567));
    r.settle();
    REQUIRE(r.outcomes.size() == 2);
    CHECK_FALSE(r.outcomes[1]);
    CHECK((*r.value)->a == 1);
    CHECK(r.text() == "1 0");
}

TEST_CASE("kept: a change that is refused writes nothing") {
    rig r;
    r.change([](numbers &n) -> result<> {
        n.a = 9;
        return fail(errc::not_found, "no");
    });
    r.settle();
    CHECK_FALSE(r.outcomes.at(0));
    CHECK((*r.value)->a == 0);
    CHECK(r.text().empty());
}

TEST_CASE("kept: what holds at once is not lost by a change under way, nor written over it") {
    rig r;
    r.change(set_a(7));
    r.run_home(); // its text is on the way to the disk
    r.value->change_now([](numbers &n) { n.b = 8; }, r.tasks, "test");
    CHECK((*r.value)->b == 8);
    r.settle();
    CHECK((*r.value)->a == 7);
    CHECK((*r.value)->b == 8);
    CHECK(r.text() == "7 8");
}

TEST_CASE("kept: what holds at once holds on a full disk, and the next change writes it") {
    rig r;
    r.fill();
    r.value->change_now([](numbers &n) { n.b = 8; }, r.tasks, "test");
    r.settle();
    CHECK((*r.value)->b == 8);
    r.files.set_capacity(1ULL << 40);
    r.change(set_a(0)); // changes nothing of its own
    r.settle();
    CHECK(r.text() == "0 8");
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
