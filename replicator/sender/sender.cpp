// Life of a sender: load, divide the memory, start the groups, stop.

#include "replicator/base/log.hpp"
#include "replicator/sender/sender_access.hpp"
#include "replicator/sender/sender_impl.hpp"

#include <fmt/format.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

namespace farshore {
namespace {
constexpr duration start_again_after = std::chrono::seconds(10);
constexpr duration trim_pages_every = std::chrono::seconds(5);
} // namespace

namespace {

/// Sleep included.
duration time_since_boot() {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

result<std::string> read_boot_id(file_system &files) {
    const std::string path = "/proc/sys/kernel/random/boot_id";
    FS_TRY(bytes, files.read_file(path));
    std::string text(as_text(bytes));
    while (!text.empty() && text.back() == '\n') {
        text.pop_back();
    }
    return text;
}

} // namespace

sender::sender(sender_config config, runtime run, file_system &files,
               std::vector<executor> nbd_loops)
    : impl_(nullptr) {
    auto here = std::make_shared<site>(config.state, config.tls, std::move(run), files,
                                       std::move(nbd_loops));
    impl_ = std::make_unique<impl>(std::move(config), std::move(here));
}
sender::sender(sender_config config, std::shared_ptr<site> here)
    : impl_(new impl(std::move(config), std::move(here))) {}
sender::~sender() = default;

void sender::end_commands() {
    impl_->joins.end();
    for (auto &g : impl_->groups) {
        g->end_commands();
    }
    for (transport::link *link : impl_->join_links) {
        link->close();
    }
    impl_->throttle.end();
}
void sender::use_pools(pool_maker make) { impl_->here->use_pools(std::move(make)); }
void sender::use_applications(std::shared_ptr<application_host> applications) {
    impl_->applications = std::move(applications);
}

void sender::use_half(const std::string &group, served_half half) {
    impl_->halves[group] = std::move(half);
}

void sender::heed_roles() {
    for (const auto &g : impl_->groups) {
        g->heed_role();
    }
}

void sender::take_link(const std::string &group, std::unique_ptr<transport::link> control) {
    if (sender_group *g = impl_->running(group)) {
        g->take_link(std::move(control));
    } else {
        control->close();
    }
}

void sender::take_data_link(const std::string &group, std::unique_ptr<transport::link> link,
                            std::uint64_t session) {
    if (sender_group *g = impl_->running(group)) {
        g->take_data_link(std::move(link), session);
    } else {
        link->close();
    }
}

void sender_access::set_network(sender &s, std::unique_ptr<network> net, std::string boot_id,
                                wall_time boot_began) {
    s.impl_->here->use_network(std::move(net));
    s.impl_->boot_id = std::move(boot_id);
    s.impl_->boot_began = boot_began;
}
void sender_access::set_boot(sender &s, std::string boot_id) {
    s.impl_->boot_id = std::move(boot_id);
}
// What the state directory has of the daemon itself, and what the kernel says of this boot.
task<result<>> sender::impl::load() {
    FS_CO_CHECK(co_await here->open());
    if (boot_id.empty()) {
        FS_CO_TRY(boot, co_await run_on(run.disk, [this] { return read_boot_id(files); }));
        boot_id = boot;
        boot_began = run.time->wall() - time_since_boot();
    }
    FS_CO_TRY(id, co_await run_on(run.disk, [this] { return load_identity(); }));
    identity = id;
    co_return co_await throttle.load();
}

// Blocks.
result<wire::id16> sender::impl::load_identity() {
    const std::string path = here->path_of("sender.id");
    wire::id16 id{};
    FS_TRY(present, files.exists(path));
    if (!present) {
        fill_random(id);
        FS_CHECK(files.replace_file(path, id));
        return id;
    }
    FS_TRY(bytes, files.read_file(path));
    if (bytes.size() != id.size()) {
        return fail(errc::corrupt,
                    fmt::format("{} is damaged; remove it to become a new sender (the DR site then "
                                "compares everything)",
                                path));
    }
    std::ranges::copy(bytes, id.begin());
    return id;
}

// Each reads by itself; a disk that does not answer keeps nobody waiting but its own group.
task<void> sender::impl::gather_offers(std::string for_group, std::function<bool()> wanted) const {
    constexpr duration look_every = std::chrono::milliseconds(50);
    const time_point until = run.time->now() + offers_time_max;
    for (const auto &g : groups) {
        if (g->name() != for_group) {
            g->offer_soon(until);
        }
    }
    const auto reads = [&](const auto &g) { return g->name() != for_group && g->offers(); };
    while (wanted() && std::ranges::any_of(groups, reads)) {
        co_await run.time->sleep_for(look_every);
    }
}

void sender::impl::prepare_shares() {
    std::size_t volumes = 0;
    for (const sender_group_config &g : config.groups) {
        volumes += g.volumes.size();
    }
    const std::uint64_t buffers =
        config.memory_bytes_max - std::min(config.memory_bytes_max / 2, volumes_bytes_of(volumes));
    const std::uint64_t client_bytes = client_bytes_of(buffers);
    account = std::make_shared<memory_account>(client_bytes);
    std::uint64_t group_memory = buffers - client_bytes;
    if (config.groups.size() > 1) {
        const std::uint64_t bytes = pair_index_bytes_of(group_memory);
        shared = std::make_shared<pair_index>(bytes);
        group_memory -= bytes;
    }
    std::uint64_t for_intervals = group_memory;
    memory.histories.clear();
    for (const sender_group_config &g : config.groups) {
        memory.histories.push_back(
            history_memory_of(group_memory, config.groups.size(), g.history_bytes));
        for_intervals -= memory.histories.back().sum();
    }
    memory.pool = std::make_shared<memory_pool>(for_intervals, config.groups.size());
    places = nbd::make_client_places(volumes);
    slots.clear();
    for (const sender_group_config &g : config.groups) {
        slot &s = slots.emplace_back(here->run_for_group(config.groups.size()));
        for (std::size_t i = 0; i < g.volumes.size(); ++i) {
            s.volume_disks.push_back(here->pool_for(volumes));
        }
    }
}

// A group that can't start (its volume is missing, in use, of another size) is `failed` with the
// reason; the others run.
task<void> sender::impl::start_group(std::size_t index) {
    const sender_group_config &g = config.groups[index];
    slot &s = slots[index];
    s.starting = true;
    sender_group_options o;
    o.config = g;
    o.state_directory = here->group_directory(g.name);
    o.pool = memory.pool;
    o.number = index;
    o.history = memory.histories[index];
    o.pages = memory.pages;
    o.links = std::clamp<std::uint32_t>(config.links, 1, limits::data_links_max);
    o.sender = identity;
    o.instance = instance;
    o.boot_id = boot_id;
    o.boot_began = boot_began;
    o.volume_disks = s.volume_disks;
    o.clients = nbd::client_bounds{account->open_share(), places};
    o.trust = here->mode();
    o.applications = applications;
    o.role = [this, name = g.name] { return here->role_of(name, {}); };
    o.met = [this, name = g.name](last_meeting m) { here->note_meeting(name, std::move(m)); };
    if (const auto half = halves.find(g.name); half != halves.end()) {
        o.half = half->second;
    }
    o.shared = g.loans ? shared : nullptr; // a group beside it neither offers nor asks
    if (g.loans) {
        o.gather_offers = [this, name = g.name](std::function<bool()> wanted) {
            return gather_offers(name, std::move(wanted));
        };
    }
    const bool dials = o.half.dials;
    auto group = std::make_unique<sender_group>(std::move(o), s.run, files, *here->net(),
                                                throttle.pace(), here->nbd_loops());
    std::optional<pinned_peer> peer;
    if (!dials) {
        // whoever follows comes to this site
    } else if (const pinned_peer *known = here->trust()->find(g.name)) {
        peer = *known;
    } else if (config.tls) {
        peer = pinned_peer{"", g.peer}; // whoever the site's CA signed
    }
    const auto started = co_await group->start(peer);
    s.starting = false;
    if (started && stopping) { // its disk answered too late
        co_await group->stop(run.time->now());
        co_return;
    }
    if (started) {
        if (!s.failure.empty()) {
            log::info("group {}: it could be started now and is served", g.name);
        }
        s.failure.clear();
        groups.push_back(std::move(group));
        co_return;
    }
    const std::string why = started.error().text();
    if (why != s.failure) {
        log::error("group {}: not served: {}; tried again every {:.0f} s", g.name, why,
                   seconds_of(start_again_after));
    }
    s.failure = why;
}

task<void> sender::impl::start_failed_again() {
    const auto to_do = [](const slot &s) {
        return !s.released && (s.starting || !s.failure.empty());
    };
    while (!stopping && std::ranges::any_of(slots, to_do)) {
        co_await stopped.wait_until(*run.time, run.time->now() + start_again_after);
        for (std::size_t i = 0; i < slots.size() && !stopping; ++i) {
            if (!slots[i].failure.empty() && !slots[i].starting && !slots[i].released) {
                starts.spawn(start_group(i));
            }
        }
        co_await starts.settle(*run.time, start_again_after);
    }
}

task<result<>> sender::start() {
    impl &m = *impl_;
    FS_CO_CHECK(co_await m.load());
    m.instance = random_u64();
    m.prepare_shares();
    for (std::size_t i = 0; i < m.config.groups.size(); ++i) {
        m.starts.spawn(m.start_group(i));
    }
    co_await m.starts.settle(*m.run.time, group_start_patience);
    m.here->watch_files(&m, [&m] {
        for (const auto &g : m.groups) {
            g->prove_anew();
        }
    });
    m.throttle.start(m.tasks);
    m.tasks.spawn(m.start_failed_again());
    m.tasks.spawn(m.trim_pages());
    if (m.config.groups.size() > 1) {
        m.memory.tender.emplace(m.memory.pool, m.run, [&m] {
            std::vector<sender_group *> out;
            for (const auto &g : m.groups) {
                out.push_back(g.get());
            }
            return out;
        });
        m.tasks.spawn(m.memory.tender->run());
    }
    co_return result<>{};
}

task<void> sender::impl::trim_pages() {
    while (!stopping) {
        co_await stopped.wait_until(*run.time, run.time->now() + trim_pages_every);
        memory.pages->trim();
    }
}

void sender::reload() { impl_->here->reload(); }

task<void> sender::stop(duration drain) {
    end_commands();
    const time_point until = impl_->run.time->now() + drain;
    impl_->stopping = true;
    impl_->stopped.notify_all();
    if (impl_->memory.tender) {
        impl_->memory.tender->stop();
    }
    impl_->starts.give_up();
    impl_->here->unwatch_files(impl_.get());
    co_await impl_->joins.join();   // their links are closed
    for (auto &g : impl_->groups) { // all at once: the time to stop is the daemon's, not a group's
        impl_->stops.spawn(g->stop(until));
    }
    co_await impl_->stops.join();
    if (impl_->applications) {
        co_await impl_->applications->join();
    }
    co_await impl_->tasks
        .join(); // last: a group that is being started may wait for a disk that does not answer
    impl_->groups.clear();
    co_await impl_->here->unwatched();
    if (network *net = impl_->here->net(); net != nullptr && impl_->halves.empty()) {
        co_await net->close();
    }
}

} // namespace farshore
