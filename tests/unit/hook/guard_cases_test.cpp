#include "replicator/hook/guard_cases.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace farshore::hook;
using enum guard_state;
using enum guard_event;
using enum guard_action;

namespace {

constexpr std::array states{freezing, frozen, releasing, retreating, done};
constexpr std::array events{
    asked, nonsense, closed, guard_event::signal, time_up, froze, failed, released, lost, grace_up};

bool is_last_word(guard_action action) {
    return action == say_failed || action == say_released || action == say_expired ||
           action == force_failed || action == force_released || action == force_expired;
}
bool is_force(guard_action action) {
    return action == force_failed || action == force_released || action == force_expired;
}
bool from_outside(guard_event event) {
    return event == closed || event == guard_event::signal || event == time_up || event == nonsense;
}

} // namespace

TEST_SUITE("hook") {
    TEST_CASE("guard: every pair, and no row twice") {
        std::set<std::pair<guard_state, guard_event>> seen;
        for (const guard_row &row : guard_table) {
            CHECK(seen.insert({row.from, row.event}).second);
            CHECK(row.from != done);
        }
        for (const guard_state state : states) {
            for (const guard_event event : events) {
                const guard_step step = guard_next(state, event);
                CAPTURE(int(state));
                CAPTURE(int(event));
                if (!seen.contains({state, event})) {
                    CHECK(step == guard_step{state, none});
                }
                // The last word is said once, and nothing comes behind it.
                CHECK(is_last_word(step.action) == (step.next == done && state != done));
            }
        }
    }
    TEST_CASE("guard: what goes wrong leads out of a freeze") {
        for (const guard_state state : {freezing, frozen, releasing}) {
            for (const guard_event event : events) {
                CAPTURE(int(state));
                CAPTURE(int(event));
                const guard_step step = guard_next(state, event);
                if (from_outside(event)) {
                    CHECK(step == guard_step{retreating, let_go});
                }
                if (event == lost) {
                    CHECK(is_force(step.action));
                }
            }
        }
    }
    TEST_CASE("guard: a retreat ends, by the worker or by force") {
        CHECK(guard_next(retreating, grace_up) == guard_step{done, force_expired});
        CHECK(guard_next(retreating, lost) == guard_step{done, force_expired});
        CHECK(guard_next(retreating, released) == guard_step{done, say_expired});
        CHECK(guard_next(retreating, failed) == guard_step{done, say_expired});
        for (const guard_event event :
             {asked, nonsense, closed, guard_event::signal, time_up, froze}) {
            CHECK(guard_next(retreating, event) == guard_step{retreating, none});
        }
    }
    TEST_CASE("guard: only a release that was asked for is told as one") {
        for (const guard_state state : states) {
            for (const guard_event event : events) {
                const guard_step step = guard_next(state, event);
                if (step.action == say_released || step.action == force_released) {
                    CHECK(state == releasing);
                }
                if (step.action == say_released) {
                    CHECK(event == released);
                }
                if (step.action == say_frozen) {
                    CHECK(state == freezing);
                    CHECK(event == froze);
                }
                if (step.action == say_failed) { // it says: nothing is frozen
                    CHECK(state == freezing);
                    CHECK(event == failed);
                }
            }
        }
        CHECK(guard_next(frozen, asked) == guard_step{releasing, ask_release});
        CHECK(guard_next(releasing, asked) == guard_step{releasing, none});
    }
}
