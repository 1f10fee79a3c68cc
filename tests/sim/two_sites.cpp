#include "tests/sim/two_sites.hpp"

#include "replicator/base/limits.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace farshore::sim {
namespace {

std::vector<std::uint64_t> pick_sizes(std::mt19937_64 &dice) {
    std::vector<std::uint64_t> sizes(1 + dice() % 3);
    for (auto &s : sizes) {
        s = (1 + dice() % 12) * region_bytes - (dice() % 3 == 0 ? 512 * (dice() % 9) : 0);
        s += dice() % 6 == 0 ? (1 + dice() % 3) * limits::MiB : 0; // mostly holes
    }
    return sizes;
}

} // namespace

two_sites::two_sites(two_sites_options options)
    : options_(options), dice_(options.seed), clock_dice_(options.seed * 7 + 5),
      opening_dice_(options.seed * 11 + 3), scrub_dice_(options.seed * 13 + 7),
      bookmark_dice_(options.seed * 17 + 1), rehearsal_dice_(options.seed * 19 + 1),
      primary_(options.seed * 3 + 1), site_(options.seed * 3 + 2),
      failover_dice_(options.seed * 23 + 1) {
    groups_.emplace_back(0, "shop", pick_sizes(dice_));
    if (one_in(3)) {
        groups_.emplace_back(1, "mail", pick_sizes(dice_));
    }
    transport::memory_network_options line;
    line.delay = std::chrono::milliseconds(1 + roll(80));
    line.jitter = std::chrono::milliseconds(roll(10));
    line.bytes_per_second = one_in(2) ? 0 : 50'000 + roll(2'000'000);
    line.seed = options.seed;
    line_ = std::make_unique<transport::memory_network>(io_.get_executor(), clock_, line);
    boot_began_ = primary_clock_.wall();
    // The DR site's files are stamped by a clock that wall-clock jumps don't move: those are of
    // another test.
    primary_.set_stamp_clock([this] { return primary_clock_.wall().time_since_epoch().count(); });
    site_.set_stamp_clock([this] { return clock_.now().time_since_epoch().count() + stamp_epoch; });
    for (sim_file_system *fs : {&primary_, &site_}) {
        if (!fs->make_directories("/srv") || !fs->make_directories("/state")) {
            throw broken_promise{"the simulated disk can't be set up"};
        }
    }
    for (const replicated_group &g : groups_) {
        for (std::size_t v = 0; v < g.sizes.size(); ++v) {
            auto f = primary_.open(g.primary_path(v), open_mode::create_new);
            if (!f || !(*f)->truncate(g.sizes[v]) || !(*f)->sync_data() ||
                !primary_.sync_directory("/srv")) {
                throw broken_promise{"the simulated volume can't be made"};
            }
        }
    }
}

two_sites::~two_sites() = default;

// ---- the life
// --------------------------------------------------------------------------------------

void two_sites::run() {
    set_clocks();
    start_receiver();
    start_sender();
    if (one_in(2)) { // data that was there before replication
        for (std::uint64_t i = roll(40); i > 0; --i) {
            one_write();
        }
    }
    pair();
    const std::uint64_t steps = 15 + roll(30);
    for (std::uint64_t i = 0; i < steps; ++i) {
        step();
    }
    finish();
}

void two_sites::step() {
    remember_primary();
    if (one_in(25)) {
        dr_disaster();
    }
    if (one_in(40)) {
        spoil_a_sector();
    }
    switch (roll(14)) {
    case 0:
        crash_sender();
        break;
    case 1:
        crash_receiver();
        break;
    case 2:
        disturb_line();
        break;
    case 3:
        calm_line();
        break;
    case 4:
        disturb_disk();
        break;
    case 5:
        command();
        break;
    case 6:
        wait_for_barrier(any_group(), std::chrono::seconds(20), false);
        break;
    case 7:
        look_at_newest_point(any_group());
        break;
    case 8:
        primary_disaster();
        break;
    case 9:
        keep_points();
        break;
    default:
        some_writes();
        break;
    }
    opening_step();
    scrub_step();
    bookmark_step();
    rehearsal_step();
    judge_retention();
    judge_kept_points();
    note(static_cast<std::uint64_t>(clock_.now().time_since_epoch().count()));
    note(line_->bytes_carried());
}

void two_sites::some_writes() {
    for (std::uint64_t i = 1 + roll(30); i > 0; --i) {
        one_write();
        if (one_in(3)) {
            pass_time(std::chrono::milliseconds(roll(300)));
        }
    }
}

void two_sites::one_write() {
    replicated_group &g = any_group();
    const std::size_t v = roll(g.sizes.size());
    const auto device =
        sender_access::device(*sender_, g.name, volume_index{static_cast<std::uint16_t>(v)});
    if (groups_.size() > 1 && one_in(6)) {
        copy_over(g, v, *device);
        return;
    }
    const std::uint64_t unit = one_in(4) ? 1 : one_in(3) ? 512 : block_bytes;
    const std::uint64_t units = std::max<std::uint64_t>(g.sizes[v] / unit, 1);
    const std::uint64_t offset = roll(units) * unit;
    const std::uint64_t room = g.sizes[v] - offset;
    const std::uint64_t length = std::min<std::uint64_t>(
        room, std::max<std::uint64_t>(1, roll(one_in(8) ? 200'000 : 12'000)) / unit * unit + unit);
    result<> done{};
    if (one_in(8)) {
        const auto at_once = device->try_zero({offset, length}, {});
        if (!at_once || !*at_once) {
            done = one_in(2) ? device->trim({offset, length}, one_in(4))
                             : device->write_zeroes({offset, length}, {});
        }
        if (done) {
            g.truth.zero(v, {offset, length});
        }
    } else {
        byte_vector data(length);
        // Random, of few different bytes, constant; or bytes of another place, as logs, file copies
        // and double writes make them.
        const std::uint64_t kind = roll(5);
        for (std::size_t i = 0; i < data.size(); i += 8) {
            const std::uint64_t x = kind == 0   ? dice_()
                                    : kind == 1 ? dice_() & 0x0707070707070707ULL
                                    : kind == 2 ? g.truth.sequence()
                                                : 0x4141414141414141ULL;
            std::memcpy(data.data() + i, &x, std::min<std::size_t>(8, data.size() - i));
        }
        if (kind == 4) {
            const byte_vector &from = g.truth.content(roll(g.sizes.size()));
            const std::size_t at = roll(from.size());
            const std::size_t some = std::min(data.size(), from.size() - at);
            std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(at), some, data.begin());
        }
        done = device->write(offset, data, one_in(8));
        if (done) {
            g.truth.write(v, offset, data);
        }
    }
    if (one_in(20) && done) {
        done = device->flush();
    }
    if (!done) {
        write_failed(g, done.error());
    }
}

void two_sites::write_failed(replicated_group &g, const error &why) {
    say("write failed: " + why.text());
    if (!primary_.stopped()) {
        resync_oracle(g);
    }
}

// Files copied from a volume of another group, block for block: what loans are for.
void two_sites::copy_over(replicated_group &g, std::size_t v, block_device &device) {
    const replicated_group &other = groups_[1 - g.number];
    const byte_vector &from = other.truth.content(roll(other.sizes.size()));
    const std::uint64_t at = roll(from.size() / block_bytes) * block_bytes;
    const std::uint64_t to = roll(g.sizes[v] / block_bytes) * block_bytes;
    const std::uint64_t room =
        std::min<std::uint64_t>(from.size() - at, g.sizes[v] - to) / block_bytes * block_bytes;
    const std::uint64_t length = std::min(room, (16 + roll(32)) * block_bytes);
    const bytes_view data = bytes_view(from).subspan(at, length);
    if (const auto done = device.write(to, data, false); !done) {
        write_failed(g, done.error());
        return;
    }
    g.truth.write(v, to, data);
}

void two_sites::command() {
    const replicated_group &g = any_group();
    switch (roll(4)) {
    case 0:
        say("pause");
        (void)await(sender_->pause(g.name), command_patience);
        some_writes();
        say("resume");
        (void)await(sender_->resume(g.name), command_patience);
        break;
    case 1:
        say("resync");
        (void)await(sender_->resync(g.name, one_in(3)), command_patience);
        break;
    case 2: {
        say("wall clock jumps");
        clock_.jump_wall(std::chrono::seconds(static_cast<std::int64_t>(roll(7200)) - 3600));
        disturb_clock();
        break;
    }
    default: {
        const auto status = sender_->status();
        note(static_cast<std::uint64_t>(status[g.number].state));
        break;
    }
    }
}

// ---- small things
// ----------------------------------------------------------------------------------

std::uint64_t two_sites::roll(std::uint64_t n) { return n == 0 ? 0 : dice_() % n; }

void two_sites::pass_time(duration d) {
    const time_point end = clock_.now() + d;
    test::run_until(io_, clock_, [&] { return after_losses(false); }, d);
    test::run_for(io_, clock_, end - clock_.now());
}

void two_sites::note(std::uint64_t value) {
    trace_ = (trace_ ^ value) * 0x9E3779B97F4A7C15ULL;
    trace_ ^= trace_ >> 29;
}

void two_sites::say(const std::string &text) {
    if (options_.verbose) {
        std::fprintf(stderr, "%10.3f %s\n", seconds_of(clock_.now().time_since_epoch()) - 86400,
                     text.c_str());
    }
}

} // namespace farshore::sim
