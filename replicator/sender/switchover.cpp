#include "replicator/sender/switchover.hpp"

#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace farshore {
namespace {

std::string names_of(const std::vector<switchover_outcome> &all) {
    std::string text;
    for (const switchover_outcome &o : all) {
        text += (text.empty() ? "" : ", ") + o.group;
    }
    return text;
}

} // namespace

task<result<std::vector<switchover_outcome>>> switch_over(std::vector<switchover_party *> parties,
                                                          time_source &time, duration patience) {
    std::vector<std::shared_ptr<void>> stays; // of those that are not handed over
    for (switchover_party *p : parties) {
        stays.push_back(p->stay());
    }
    for (const switchover_party *p : parties) {
        FS_CO_CHECK(p->may_hand_over());
    }
    const time_point deadline = time.now() + patience;
    for (switchover_party *p : parties) {
        FS_CO_CHECK(co_await p->catch_up(std::max(duration{}, deadline - time.now())));
    }
    std::size_t over = 0; // so many were handed over
    const auto go_on = [&] {
        for (std::size_t i = over; i < parties.size(); ++i) {
            parties[i]->go_on();
        }
    };
    for (const switchover_party *p : parties) {
        FS_CO_CHECK(p->may_hand_over());
    }
    const time_point held = time.now();
    for (switchover_party *p : parties) {
        p->hold();
    }
    for (switchover_party *p : parties) {
        if (auto proved = co_await p->prove(held + limits::switchover_hold_max); !proved) {
            go_on();
            co_return std::unexpected(proved.error());
        }
    }
    std::vector<switchover_outcome> done;
    for (; over < parties.size(); ++over) {
        auto one = co_await parties[over]->hand_over();
        if (!one) {
            go_on();
            error why = one.error();
            if (!done.empty()) {
                why.context += fmt::format("; of this switchover the other site serves {} already: "
                                           "`farshore switchover` there brings it back",
                                           names_of(done));
            }
            co_return std::unexpected(std::move(why));
        }
        one->held = time.now() - held;
        done.push_back(std::move(*one));
        stays[over].reset();
    }
    co_return done;
}

task<result<std::vector<switchover_outcome>>> switch_over_named(
    std::vector<std::string> groups, std::function<switchover_party *(const std::string &)> party,
    std::function<bool(const std::string &)> known, time_source &time, duration patience) {
    std::vector<switchover_party *> parties;
    for (const std::string &group : groups) {
        if (!known(group)) {
            co_return fail(errc::not_found,
                           fmt::format("there is no group \"{}\" at this daemon", group));
        }
        switchover_party *p = party(group);
        if (p == nullptr) {
            co_return fail(errc::not_in_sync,
                           fmt::format("group \"{}\" is not served here: switchover is run at the "
                                       "site that serves (`farshore status`)",
                                       group));
        }
        if (std::ranges::find(parties, p) != parties.end()) {
            co_return fail(errc::invalid, fmt::format("group \"{}\" is named twice", group));
        }
        parties.push_back(p);
    }
    co_return co_await switch_over(std::move(parties), time, patience);
}

} // namespace farshore
