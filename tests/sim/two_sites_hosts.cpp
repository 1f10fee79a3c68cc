// The hosts of a simulated life: how they start, crash and stop, and what happens to the line and
// to the DR site's disk.

#include "replicator/base/limits.hpp"
#include "tests/sim/two_sites.hpp"

#include <fmt/format.h>

namespace farshore::sim {
namespace {

constexpr const char *address = "site:7420";
const std::string sender_fingerprint(64, 'a');
const std::string receiver_fingerprint(64, 'b');

} // namespace

void two_sites::start_sender() {
    for (int attempt = 0;; ++attempt) {
        sender_files_ = primary_.process();
        sender_config config;
        config.state = "/state/sender";
        config.memory_bytes_max = 24 * limits::MiB;
        config.links = 1 + static_cast<std::uint32_t>(options_.seed % 3);
        for (const replicated_group &g : groups_) {
            sender_group_config group;
            group.name = g.name;
            group.interval = std::chrono::milliseconds(200 + (options_.seed + g.number) % 5 * 200);
            group.verify_encoding = true;
            group.spool_bytes_max = options_.seed % 4 == 0 ? 2 * limits::MiB : 64 * limits::MiB;
            for (std::size_t v = 0; v < g.sizes.size(); ++v) {
                group.volumes.push_back({volume_names[v], g.primary_path(v), ""});
            }
            for (std::size_t h = 0; has_bookmarks() && h < hooks_of_a_group; ++h) {
                hook_config hook;
                hook.name = fmt::format("hook-{}", h);
                hook.type = "script";
                group.hooks.push_back(std::move(hook));
            }
            config.groups.push_back(group);
        }
        const executor ex = io_.get_executor();
        const auto here = std::make_shared<site>(config.state, config.tls,
                                                 runtime{ex, ex, ex, ex, &primary_clock_},
                                                 *sender_files_, std::vector<executor>{ex});
        const auto found = turned_groups::found(primary_, config);
        sender_config plain = config;
        std::erase_if(plain.groups, [&](const sender_group_config &g) {
            return found && std::ranges::find(*found, g.name) != found->end();
        });
        sender_ = std::make_unique<sender>(plain, here);
        if (has_bookmarks()) {
            sender_->use_applications(applications());
        }
        sender_access::set_network(
            *sender_,
            std::make_unique<sim_network>(*line_, sender_fingerprint, receiver_fingerprint),
            fmt::format("boot-{}", boots_), boot_began_);
        if (found && failing_over_) {
            turned_ = std::make_unique<turned_groups>(*sender_, here, config, *found, nullptr,
                                                      fmt::format("boot-{}", boots_));
        }
        auto started = await(sender_->start(), std::chrono::minutes(1));
        for (const auto &status : sender_->status()) {
            if (started && status.state == sender_state::failed) {
                started =
                    fail(errc::dead, status.error.value_or("failed")); // it would be tried again
            }
        }
        if (started && turned_) {
            started = await(turned_->start(), std::chrono::minutes(1));
        }
        if (started) {
            break;
        }
        say("sender does not start: " + started.error().text());
        end_sender();
        if (attempt > 3) {
            throw broken_promise{"the sender does not start: " + started.error().text()};
        }
        calm_line();
        primary_.clear_faults();
    }
    for (replicated_group &g : groups_) {
        resync_oracle(g);
    }
}

void two_sites::start_receiver() {
    seen_points_.clear();
    for (int attempt = 0;; ++attempt) {
        receiver_files_ = site_.process();
        receiver_config config;
        config.state = "/state/receiver";
        config.listen = address;
        config.memory_bytes_max = 24 * limits::MiB;
        for (const replicated_group &g : groups_) {
            receiver_group_config group;
            group.name = g.name;
            group.replica = "/srv/replica-" + g.name;
            group.journal_bytes_max = 64 * limits::MiB;
            group.retain = {{duration{}, retain_all_},
                            {std::chrono::minutes(1), std::chrono::hours(24)}};
            if (options_.seed % 3 != 0) { // a history of many pieces
                group.segment_bytes = 64 * limits::KiB;
                group.stretch_bytes = options_.seed % 3 == 1 ? 1 : 128 * limits::KiB;
            }
            config.groups.push_back(group);
        }
        const executor ex = io_.get_executor();
        const auto here =
            std::make_shared<site>(config.state, config.tls, runtime{ex, ex, ex, ex, &site_clock_},
                                   *receiver_files_, std::vector<executor>{ex});
        receiver_ = std::make_unique<receiver>(config, here);
        served_means means = served_means_of(config, true);
        means.boot_id = fmt::format("site-boot-{}", site_boots_);
        served_ = std::make_unique<served_groups>(*receiver_, here, std::move(means));
        receiver_access::set_network(
            *receiver_,
            std::make_unique<sim_network>(*line_, receiver_fingerprint, sender_fingerprint));
        auto started = await(receiver_->start(), std::chrono::minutes(1));
        for (const auto &status : receiver_->status()) {
            if (started && status.state == receiver_state::failed) {
                started =
                    fail(errc::dead, status.error.value_or("failed")); // it would be tried again
            }
        }
        if (started) {
            served_->start();
            openings_restarted();
            return;
        }
        say("receiver does not start: " + started.error().text());
        end_receiver();
        if (attempt > 3) {
            throw broken_promise{"the receiver does not start: " + started.error().text()};
        }
        site_.clear_faults();
        site_.set_capacity(1ULL << 40);
    }
}

void two_sites::end_sender() { stop_sender_within(duration{}); }
void two_sites::end_receiver() { stop_receiver_within(duration{}); }

void two_sites::stop_sender_within(duration drain) {
    if (turned_) {
        await(turned_->stop(), std::chrono::minutes(2));
    }
    await(sender_->stop(drain), std::chrono::minutes(2));
    turned_.reset();
    sender_.reset();
}

void two_sites::stop_receiver_within(duration drain) {
    if (served_) {
        await(served_->stop(), std::chrono::minutes(2));
    }
    await(receiver_->stop(drain), std::chrono::minutes(2));
    served_.reset();
    receiver_.reset();
}

void two_sites::pair() {
    for (const replicated_group &g : groups_) {
        auto invitation = await(receiver_->invite(g.name, address), command_patience);
        if (!invitation) {
            throw broken_promise{"no invitation: " + invitation.error().text()};
        }
        auto joined = await(sender_->join(invitation->token), std::chrono::seconds(30));
        if (!joined) {
            throw broken_promise{"can't join: " + joined.error().text()};
        }
    }
}

void two_sites::crash_sender() {
    const bool clean = one_in(4);
    say(clean ? "sender stops" : "sender crashes");
    if (clean) {
        stop_sender_within(std::chrono::seconds(10));
    } else {
        if (one_in(2)) { // in the middle of whatever it writes next
            primary_.stop_after(roll(30));
            some_writes();
        }
        const bool power = one_in(2);
        if (power) {
            primary_.power_cut(dice_());
            boot_primary();
        } else {
            primary_.kill();
        }
        line_->reset_all();
        end_sender();
    }
    pass_time(std::chrono::milliseconds(roll(3000)));
    start_sender();
}

void two_sites::crash_receiver() {
    check_counters();
    const bool clean = one_in(4);
    say(clean ? "receiver stops" : "receiver crashes");
    if (clean) {
        stop_receiver_within(std::chrono::seconds(10));
    } else {
        if (one_in(2)) {
            site_.stop_after(roll(60));
            some_writes();
            pass_time(std::chrono::milliseconds(roll(1000)));
        }
        if (one_in(2)) {
            site_.power_cut(dice_());
        } else {
            site_.kill();
        }
        line_->reset_all();
        end_receiver();
    }
    pass_time(std::chrono::milliseconds(roll(3000)));
    start_receiver();
}

void two_sites::disturb_line() {
    line_disturbed_ = true;
    switch (roll(3)) {
    case 0:
        say("line cut");
        line_->cut(std::chrono::milliseconds(roll(500)));
        break;
    case 1:
        say("line half-open");
        line_->half_open();
        break;
    default:
        say("connections reset");
        line_->reset_all();
        break;
    }
}

void two_sites::calm_line() {
    if (line_disturbed_) {
        say("line heals");
        line_->heal();
        line_disturbed_ = false;
    }
}

void two_sites::disturb_disk() {
    if (disk_disturbed_) {
        say("space is back at the DR site");
        site_.set_capacity(1ULL << 40);
        disk_disturbed_ = false;
    } else if (one_in(2)) {
        say("the DR site runs out of space");
        site_.set_capacity(site_.used_bytes() + roll(400'000));
        disk_disturbed_ = true;
    }
}

} // namespace farshore::sim
