// Planned changes of roles, there and back, once both sites can hold either: nothing that a client
// wrote is lost, and whatever breaks on the way, one site serves all of it and the other follows.
// With the dice of the failover.

#include "tests/sim/two_sites.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore::sim {
namespace {

constexpr duration settled_within = std::chrono::minutes(10);

} // namespace

/// Of the site that serves the group now; null: none does.
sender *two_sites::serving_half(const replicated_group &g, bool &at_site) {
    at_site = false;
    const auto reads = [&](sender *half) {
        byte_vector out(512);
        return half != nullptr && half->party(g.name) != nullptr &&
               sender_access::device(*half, g.name, volume_index{0})->read(0, out);
    };
    if (sender *there = served_->half(g.name); reads(there)) {
        at_site = true;
        return there;
    }
    sender *here = turned_->has(g.name) ? turned_->served().half(g.name) : sender_.get();
    return reads(here) ? here : nullptr;
}

void two_sites::write_where_served(served_model &m) {
    bool at_site = false;
    sender *half = serving_half(groups_[m.group], at_site);
    if (half == nullptr) {
        throw broken_promise{"no site serves"};
    }
    for (std::uint64_t i = 1 + roll_failover(4); i > 0; --i) {
        const std::size_t v = roll_failover(m.volumes.size());
        byte_vector &content = m.volumes[v];
        const std::uint64_t offset = roll_failover(content.size());
        byte_vector data(
            std::min<std::uint64_t>(content.size() - offset, 1 + roll_failover(20'000)));
        std::ranges::generate(data, [&] { return static_cast<std::byte>(failover_dice_()); });
        const auto device = sender_access::device(*half, groups_[m.group].name,
                                                  volume_index{static_cast<std::uint16_t>(v)});
        if (auto done = device->write(offset, data, true); !done) {
            throw broken_promise{"a client's write fails: " + done.error().text()};
        }
        std::ranges::copy(data, content.begin() + static_cast<std::ptrdiff_t>(offset));
    }
}

/// Until one site serves what clients wrote, and the other holds the same.
void two_sites::settle_roles(const served_model &m) {
    const replicated_group &g = groups_[m.group];
    const time_point until = clock_.now() + settled_within;
    result<wait_outcome> reached = fail(errc::not_in_sync, "nobody serves");
    bool at_site = false;
    while (!reached && clock_.now() < until) {
        if (sender *half = serving_half(g, at_site)) {
            reached =
                await(half->wait(g.name, false, std::chrono::seconds(30)), std::chrono::minutes(2));
        }
        pass_time(std::chrono::seconds(1));
    }
    if (!reached) {
        throw broken_promise{"after a switchover: " + reached.error().text()};
    }
    std::vector<byte_vector> there;
    for (std::size_t v = 0; v < m.volumes.size(); ++v) {
        there.emplace_back(m.volumes[v].size());
        const auto image = site_.open(g.replica_path(v), open_mode::read);
        if (!image || !(*image)->read_at(0, there.back())) {
            throw broken_promise{"the DR site's image can't be read"};
        }
    }
    if (read_primary(g) != m.volumes || there != m.volumes) {
        throw broken_promise{fmt::format("after a switchover {} does not have what clients wrote",
                                         there == m.volumes ? "the primary" : "the DR site")};
    }
}

/// At any moment of a switchover.
void two_sites::disturb_switchover() {
    test::run_for(io_, clock_, std::chrono::milliseconds(roll_failover(1500)));
    const bool power = roll_failover(2) == 0;
    switch (roll_failover(4)) {
    case 0:
        say("the line breaks");
        line_->cut(std::chrono::milliseconds(roll_failover(500)));
        test::run_for(io_, clock_, std::chrono::seconds(roll_failover(40)));
        line_->heal();
        break;
    case 1:
        say("the DR site ends");
        power ? site_.power_cut(failover_dice_()) : site_.kill();
        site_boots_ += power ? 1 : 0;
        line_->reset_all();
        end_receiver();
        start_receiver();
        break;
    case 2:
        say("the primary ends");
        if (power) {
            primary_.power_cut(failover_dice_());
            boot_primary();
        } else {
            primary_.kill();
        }
        line_->reset_all();
        end_sender();
        start_sender();
        break;
    default:
        break;
    }
}

void two_sites::switch_over(served_model &m) {
    const replicated_group &g = groups_[m.group];
    settle_roles(m);
    write_where_served(m);
    bool at_site = false;
    serving_half(g, at_site);
    say(fmt::format("switchover of {} from the {}", g.name, at_site ? "DR site" : "primary"));
    const duration patience = std::chrono::seconds(20);
    std::optional<result<std::vector<switchover_outcome>>> out;
    asio::co_spawn(io_,
                   store_result(at_site ? served_->switchover({g.name}, patience)
                                        : turned_->switchover({g.name}, patience),
                                out),
                   asio::detached);
    const bool disturbed = roll_failover(3) != 0;
    if (disturbed) {
        disturb_switchover();
    }
    if (!test::run_until(io_, clock_, [&] { return out.has_value(); }, std::chrono::minutes(3))) {
        throw broken_promise{"a switchover does not come to its end"};
    }
    say(*out ? "done" : "not done: " + out->error().text());
    if (!*out && !disturbed) {
        throw broken_promise{"a switchover fails: " + out->error().text()};
    }
    settle_roles(m);
    bool now_at_site = false;
    serving_half(g, now_at_site);
    if (*out && now_at_site == at_site) {
        throw broken_promise{"a switchover that was told to be done is not"};
    }
    write_where_served(m);
}

} // namespace farshore::sim
