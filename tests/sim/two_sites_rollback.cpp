// What befalls the primary's storage while its daemon does not look: volumes, state or both are put
// back, somebody writes to a volume, the file system is shut down and mounted anew, a clone of the
// host takes over.
//
// Only what capture/dirty_map_cases.hpp and session/handshake.hpp promise to find: a volume or the
// state put back alone after a stop in order, a write behind our back later than the last write of
// ours may be. The judge is the usual one: the content that is found is one more step of the
// primary, and after a catch-up both sites are equal.

#include "tests/sim/two_sites.hpp"

#include <fmt/format.h>

#include <utility>

namespace farshore::sim {

void two_sites::boot_primary() {
    ++boots_;
    primary_forgot_ = clock_.now();
    pass_time(std::chrono::milliseconds(1 + roll(5)));
    boot_began_ = primary_clock_.wall();
    pass_time(std::chrono::milliseconds(1 + roll(5)));
}

void two_sites::stop_sender() { stop_sender_within(std::chrono::seconds(roll(10))); }

void two_sites::kill_sender() {
    primary_.kill();
    line_->reset_all();
    end_sender();
}

/// Now and then what a snapshot of the whole host would hold at this moment, with or without what
/// is not synced.
void two_sites::remember_primary() {
    if (!one_in(6)) {
        return;
    }
    auto &kept = one_in(3) ? clone_ : running_then_;
    if (!kept || one_in(2)) {
        say(&kept == &clone_ ? "the primary is cloned" : "a snapshot of the primary is taken");
        kept = std::make_unique<sim_file_system>(primary_);
        if (one_in(2)) {
            kept->power_cut(dice_());
        }
    }
}

void two_sites::primary_disaster() {
    switch (roll(6)) {
    case 0:
        put_primary_back();
        break;
    case 1:
        put_volumes_back();
        break;
    case 2:
        put_state_back();
        break;
    case 3:
        clone_takes_over();
        break;
    case 4:
        shut_file_system_down();
        break;
    default:
        write_behind_its_back();
        break;
    }
    pass_time(std::chrono::milliseconds(roll(3000)));
    start_sender();
}

void two_sites::put_primary_back() {
    one_in(2) ? stop_sender() : kill_sender();
    const sim_file_system *then =
        one_in(2) && stopped_then_ ? stopped_then_.get() : running_then_.get();
    if (then != nullptr) {
        say(then == stopped_then_.get() ? "the primary is put back to when it had stopped"
                                        : "the primary is put back to a snapshot");
        primary_.put_back(*then, "/");
        boot_primary();
    }
}

void two_sites::put_volumes_back() {
    stop_sender();
    if (const sim_file_system *then =
            one_in(2) && stopped_then_ ? stopped_then_.get() : running_then_.get()) {
        say("the volumes are put back");
        primary_.put_back(*then, "/srv");
    }
}

void two_sites::put_state_back() {
    stop_sender();
    if (stopped_then_) {
        say("the state is put back");
        primary_forgot_ = clock_.now();
        primary_.put_back(*stopped_then_, "/state");
    }
    stopped_then_ = std::make_unique<sim_file_system>(primary_);
}

void two_sites::clone_takes_over() {
    one_in(2) ? stop_sender() : kill_sender();
    auto now = std::make_unique<sim_file_system>(primary_);
    if (clone_) {
        say("the clone takes over");
        primary_.put_back(*clone_, "/");
        boot_primary();
    }
    clone_ = std::move(now);
}

void two_sites::shut_file_system_down() {
    say("the file system of volumes and state is shut down by an error and mounted anew");
    primary_forgot_ = clock_.now();
    primary_.inject(
        {.scope = sim_scope::mutating, .path_prefix = "/", .nth = 1 + roll(10), .forever = true});
    some_writes();
    one_in(2) ? stop_sender() : kill_sender();
    primary_.clear_faults();
    primary_.mount_anew(dice_());
}

void two_sites::write_behind_its_back() {
    const replicated_group &g = any_group();
    switch (roll(3)) {
    case 0:
        stop_sender();
        break;
    case 1:
        kill_sender();
        pass_time(std::chrono::seconds(4));
        break;
    default:
        primary_.power_cut(dice_());
        line_->reset_all();
        end_sender();
        boot_primary();
        break;
    }
    say("somebody writes to a volume that is not served");
    const std::size_t v = roll(g.sizes.size());
    auto f = primary_.open(g.primary_path(v), open_mode::read_write);
    const byte_vector data(std::min<std::uint64_t>(g.sizes[v], 1 + roll(9000)),
                           static_cast<std::byte>(dice_()));
    if (!f || !(*f)->write_at(roll(g.sizes[v] - data.size() + 1), data) || !(*f)->sync_all()) {
        throw broken_promise{"the volume can't be written behind the sender's back"};
    }
}

/// Points leave out what can't be read; everything else of them is a prefix, and at last both sites
/// are equal.
void two_sites::spoil_a_sector() {
    replicated_group &g = any_group();
    const std::size_t v = roll(g.sizes.size());
    const std::uint64_t block = roll(block_count(g.sizes[v]));
    say(fmt::format("block {} of {}-{} can't be read any more", block, g.name, volume_names[v]));
    primary_.spoil_page(g.primary_path(v), block);
    g.truth.forget(v, block);
    sectors_bad_ = true;
}

/// The next look at what could not be read is at most five minutes away.
void two_sites::heal_sectors() {
    primary_.heal_pages();
    if (std::exchange(sectors_bad_, false)) {
        say("all sectors can be read again");
        pass_time(std::chrono::minutes(6));
    }
}

} // namespace farshore::sim
