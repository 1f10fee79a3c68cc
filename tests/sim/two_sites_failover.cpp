// The DR site takes over when the primary is lost: it is promoted, serves clients, is killed or
// loses its power and serves on; the old primary comes back, is fenced, and follows. With dice of
// its own, in half of the lives that lose their primary.
//
// Judged: what is served is a prefix of the writes with all that a wait told; the points of before
// stay prefixes whatever clients write; a restart has what was flushed; the primary that returns
// takes no write; what it alone had is a point, byte by byte; and at the end both sites are equal.

#include "tests/sim/two_sites.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore::sim {
namespace {

constexpr std::size_t points_judged_max = 200;

} // namespace

std::uint64_t two_sites::roll_failover(std::uint64_t n) { return failover_dice_() % n; }

std::shared_ptr<block_device> two_sites::served_device(std::size_t group, std::size_t v) {
    return served_->device(groups_[group].name, volume_index{static_cast<std::uint16_t>(v)});
}

void two_sites::fail_over() {
    std::vector<served_model> served;
    for (replicated_group &g : groups_) {
        if (promote(g, served)) {
            for (std::uint64_t i = roll_failover(30); i > 0; --i) {
                write_served(served.back());
            }
            look_at_points(g, points_judged_max);
        }
    }
    for (std::uint64_t rounds = roll_failover(3); rounds > 0; --rounds) {
        restart_served();
        for (served_model &m : served) {
            judge_served(m);
            look_at_points(groups_[m.group], points_judged_max);
            write_served(m);
        }
    }
    if (!served.empty() && roll_failover(3) != 0) {
        primary_returns(served);
    }
}

/// False: there is nothing good to promote, and it says so.
bool two_sites::promote(replicated_group &g, std::vector<served_model> &served) {
    const auto done = await(served_->promote(g.name, "", false, {}), std::chrono::minutes(2));
    if (!done) {
        say("promote: " + done.error().text());
        const receiver_group_status s = receiver_->status()[g.number];
        const bool nothing_good = g.durable_sequence == 0 || s.suspect_points > 0 ||
                                  s.damaged_points > 0 || g.history_spoilt;
        if (!nothing_good) {
            throw broken_promise{"the DR site can't be promoted: " + done.error().text()};
        }
        return false;
    }
    say(fmt::format("{} is promoted at point {}", g.name, done->point.id));
    served_model m;
    m.group = g.number;
    for (std::size_t v = 0; v < g.sizes.size(); ++v) {
        m.volumes.emplace_back(g.sizes[v]);
        if (!served_device(g.number, v)->read(0, m.volumes.back())) {
            throw broken_promise{"a served volume can't be read"};
        }
    }
    const auto k = g.truth.newest_prefix(m.volumes);
    const bool mixed = may_be_mixed(g, done->point.id);
    if (!k && !mixed && !g.history_spoilt) {
        throw broken_promise{"what is served is no prefix of the writes"};
    }
    if (k && *k < g.durable_sequence && !g.history_spoilt) {
        throw broken_promise{
            fmt::format("prefix {} is served, and {} was durable", *k, g.durable_sequence)};
    }
    note(k.value_or(0));
    served.push_back(std::move(m));
    return true;
}

void two_sites::write_served(served_model &m) {
    const std::size_t v = roll_failover(m.volumes.size());
    byte_vector &content = m.volumes[v];
    const std::uint64_t offset = roll_failover(content.size());
    byte_vector data(std::min<std::uint64_t>(content.size() - offset, 1 + roll_failover(20'000)));
    std::ranges::generate(data, [&] { return static_cast<std::byte>(failover_dice_()); });
    if (auto done = served_device(m.group, v)->write(offset, data, false); !done) {
        throw broken_promise{"a client's write at the DR site fails: " + done.error().text()};
    }
    std::ranges::copy(data, content.begin() + static_cast<std::ptrdiff_t>(offset));
}

void two_sites::flush_served(const served_model &m) {
    for (std::size_t v = 0; v < m.volumes.size(); ++v) {
        if (auto done = served_device(m.group, v)->flush(); !done) {
            throw broken_promise{"a client's flush at the DR site fails: " + done.error().text()};
        }
    }
}

void two_sites::judge_served(const served_model &m) {
    flush_served(m);
    for (std::size_t v = 0; v < m.volumes.size(); ++v) {
        byte_vector content(m.volumes[v].size());
        if (!served_device(m.group, v)->read(0, content) || content != m.volumes[v]) {
            throw broken_promise{"the DR site does not serve what its clients wrote"};
        }
    }
}

/// What is flushed stays.
void two_sites::restart_served() {
    for (const replicated_group &g : groups_) {
        for (std::size_t v = 0; v < g.sizes.size(); ++v) {
            if (const auto device = served_device(g.number, v); device && !device->flush()) {
                throw broken_promise{"a client's flush at the DR site fails"};
            }
        }
    }
    std::vector<bool> before;
    for (const replicated_group &g : groups_) {
        before.push_back(served_device(g.number, 0) != nullptr);
    }
    switch (roll_failover(3)) {
    case 0:
        say("the DR site loses its power");
        site_.power_cut(failover_dice_());
        ++site_boots_;
        break;
    case 1:
        say("the DR site's receiver is killed");
        site_.kill();
        break;
    default:
        say("the DR site's receiver stops");
        break;
    }
    line_->reset_all();
    end_receiver();
    start_receiver();
    const bool back = test::run_until(
        io_, clock_,
        [&] {
            return std::ranges::all_of(groups_, [&](const replicated_group &g) {
                return !before[g.number] || served_device(g.number, 0) != nullptr;
            });
        },
        std::chrono::minutes(2));
    if (!back) {
        throw broken_promise{"the DR site does not serve again"};
    }
}

void two_sites::primary_returns(std::vector<served_model> &served) {
    say("the old primary is back");
    failing_over_ = true;
    if (roll_failover(2) == 0) {
        boot_primary();
    }
    start_sender();
    for (served_model &m : served) {
        turn_round(m);
    }
    if (roll_failover(2) == 0) {
        say("and is restarted");
        flush_served(served.front());
        primary_.kill();
        line_->reset_all();
        end_sender();
        start_sender();
        for (served_model &m : served) {
            write_served(m);
            turn_round(m);
        }
    }
    for (std::uint64_t rounds = roll_failover(4); rounds > 0; --rounds) {
        for (served_model &m : served) {
            switch_over(m);
        }
    }
    end_sender();
}

/// Until it follows and both sites are equal.
void two_sites::turn_round(served_model &m) {
    replicated_group &g = groups_[m.group];
    const bool turned = turned_->has(g.name);
    const auto state = [&] {
        for (const auto &all : {sender_->status(), turned_->status()}) {
            for (const sender_group_status &s : all) {
                if (s.name == g.name) {
                    return s.state;
                }
            }
        }
        return sender_state::failed;
    };
    std::vector<byte_vector> alone;
    if (!turned) {
        if (!test::run_until(
                io_, clock_, [&] { return state() == sender_state::fenced; },
                std::chrono::minutes(5))) {
            throw broken_promise{"the old primary does not hear of the promotion"};
        }
        if (sender_access::device(*sender_, g.name, volume_index{})
                ->write(0, byte_vector(512), false)) {
            throw broken_promise{"a fenced primary takes a write"};
        }
        alone = read_primary(g);
        if (auto done = await(turned_->reverse(g.name), std::chrono::minutes(2)); !done) {
            throw broken_promise{"it can't be reversed: " + done.error().text()};
        }
    }
    const time_point until = clock_.now() + std::chrono::minutes(10);
    result<wait_outcome> reached = fail(errc::not_in_sync, "nobody served");
    while (!reached && clock_.now() < until) {
        if (sender *half = served_->half(g.name)) {
            reached =
                await(half->wait(g.name, false, std::chrono::seconds(30)), std::chrono::minutes(2));
        }
        pass_time(std::chrono::seconds(1));
    }
    if (!reached) {
        throw broken_promise{"the old primary does not come in sync: " + reached.error().text()};
    }
    if (read_primary(g) != m.volumes) {
        throw broken_promise{"the site that follows differs from the one that serves"};
    }
    if (alone.empty()) {
        return;
    }
    const auto points = await(turned_->copies().points(g.name), std::chrono::minutes(1));
    const auto kept =
        points ? std::ranges::find_if(
                     *points, [](const point_info &p) { return p.name.starts_with("diverged-"); })
               : std::vector<point_info>::const_iterator{};
    if (!points || kept == points->end()) {
        throw broken_promise{"what the old primary alone had is no point"};
    }
    auto devices = await(receiver_access::open_devices(turned_->copies(), g.name, kept->id),
                         std::chrono::minutes(1));
    for (std::size_t v = 0; v < alone.size(); ++v) {
        byte_vector content(alone[v].size());
        if (!devices || !(*devices)[v]->read(0, content) || content != alone[v]) {
            throw broken_promise{"the point of what the old primary had is something else"};
        }
    }
}

} // namespace farshore::sim
