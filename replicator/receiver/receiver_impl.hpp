#pragma once
// What a receiver is made of: for the files of its implementation only. receiver.cpp has its life
// and what it is asked, receiver_roles.cpp the roles of its groups.

#include "replicator/receiver/receiver.hpp"
#include "replicator/receiver/receiver_door.hpp"
#include "replicator/receiver/receiver_group.hpp"
#include "replicator/session/group_starts.hpp"
#include "replicator/session/peer_trust.hpp"

#include <fmt/format.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

namespace farshore {

struct receiver::impl {
    impl(receiver_config c, std::shared_ptr<site> s)
        : config(std::move(c)), here(std::move(s)), run(here->run()), tasks(run.home),
          stops(run.home) {}

    receiver_config config;
    std::shared_ptr<site> here;
    runtime run;
    std::vector<std::unique_ptr<receiver_group>> groups;
    task_group tasks;
    task_group stops; ///< of groups
    group_starts starts{tasks};
    std::set<const receiver_group *> starting;
    receiver_door door{run, here->trust(), here->mode(),
                       [this](const std::string &name) { return lookup(name); }};
    condition invitations_;                              ///< there is a new one, or stop
    std::function<void(receiver_group_status &)> served; ///< may be empty
    struct {
        take_link control;
        take_data_link data;
        std::function<void()> changed;
        may_serve_group may_serve;
    } followers; ///< may be empty
    struct {
        std::shared_ptr<memory_account> account;
        std::shared_ptr<nbd::client_places> places;
        receiver_memory group{}; ///< of each
    } shares;
    bool stopping = false;
    std::uint64_t attached = 0; ///< openings, counted for the names of their sockets

    receiver_group *lookup(const std::string &name) const {
        for (const auto &g : groups) {
            if (g->name() == name) {
                return g.get();
            }
        }
        return nullptr;
    }
    result<receiver_group *> find(const std::string &name) const {
        if (receiver_group *g = lookup(name)) {
            return g;
        }
        return fail(errc::not_found,
                    fmt::format("there is no group \"{}\" at this receiver", name));
    }
    void prepare_shares();
    receiver_group &make_group(const receiver_group_config &g);
    task<void> start_group(receiver_group &group);
    loan_offer lend(const std::string &lender, const std::string &borrower) const;
    task<void> watch_invitations();
};

} // namespace farshore
