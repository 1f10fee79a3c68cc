#include "tests/sim/two_sites.hpp"

#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"

#include <cstdio>
#include <fmt/format.h>

namespace farshore::sim {
namespace {

constexpr const char *group_name = "shop";
constexpr const char *address = "site:7420";
constexpr const char *volume_names[] = {"data", "wal", "tmp"};
const std::string sender_fingerprint(64, 'a');
const std::string receiver_fingerprint(64, 'b');

std::string image_path(const std::string &directory, std::size_t v) {
    return fmt::format("{}/{}.img", directory, volume_names[v]);
}

template <class T> task<void> store_result(task<T> t, std::optional<T> &out) { out.emplace(co_await std::move(t)); }
task<void> mark_done(task<void> t, bool &done) {
    co_await std::move(t);
    done = true;
}

std::vector<std::uint64_t> pick_sizes(std::mt19937_64 &dice) {
    std::vector<std::uint64_t> sizes(1 + dice() % 3);
    for (auto &s : sizes) {
        s = (1 + dice() % 12) * region_bytes - (dice() % 3 == 0 ? 512 * (dice() % 9) : 0);
    }
    return sizes;
}

} // namespace

two_sites::two_sites(two_sites_options options)
    : options_(options), dice_(options.seed), primary_(options.seed * 3 + 1), site_(options.seed * 3 + 2),
      sizes_(pick_sizes(dice_)), oracle_(sizes_) {
    transport::memory_network_options line;
    line.delay = std::chrono::milliseconds(1 + roll(80));
    line.jitter = std::chrono::milliseconds(roll(10));
    line.bytes_per_second = one_in(2) ? 0 : 50'000 + roll(2'000'000);
    line.seed = options.seed;
    line_ = std::make_unique<transport::memory_network>(io_.get_executor(), clock_, line);
    for (sim_file_system *fs : {&primary_, &site_}) {
        if (!fs->make_directories("/srv") || !fs->make_directories("/state")) {
            throw broken_promise{"the simulated disk can't be set up"};
        }
    }
    for (std::size_t v = 0; v < sizes_.size(); ++v) {
        auto f = primary_.open(image_path("/srv", v), open_mode::create_new);
        if (!f || !(*f)->truncate(sizes_[v]) || !(*f)->sync_data() || !primary_.sync_directory("/srv")) {
            throw broken_promise{"the simulated volume can't be made"};
        }
    }
}

two_sites::~two_sites() = default;

// ---- hosts -----------------------------------------------------------------------------------------

template <class T> T two_sites::await(task<T> t, duration patience) {
    if constexpr (std::is_void_v<T>) {
        auto done = std::make_shared<bool>(false);
        asio::co_spawn(io_, mark_done(std::move(t), *done), asio::detached);
        if (!test::run_until(io_, clock_, [&] { return *done; }, patience)) {
            throw broken_promise{"a call did not return"};
        }
    } else {
        auto out = std::make_shared<std::optional<T>>();
        asio::co_spawn(io_, store_result(std::move(t), *out), asio::detached);
        if (!test::run_until(io_, clock_, [&] { return out->has_value(); }, patience)) {
            throw broken_promise{"a call did not return"};
        }
        return std::move(**out);
    }
}

void two_sites::start_sender() {
    for (int attempt = 0;; ++attempt) {
        sender_files_ = primary_.process();
        engine::sender_config config;
        config.state = "/state/sender";
        config.memory_bytes_max = 24 * limits::MiB;
        config.links = 1 + static_cast<std::uint32_t>(options_.seed % 3);
        engine::sender_group_config group;
        group.name = group_name;
        group.interval = std::chrono::milliseconds(200 + options_.seed % 5 * 200);
        group.verify_encoding = true;
        group.spool_bytes_max = options_.seed % 4 == 0 ? 2 * limits::MiB : 64 * limits::MiB;
        for (std::size_t v = 0; v < sizes_.size(); ++v) {
            group.volumes.push_back({volume_names[v], image_path("/srv", v), ""});
        }
        config.groups.push_back(group);
        const executor ex = io_.get_executor();
        sender_ = std::make_unique<engine::sender>(config, runtime{ex, ex, ex, &clock_}, *sender_files_,
                                                   std::vector<executor>{ex});
        engine::sender_access::set_network(
            *sender_, std::make_unique<sim_network>(*line_, sender_fingerprint, receiver_fingerprint),
            fmt::format("boot-{}", boots_));
        auto started = await(sender_->start(), std::chrono::minutes(1));
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
    resync_oracle();
}

void two_sites::start_receiver() {
    for (int attempt = 0;; ++attempt) {
        receiver_files_ = site_.process();
        engine::receiver_config config;
        config.state = "/state/receiver";
        config.listen = address;
        config.memory_bytes_max = 24 * limits::MiB;
        engine::receiver_group_config group;
        group.name = group_name;
        group.replica = "/srv/replica";
        group.journal_bytes_max = 64 * limits::MiB;
        config.groups.push_back(group);
        const executor ex = io_.get_executor();
        receiver_ = std::make_unique<engine::receiver>(config, runtime{ex, ex, ex, &clock_}, *receiver_files_,
                                                       std::vector<executor>{ex});
        engine::receiver_access::set_network(
            *receiver_, std::make_unique<sim_network>(*line_, receiver_fingerprint, sender_fingerprint));
        auto started = await(receiver_->start(), std::chrono::minutes(1));
        if (started) {
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

void two_sites::end_sender() {
    await(sender_->stop(duration{}), std::chrono::minutes(2));
    sender_.reset();
}
void two_sites::end_receiver() {
    await(receiver_->stop(duration{}), std::chrono::minutes(2));
    receiver_.reset();
}

void two_sites::pair() {
    auto invitation = receiver_->invite(group_name, address);
    if (!invitation) {
        throw broken_promise{"no invitation: " + invitation.error().text()};
    }
    auto joined = await(sender_->join(invitation->token), std::chrono::seconds(30));
    if (!joined) {
        throw broken_promise{"can't join: " + joined.error().text()};
    }
}

// ---- the life --------------------------------------------------------------------------------------

void two_sites::run() {
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
    switch (roll(12)) {
    case 0: crash_sender(); break;
    case 1: crash_receiver(); break;
    case 2: disturb_line(); break;
    case 3: calm_line(); break;
    case 4: disturb_disk(); break;
    case 5: command(); break;
    case 6: wait_for_barrier(std::chrono::seconds(20), false); break;
    case 7: look_at_newest_point(); break;
    default: some_writes(); break;
    }
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
    const std::size_t v = roll(sizes_.size());
    const auto device = engine::sender_access::device(*sender_, group_name, volume_index{static_cast<std::uint16_t>(v)});
    const std::uint64_t unit = one_in(4) ? 1 : one_in(3) ? 512 : block_bytes;
    const std::uint64_t units = std::max<std::uint64_t>(sizes_[v] / unit, 1);
    const std::uint64_t offset = roll(units) * unit;
    const std::uint64_t room = sizes_[v] - offset;
    const std::uint64_t length = std::min<std::uint64_t>(room, std::max<std::uint64_t>(1, roll(one_in(8) ? 200'000 : 12'000)) / unit * unit + unit);
    result<> done{};
    if (one_in(8)) {
        done = one_in(2) ? device->trim({offset, length}, one_in(4)) : device->write_zeroes({offset, length}, {});
        if (done) {
            oracle_.zero(v, {offset, length});
        }
    } else {
        byte_vector data(length);
        // Random, of few different bytes, constant; or bytes of another place, as logs, file copies and
        // double writes make them.
        const std::uint64_t kind = roll(5);
        for (std::size_t i = 0; i < data.size(); i += 8) {
            const std::uint64_t x = kind == 0   ? dice_()
                                    : kind == 1 ? dice_() & 0x0707070707070707ULL
                                    : kind == 2 ? oracle_.sequence()
                                                : 0x4141414141414141ULL;
            std::memcpy(data.data() + i, &x, std::min<std::size_t>(8, data.size() - i));
        }
        if (kind == 4) {
            const byte_vector &from = oracle_.content(roll(sizes_.size()));
            const std::size_t at = roll(from.size());
            const std::size_t some = std::min(data.size(), from.size() - at);
            std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(at), some, data.begin());
        }
        done = device->write(offset, data, one_in(8));
        if (done) {
            oracle_.write(v, offset, data);
        }
    }
    if (one_in(20) && done) {
        done = device->flush();
    }
    if (!done) {
        say("write failed: " + done.error().text());
        if (!primary_.stopped()) {
            resync_oracle();
        }
    }
}

void two_sites::crash_sender() {
    const bool clean = one_in(4);
    say(clean ? "sender stops" : "sender crashes");
    if (clean) {
        await(sender_->stop(std::chrono::seconds(10)), std::chrono::minutes(2));
        sender_.reset();
    } else {
        if (one_in(2)) { // in the middle of whatever it writes next
            primary_.stop_after(roll(30));
            some_writes();
        }
        const bool power = one_in(2);
        if (power) {
            primary_.power_cut(dice_());
            ++boots_;
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
    const bool clean = one_in(4);
    say(clean ? "receiver stops" : "receiver crashes");
    if (clean) {
        await(receiver_->stop(std::chrono::seconds(10)), std::chrono::minutes(2));
        receiver_.reset();
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

void two_sites::command() {
    switch (roll(4)) {
    case 0:
        say("pause");
        (void)sender_->pause(group_name);
        some_writes();
        say("resume");
        (void)sender_->resume(group_name);
        break;
    case 1:
        say("resync");
        (void)sender_->resync(group_name, one_in(3));
        break;
    case 2: {
        say("wall clock jumps");
        clock_.jump_wall(std::chrono::seconds(static_cast<std::int64_t>(roll(7200)) - 3600));
        break;
    }
    default: {
        const auto status = sender_->status();
        note(static_cast<std::uint64_t>(status.front().state));
        break;
    }
    }
}

// ---- the judge -------------------------------------------------------------------------------------

void two_sites::look_at_newest_point() {
    // Without space a crashed copy can't be replayed: its newest point is in the journal until space is back and the
    // copy was opened anew. The receiver says so as long as it lasts.
    const bool in_trouble = disk_disturbed_ || receiver_->status().front().error.has_value();
    auto devices = engine::receiver_access::open_devices(*receiver_, group_name, "latest");
    if (!devices) {
        if (safe_sequence_ > 0 && !in_trouble && receiver_->status().front().state != engine::receiver_state::failed) {
            throw broken_promise{"the newest complete point can't be opened: " + devices.error().text()};
        }
        return;
    }
    std::vector<byte_vector> images;
    for (std::size_t v = 0; v < sizes_.size(); ++v) {
        byte_vector image(sizes_[v]);
        if (auto got = (*devices)[v]->read(0, image); !got) {
            if (site_.stopped()) {
                return;
            }
            throw broken_promise{"a point can't be read: " + got.error().text()};
        }
        images.push_back(std::move(image));
    }
    const auto k = oracle_.newest_prefix(images);
    if (!k) {
        throw broken_promise{"the newest point is no prefix of the writes"};
    }
    if (*k < safe_sequence_ && !in_trouble) {
        throw broken_promise{fmt::format("the newest point is prefix {}, but {} was acknowledged", *k, safe_sequence_)};
    }
    note(*k);
}

void two_sites::wait_for_barrier(duration patience, bool must) {
    const std::uint64_t sequence = oracle_.sequence();
    const bool durable_only = !must && one_in(2);
    auto reached = await(sender_->wait(group_name, durable_only, patience), patience + std::chrono::minutes(1));
    if (!reached) {
        say("wait: " + reached.error().text());
        if (must) {
            throw broken_promise{"after everything healed: " + reached.error().text()};
        }
        return;
    }
    say(fmt::format("wait: barrier {} covers write {}", reached->barrier.value, sequence));
    durable_sequence_ = sequence;
    if (!durable_only) { // the images show it: from here on a point that has it can be opened
        safe_sequence_ = sequence;
        look_at_newest_point();
    }
}

void two_sites::finish() {
    say("everything heals");
    calm_line();
    site_.set_capacity(1ULL << 40);
    disk_disturbed_ = false;
    site_.clear_faults();
    primary_.clear_faults();
    if (one_in(3)) {
        lose_primary();
        return;
    }
    (void)sender_->resume(group_name);
    wait_for_barrier(std::chrono::minutes(10), true);
    const auto images = read_replica();
    for (std::size_t v = 0; v < sizes_.size(); ++v) {
        if (images[v] != oracle_.content(v)) {
            std::uint64_t at = 0;
            while (images[v][at] == oracle_.content(v)[at]) {
                ++at;
            }
            throw broken_promise{fmt::format("replica {} differs from the primary at byte {} of {}", volume_names[v], at,
                                             sizes_[v])};
        }
    }
    auto verified = await(sender_->verify(group_name, {}), std::chrono::minutes(10));
    if (!verified) {
        throw broken_promise{"verify failed: " + verified.error().text()};
    }
    if (!verified->equal) {
        throw broken_promise{"verify gives a false alarm"};
    }
    end_sender();
    end_receiver();
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
    const auto state = receiver_->status().front();
    if (state.state == engine::receiver_state::failed) {
        throw broken_promise{"the DR site does not recover: " + state.error.value_or("")};
    }
    // A catch-up that was under way leaves the point before it; else everything durable is in the newest point.
    if (state.state == engine::receiver_state::following) {
        safe_sequence_ = std::max(safe_sequence_, durable_sequence_);
    }
    look_at_newest_point();
    end_receiver();
}

// ---- small things ----------------------------------------------------------------------------------

std::uint64_t two_sites::roll(std::uint64_t n) { return n == 0 ? 0 : dice_() % n; }

void two_sites::pass_time(duration d) { test::run_for(io_, clock_, d); }

void two_sites::note(std::uint64_t value) {
    trace_ = (trace_ ^ value) * 0x9E3779B97F4A7C15ULL;
    trace_ ^= trace_ >> 29;
}

void two_sites::say(const std::string &text) {
    if (options_.verbose) {
        std::fprintf(stderr, "%10.3f %s\n", seconds_of(clock_.now().time_since_epoch()) - 86400, text.c_str());
    }
}

std::vector<byte_vector> two_sites::read_primary() {
    std::vector<byte_vector> images;
    for (std::size_t v = 0; v < sizes_.size(); ++v) {
        byte_vector image(sizes_[v]);
        auto f = primary_.open(image_path("/srv", v), open_mode::read);
        if (!f || !(*f)->read_at(0, image)) {
            throw broken_promise{"the primary's volume can't be read"};
        }
        images.push_back(std::move(image));
    }
    return images;
}

void two_sites::resync_oracle() {
    auto images = read_primary();
    for (std::size_t v = 0; v < sizes_.size(); ++v) {
        if (images[v] != oracle_.content(v)) {
            say("the primary's content is not what was written; that is a step of its own");
            oracle_.becomes(images);
            break;
        }
    }
}

std::vector<byte_vector> two_sites::read_replica() {
    std::vector<byte_vector> images;
    for (std::size_t v = 0; v < sizes_.size(); ++v) {
        byte_vector image(sizes_[v]);
        auto f = site_.open(image_path("/srv/replica", v), open_mode::read);
        if (!f || !(*f)->read_at(0, image)) {
            throw broken_promise{"the replica can't be read"};
        }
        images.push_back(std::move(image));
    }
    return images;
}

} // namespace farshore::sim
