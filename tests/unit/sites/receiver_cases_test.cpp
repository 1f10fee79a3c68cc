#include "replicator/receiver/receiver_cases.hpp"

#include <doctest/doctest.h>

#include <set>
#include <vector>

namespace farshore {
namespace {

using enum group_phase;
using e = group_event;
using a = group_action;

constexpr int phases = static_cast<int>(stopping_failed) + 1;
constexpr int events = static_cast<int>(e::stop) + 1;

group_phase phase_of(int i) { return static_cast<group_phase>(i); }
group_event event_of(int i) { return static_cast<group_event>(i); }

/// Who uses the copy besides apply.
int users(group_phase p) {
    switch (p) {
    case greeting:
    case serving:
    case failing:
        return 1;
    case replacing: // the link waits until the session has ended
    case failing_two:
        return 2;
    default:
        return 0;
    }
}

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("receiver cases: every pair is listed once or refused") {
        std::set<std::pair<int, int>> listed;
        for (const group_case &c : group_cases) {
            CHECK(listed.insert({static_cast<int>(c.phase), static_cast<int>(c.event)}).second);
        }
        for (int p = 0; p < phases; ++p) {
            for (int i = 0; i < events; ++i) {
                CAPTURE(p);
                CAPTURE(i);
                const auto step = next(phase_of(p), event_of(i));
                CHECK(step.has_value() == listed.contains({p, i}));
            }
        }
    }

    TEST_CASE("receiver cases: a hello and a stop have an answer in every phase") {
        for (int p = 0; p < phases; ++p) {
            CAPTURE(p);
            const auto hello = next(phase_of(p), e::hello);
            REQUIRE(hello);
            const bool refused = hello->action == a::refuse_failed ||
                                 hello->action == a::refuse_busy ||
                                 hello->action == a::refuse_stopping;
            CHECK(refused == (hello->next == phase_of(p))); // who is refused changes nothing
            CHECK((hello->action == a::refuse_failed) == is_failed(phase_of(p)));
            const auto stop = next(phase_of(p), e::stop);
            REQUIRE(stop);
            CHECK(is_stopping(stop->next));
            const bool being_opened = is_failed(phase_of(p)) || phase_of(p) == turning;
            CHECK((stop->next == stopping_failed) == being_opened);
        }
    }

    TEST_CASE("receiver cases: the copy is opened anew only when nobody uses it") {
        for (int p = 0; p < phases; ++p) {
            for (int i = 0; i < events; ++i) {
                CAPTURE(p);
                CAPTURE(i);
                const auto step = next(phase_of(p), event_of(i));
                if (!step || is_stopping(step->next)) {
                    continue;
                }
                const int before = users(phase_of(p));
                const int after = users(step->next);
                switch (event_of(i)) {
                case e::session_over:
                case e::refused:
                    CHECK(after == before - 1);
                    break;
                case e::hello:
                    CHECK(after >= before);
                    break;
                case e::storage_failed:
                case e::greeted:
                    CHECK(after == before);
                    break;
                default:
                    CHECK(before == 0);
                }
                CHECK((step->action == a::reopen) ==
                      ((step->next == reopening && event_of(i) == e::pause_over) ||
                       (step->next == turning && event_of(i) == e::turn)));
                if (step->next == failed || step->next == reopening || step->next == turning) {
                    CHECK(after == 0);
                }
            }
        }
    }

    TEST_CASE("receiver cases: storage that fails under a session tells it, and what stops never "
              "serves again") {
        for (int p = 0; p < phases; ++p) {
            CAPTURE(p);
            if (is_served(phase_of(p))) {
                const auto step = next(phase_of(p), e::storage_failed);
                REQUIRE(step);
                CHECK(is_failed(step->next));
                const bool session = phase_of(p) == serving || phase_of(p) == replacing;
                CHECK((step->action == a::tell_session) == session);
            }
            for (int i = 0; i < events && is_stopping(phase_of(p)); ++i) {
                if (const auto step = next(phase_of(p), event_of(i))) {
                    CHECK(is_stopping(step->next));
                }
            }
        }
    }
}
} // namespace farshore
