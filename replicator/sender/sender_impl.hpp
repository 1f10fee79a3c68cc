#pragma once
// What a sender is made of: for the files of its implementation only. sender.cpp has its life,
// sender_commands.cpp what it is asked, sender_pairing.cpp how it is paired.

#include "replicator/capture/page_arena.hpp"
#include "replicator/sender/daemon_throttle.hpp"
#include "replicator/sender/memory_tender.hpp"
#include "replicator/sender/pair_index.hpp"
#include "replicator/sender/sender.hpp"
#include "replicator/sender/sender_group.hpp"
#include "replicator/session/commands_under_way.hpp"
#include "replicator/session/group_starts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

struct sender::impl {
    /// What a configured group has whether it runs or not.
    struct slot {
        explicit slot(runtime r) : run(std::move(r)) {}
        runtime run;
        std::vector<executor> volume_disks;
        std::string failure; ///< why it could not be started; empty: it runs, or never failed
        bool starting = false;
        bool released = false;
    };

    impl(sender_config c, std::shared_ptr<site> s)
        : config(std::move(c)), here(std::move(s)), run(here->run()), files(here->files()),
          tasks(run.home), stops(run.home) {}

    sender_config config;
    std::shared_ptr<site> here;
    runtime run;
    file_system &files;
    std::string boot_id;
    wall_time boot_began{};                            ///< 0: not known
    std::vector<std::unique_ptr<sender_group>> groups; ///< those that could be started
    std::vector<slot> slots;                           ///< as configured
    commands_under_way joins;                          ///< they use groups and network
    std::list<transport::link *> join_links;           ///< to receivers that have not answered yet
    daemon_throttle throttle{run, files, here->path_of("daemon.json")};
    wire::id16 identity{};
    std::uint64_t instance = 0;
    /// How `memory` is divided among the groups.
    struct division {
        std::vector<history_memory> histories; ///< as configured
        std::shared_ptr<memory_pool> pool;     ///< for intervals
        std::optional<memory_tender> tender;   ///< when there are several groups
        std::shared_ptr<page_pool> pages = std::make_shared<page_pool>();
    };
    division memory;
    std::shared_ptr<memory_account> account;
    std::shared_ptr<application_host> applications; ///< of bookmarks; may be null
    std::map<std::string, served_half> halves;      ///< of promoted copies, by group
    std::shared_ptr<nbd::client_places> places;
    std::shared_ptr<pair_index> shared;
    task_group tasks;
    task_group stops; ///< of groups
    group_starts starts{tasks};
    condition stopped;
    bool stopping = false;

    sender_group *running(const std::string &name) const {
        const auto g =
            std::ranges::find_if(groups, [&](const auto &at) { return at->name() == name; });
        return g == groups.end() ? nullptr : g->get();
    }
    result<sender_group *> find(const std::string &name) const {
        if (sender_group *g = running(name)) {
            return g;
        }
        for (std::size_t i = 0; i < slots.size(); ++i) {
            if (config.groups[i].name == name && !slots[i].released) {
                return fail(errc::dead,
                            fmt::format("group \"{}\" is not served: {}", name, why_not(i)));
            }
        }
        return fail(errc::not_found, fmt::format("there is no group \"{}\" at this sender", name));
    }
    task<void> gather_offers(std::string for_group, std::function<bool()> wanted) const;
    task<result<transport::message>> ask(std::unique_ptr<transport::link> link,
                                         transport::message question);
    task<result<>> load();
    result<wire::id16> load_identity();
    void prepare_shares();
    task<void> start_group(std::size_t index);
    task<void> start_failed_again();
    task<void> trim_pages();
    sender_group_status status_of_failed(std::size_t index) const;
    std::string why_not(std::size_t index) const {
        return slots[index].failure.empty()
                   ? "it is being started, and its disks have not answered yet"
                   : slots[index].failure;
    }
};

} // namespace farshore
