// The judge of a simulated life: what a wait promised, what points and replicas hold, what is left without the primary.

#include "tests/sim/two_sites.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace farshore::sim {

void two_sites::look_at_newest_point(const replicated_group &g) {
    // Without space a crashed copy can't be replayed: its newest point is in the journal until space is back and the
    // copy was opened anew. The receiver says so as long as it lasts.
    const bool in_trouble = disk_disturbed_ || receiver_->status()[g.number].error.has_value();
    auto devices = engine::receiver_access::open_devices(*receiver_, g.name, "latest");
    if (!devices) {
        if (g.safe_sequence > 0 && !in_trouble &&
            receiver_->status()[g.number].state != engine::receiver_state::failed) {
            throw broken_promise{"the newest complete point can't be opened: " + devices.error().text()};
        }
        return;
    }
    std::vector<byte_vector> images;
    for (std::size_t v = 0; v < g.sizes.size(); ++v) {
        byte_vector image(g.sizes[v]);
        if (auto got = (*devices)[v]->read(0, image); !got) {
            if (site_.stopped()) {
                return;
            }
            throw broken_promise{"a point can't be read: " + got.error().text()};
        }
        images.push_back(std::move(image));
    }
    const auto k = g.truth.newest_prefix(images, g.spoiled);
    if (!k) {
        throw broken_promise{"the newest point is no prefix of the writes"};
    }
    if (*k < g.safe_sequence && !in_trouble) {
        throw broken_promise{fmt::format("the newest point is prefix {}, but {} was acknowledged", *k, g.safe_sequence)};
    }
    note(*k);
}

void two_sites::wait_for_barrier(replicated_group &g, duration patience, bool must) {
    const std::uint64_t sequence = g.truth.sequence();
    const bool durable_only = !must && one_in(2);
    auto reached = await(sender_->wait(g.name, durable_only, patience), patience + std::chrono::minutes(1));
    if (!reached) {
        say("wait: " + reached.error().text());
        if (must) {
            throw broken_promise{"after everything healed: " + reached.error().text()};
        }
        return;
    }
    say(fmt::format("wait: barrier {} covers write {}", reached->barrier.value, sequence));
    g.durable_sequence = sequence;
    if (!durable_only) { // the images show it: from here on a point that has it can be opened
        g.safe_sequence = sequence;
        look_at_newest_point(g);
    }
}

void two_sites::finish() {
    say("everything heals");
    calm_line();
    site_.set_capacity(1ULL << 40);
    disk_disturbed_ = false;
    site_.clear_faults();
    primary_.clear_faults();
    primary_.heal_pages();
    must_not_have_happened();
    if (one_in(3)) {
        lose_primary();
        return;
    }
    for (replicated_group &g : groups_) {
        compare(g);
    }
    end_sender();
    end_receiver();
}

/// What no fault of disks, lines or hosts excuses.
void two_sites::must_not_have_happened() {
    for (const auto &status : sender_->status()) {
        if (status.encoder_faults > 0) {
            throw broken_promise{fmt::format("group {}: the encoder's self-check failed", status.name)};
        }
    }
}

void two_sites::compare(replicated_group &g) {
    (void)sender_->resume(g.name);
    // What could not be read is read again by itself, in five minutes at the latest.
    if (!test::run_until(io_, clock_, [&] {
            const auto status = sender_->status()[g.number];
            return std::ranges::all_of(status.volumes, [](const auto &v) { return v.unreadable_bytes == 0; });
        }, std::chrono::minutes(10))) {
        throw broken_promise{"what can be read again is not noticed"};
    }
    wait_for_barrier(g, std::chrono::minutes(10), true);
    const auto images = read_replica(g);
    for (std::size_t v = 0; v < g.sizes.size(); ++v) {
        if (images[v] != g.truth.content(v)) {
            std::uint64_t at = 0;
            while (images[v][at] == g.truth.content(v)[at]) {
                ++at;
            }
            throw broken_promise{fmt::format("replica {} of {} differs from the primary at byte {} of {}", volume_names[v],
                                             g.name, at, g.sizes[v])};
        }
    }
    auto verified = await(sender_->verify(g.name, {}), std::chrono::minutes(10));
    if (!verified) {
        throw broken_promise{"verify failed: " + verified.error().text()};
    }
    if (!verified->equal) {
        throw broken_promise{"verify gives a false alarm"};
    }
}

// The primary site is gone for good: what was acknowledged as durable must come out of the DR site alone.
void two_sites::lose_primary() {
    say("the primary is lost");
    primary_.kill();
    line_->reset_all();
    end_sender();
    if (one_in(2)) {
        site_.power_cut(dice_());
        end_receiver();
        start_receiver();
    }
    pass_time(std::chrono::minutes(2));
    for (replicated_group &g : groups_) {
        const auto state = receiver_->status()[g.number];
        if (state.state == engine::receiver_state::failed) {
            throw broken_promise{"the DR site does not recover: " + state.error.value_or("")};
        }
        // A catch-up that was under way leaves the point before it; else everything durable is in the newest point.
        if (state.state == engine::receiver_state::following) {
            g.safe_sequence = std::max(g.safe_sequence, g.durable_sequence);
        }
        look_at_newest_point(g);
    }
    end_receiver();
}

std::vector<byte_vector> two_sites::read_primary(const replicated_group &g) {
    std::vector<byte_vector> images;
    primary_.see_bad_pages(false);
    for (std::size_t v = 0; v < g.sizes.size(); ++v) {
        byte_vector image(g.sizes[v]);
        auto f = primary_.open(g.primary_path(v), open_mode::read);
        if (!f || !(*f)->read_at(0, image)) {
            throw broken_promise{"the primary's volume can't be read"};
        }
        images.push_back(std::move(image));
    }
    primary_.see_bad_pages(true);
    return images;
}

void two_sites::resync_oracle(replicated_group &g) {
    auto images = read_primary(g);
    for (std::size_t v = 0; v < g.sizes.size(); ++v) {
        if (images[v] != g.truth.content(v)) {
            say("the primary's content is not what was written; that is a step of its own");
            g.truth.becomes(images);
            break;
        }
    }
}

std::vector<byte_vector> two_sites::read_replica(const replicated_group &g) {
    std::vector<byte_vector> images;
    for (std::size_t v = 0; v < g.sizes.size(); ++v) {
        byte_vector image(g.sizes[v]);
        auto f = site_.open(g.replica_path(v), open_mode::read);
        if (!f || !(*f)->read_at(0, image)) {
            throw broken_promise{"the replica can't be read"};
        }
        images.push_back(std::move(image));
    }
    return images;
}

bool two_sites::lent() {
    for (const replicated_group &g : groups_) {
        const auto kept = site_.open("/state/receiver/groups/" + g.name + "/loans", open_mode::read);
        const auto bytes = kept ? (*kept)->size() : result<std::uint64_t>(0);
        if (bytes && *bytes > 0) {
            return true;
        }
    }
    return false;
}

} // namespace farshore::sim
