// The judge of a simulated life: what a wait promised, what points and replicas hold, what is left
// without the primary.

#include "tests/sim/two_sites.hpp"

#include <fmt/format.h>

namespace farshore::sim {
namespace {

constexpr std::size_t points_judged_max = 200; ///< more than a life has

} // namespace

/// Facts, not words: a disk that has no space or fails, and a copy that could not be opened anew
/// since.
bool two_sites::excused(const replicated_group &g) {
    const receiver_group_status s = receiver_->status()[g.number];
    return disk_disturbed_ || site_.stopped() || s.apply_waits || s.state == receiver_state::failed;
}

/// Nobody writes to the images behind the receiver's back here, but for disasters, so a wrong base
/// is a bug of ours.
void two_sites::check_counters() {
    for (const replicated_group &g : groups_) {
        if (receiver_ && !images_touched_ && receiver_->status()[g.number].wrong_bases > 0) {
            throw broken_promise{"the encoder referred to what the DR site does not have"};
        }
        if (sender_ && sender_->status()[g.number].encoder_faults > 0) {
            throw broken_promise{"the encoder's self-check failed"};
        }
    }
}

result<std::vector<byte_vector>> two_sites::read_point(const replicated_group &g,
                                                       const std::string &point) {
    FS_TRY(devices, await(receiver_access::open_devices(*receiver_, g.name, point),
                          std::chrono::minutes(2)));
    std::vector<byte_vector> images;
    for (std::size_t v = 0; v < g.sizes.size(); ++v) {
        byte_vector image(g.sizes[v]);
        FS_CHECK(devices[v]->read(0, image));
        images.push_back(std::move(image));
    }
    return images;
}

// `latest` is the newest barrier that is durable: what a wait was told to be so must be in it,
// applied or not.
void two_sites::look_at_newest_point(const replicated_group &g) {
    const auto images = read_point(g, "latest");
    if (!images) {
        const bool marked = receiver_->status()[g.number].damaged_points > 0;
        if (g.history_spoilt || (marked && (g.spoilt_once || images_touched_))) {
            return;
        }
        if (g.durable_sequence > 0 && !excused(g)) {
            throw broken_promise{"the newest complete point can't be opened: " +
                                 images.error().text()};
        }
        return;
    }
    const auto k = g.truth.newest_prefix(*images);
    if (!k) {
        throw broken_promise{"the newest point is no prefix of the writes"};
    }
    if (*k < g.durable_sequence && !excused(g)) {
        throw broken_promise{fmt::format("the newest point is prefix {}, but {} was durable", *k,
                                         g.durable_sequence)};
    }
    note(*k);
}

/// All of them, or `max` by dice: whatever is served is a prefix.
void two_sites::look_at_points(const replicated_group &g, std::size_t max) {
    const auto listed = await(receiver_->points(g.name), std::chrono::minutes(1));
    if (!listed || g.history_spoilt) {
        return;
    }
    for (const point_info &p : *listed) {
        if (p.suspect || p.damaged || may_be_mixed(g, p.id) ||
            (listed->size() > max && roll(listed->size()) >= max)) {
            continue;
        }
        const auto images = read_point(g, p.id);
        if (!images &&
            (excused(g) || is(images.error(), errc::not_found))) { // retention may have been faster
            continue;
        }
        if (!images) {
            throw broken_promise{
                fmt::format("point {} can't be read: {}", p.id, images.error().text())};
        }
        if (!g.truth.newest_prefix(*images)) {
            throw broken_promise{
                fmt::format("point {} of {} is no prefix of the writes", p.id, g.name)};
        }
    }
}

void two_sites::wait_for_barrier(replicated_group &g, duration patience, bool must) {
    const std::uint64_t sequence = g.truth.sequence();
    const bool durable_only = !must && one_in(2);
    auto reached =
        await(sender_->wait(g.name, durable_only, patience), patience + std::chrono::minutes(1));
    if (!reached) {
        say("wait: " + reached.error().text());
        if (must) {
            throw broken_promise{"after everything healed: " + reached.error().text()};
        }
        return;
    }
    say(fmt::format("wait: barrier {} covers write {}", reached->barrier.value, sequence));
    g.durable_sequence = sequence;
    look_at_newest_point(g);
    if (one_in(4)) {
        look_at_points(g, 6);
    }
}

void two_sites::finish() {
    say("everything heals");
    calm_line();
    site_.set_capacity(1ULL << 40);
    disk_disturbed_ = false;
    site_.clear_faults();
    primary_.clear_faults();
    heal_sectors();
    check_counters();
    if (one_in(3)) {
        lose_primary();
        return;
    }
    for (replicated_group &g : groups_) {
        compare(g);
        look_at_points(g, points_judged_max);
    }
    if (has_bookmarks()) {
        judge_bookmarks();
    }
    check_openings(true);
    check_counters();
    end_sender();
    end_receiver();
}

void two_sites::compare(replicated_group &g) {
    (void)await(sender_->resume(g.name), command_patience);
    wait_for_barrier(g, std::chrono::minutes(10), true);
    const auto images = read_replica(g);
    for (std::size_t v = 0; v < g.sizes.size(); ++v) {
        if (images[v] != g.truth.content(v)) {
            std::uint64_t at = 0;
            while (images[v][at] == g.truth.content(v)[at]) {
                ++at;
            }
            throw broken_promise{
                fmt::format("replica {} of {} differs from the primary at byte {} of {}",
                            volume_names[v], g.name, at, g.sizes[v])};
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

// The primary site is gone for good: what was acknowledged as durable must come out of the DR site
// alone.
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
        if (state.state == receiver_state::failed) {
            throw broken_promise{"the DR site does not recover: " + state.error.value_or("")};
        }
        look_at_newest_point(g);
        look_at_points(g, points_judged_max);
    }
    check_openings(true);
    if (roll_failover(2) == 0) {
        fail_over();
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

bool two_sites::after_losses(bool done) {
    if (primary_.losses() != losses_seen_ && !primary_.stopped()) {
        losses_seen_ = primary_.losses();
        for (replicated_group &g : groups_) {
            resync_oracle(g);
        }
    }
    return done;
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

two_sites::packed_history two_sites::packed() {
    packed_history all;
    for (const replicated_group &g : groups_) {
        const auto names = site_.list("/state/receiver/groups/" + g.name + "/packed");
        for (const std::string &name : names ? *names : std::vector<std::string>()) {
            ++all.stretches;
            all.merged = all.merged || !name.ends_with("-000000.pack");
        }
    }
    return all;
}

bool two_sites::lent() {
    for (const replicated_group &g : groups_) {
        const auto kept =
            site_.open("/state/receiver/groups/" + g.name + "/loans", open_mode::read);
        const auto bytes = kept ? (*kept)->size() : result<std::uint64_t>(0);
        if (bytes && *bytes > 0) {
            return true;
        }
    }
    return false;
}

} // namespace farshore::sim
