// The order of a switchover's steps over several groups: nothing is held before all may be handed
// over, all are held before one is proved, and whoever was not handed over goes on.

#include "replicator/sender/switchover.hpp"
#include "tests/support/sim_clock.hpp"

#include <asio.hpp>
#include <doctest/doctest.h>

#include <algorithm>

namespace farshore {
namespace {

struct fake_party final : switchover_party {
    fake_party(std::string n, std::vector<std::string> &all) : called(n), story(all) {}

    const std::string &name() const override { return called; }
    std::shared_ptr<void> stay() override {
        ++stays;
        return {nullptr, [this](void *) { --stays; }};
    }
    result<> may_hand_over() const override { return said("may"); }
    task<result<>> catch_up(duration) override { co_return said("catch up"); }
    void hold() override { static_cast<void>(said("hold")); }
    task<result<>> prove(time_point) override { co_return said("prove"); }
    task<result<switchover_outcome>> hand_over() override {
        FS_CO_CHECK(said("hand over"));
        switchover_outcome out;
        out.group = called;
        co_return out;
    }
    void go_on() override { static_cast<void>(said("go on")); }

    result<> said(const std::string &step) const {
        story.push_back(called + ": " + step);
        return step == fails ? fail(errc::timeout, called + " fails") : result<>();
    }

    std::string called;
    std::vector<std::string> &story;
    std::string fails;
    int stays = 0;
};

struct two_parties {
    asio::io_context io;
    test::sim_clock clock;
    std::vector<std::string> story;
    fake_party a{"a", story};
    fake_party b{"b", story};

    result<std::vector<switchover_outcome>> run() {
        std::optional<result<std::vector<switchover_outcome>>> out;
        asio::co_spawn(
            io, switch_over({&a, &b}, clock, std::chrono::seconds(1)),
            [&out](const std::exception_ptr &, result<std::vector<switchover_outcome>> done) {
                out = std::move(done);
            });
        io.run();
        REQUIRE(out);
        CHECK(a.stays == 0);
        CHECK(b.stays == 0);
        return std::move(*out);
    }
    std::ptrdiff_t at(const std::string &step) const {
        const auto found = std::ranges::find(story, step);
        return found == story.end() ? -1 : found - story.begin();
    }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("switch over: all may, all are close, all are held, all are proved, then each goes") {
        two_parties t;
        const auto done = t.run();
        REQUIRE(done);
        CHECK(done->size() == 2);
        CHECK(std::max(t.at("a: catch up"), t.at("b: catch up")) <
              std::min(t.at("a: hold"), t.at("b: hold")));
        CHECK(std::max(t.at("a: hold"), t.at("b: hold")) <
              std::min(t.at("a: prove"), t.at("b: prove")));
        CHECK(std::max(t.at("a: prove"), t.at("b: prove")) <
              std::min(t.at("a: hand over"), t.at("b: hand over")));
        CHECK(t.at("a: go on") == -1);
        CHECK(t.at("b: go on") == -1);
    }

    TEST_CASE("switch over: before all are proved a failure of one leaves all as they were") {
        for (const char *step : {"may", "catch up", "prove"}) {
            CAPTURE(step);
            two_parties t;
            t.b.fails = step;
            CHECK_FALSE(t.run());
            CHECK(t.at("a: hand over") == -1);
            CHECK(t.at("b: hand over") == -1);
            CHECK((t.at("a: hold") == -1) == (t.at("a: go on") == -1));
            CHECK((t.at("b: hold") == -1) == (t.at("b: go on") == -1));
        }
    }

    TEST_CASE("switch over: one that is not taken goes on, and the error names those that were") {
        two_parties t;
        t.b.fails = "hand over";
        const auto done = t.run();
        REQUIRE_FALSE(done);
        CHECK(done.error().text().find("serves a already") != std::string::npos);
        CHECK(t.at("a: go on") == -1);
        CHECK(t.at("b: go on") > t.at("b: hand over"));
        two_parties first;
        first.a.fails = "hand over";
        CHECK_FALSE(first.run());
        CHECK(first.at("b: hand over") == -1);
        CHECK(first.at("a: go on") >= 0);
        CHECK(first.at("b: go on") >= 0);
    }
}

} // namespace farshore
