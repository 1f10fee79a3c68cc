#include "replicator/sender/sender.hpp"

#include "replicator/base/log.hpp"
#include "replicator/capture/page_arena.hpp"
#include "replicator/sender/memory_tender.hpp"
#include "replicator/sender/pair_index.hpp"
#include "replicator/sender/sender_access.hpp"
#include "replicator/sender/sender_group.hpp"
#include "replicator/session/group_starts.hpp"
#include "transport/deadline.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <openssl/rand.h>

#include <algorithm>
#include <cerrno>
#include <list>

namespace farshore {
namespace {
constexpr duration join_timeout = std::chrono::seconds(10); ///< of the exchange, once connected
} // namespace

namespace {
constexpr duration start_again_after = std::chrono::seconds(10);
constexpr duration trim_pages_every = std::chrono::seconds(5);
} // namespace

struct sender::impl {
    /// What a configured group has whether it runs or not.
    struct slot {
        explicit slot(runtime r) : run(std::move(r)) {}
        runtime run;
        std::vector<executor> volume_disks;
        std::string failure; ///< why it could not be started; empty: it runs, or never failed
        bool starting = false;
    };

    impl(sender_config c, std::shared_ptr<site> s)
        : config(std::move(c)), here(std::move(s)), run(here->run()), files(here->files()),
          tasks(run.home), stops(run.home) {}

    sender_config config;
    std::shared_ptr<site> here;
    runtime run;
    file_system &files;
    std::string boot_id;
    wall_time boot_began{}; ///< 0: not known
    std::shared_ptr<transport::pacer> pace;
    std::vector<std::unique_ptr<sender_group>> groups; ///< those that could be started
    std::vector<slot> slots;                           ///< as configured
    std::size_t joins = 0;                   ///< commands under way that use groups and network
    std::list<transport::link *> join_links; ///< to receivers that have not answered yet
    bool ending = false;                     ///< end_commands()
    kept<throttle_setting> throttle{files, run.disk, here->path_of("daemon.json")};
    condition throttle_changed{};
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
            if (config.groups[i].name == name) {
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
    result<throttle_setting> load_throttle();
    template <class F>
    task<result<>> change_throttle(F f);
    void apply_throttle() { pace->set_rate(view_of(*throttle, run.time->wall()).rate); }
    task<void> expire_throttle();
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

namespace {

/// Counts a join for as long as it uses groups and network.
class join_under_way {
  public:
    explicit join_under_way(std::size_t &count) : count_(count) { ++count_; }
    ~join_under_way() { --count_; }
    join_under_way(const join_under_way &) = delete;
    join_under_way &operator=(const join_under_way &) = delete;

  private:
    std::size_t &count_;
};

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
sender::~sender() { REPL_ASSERT(impl_->joins == 0); }

void sender::end_commands() {
    impl_->ending = true;
    for (auto &g : impl_->groups) {
        g->end_commands();
    }
    for (transport::link *link : impl_->join_links) {
        link->close();
    }
    impl_->throttle_changed.notify_all();
}
void sender::use_pools(pool_maker make) { impl_->here->use_pools(std::move(make)); }

void sender_access::set_network(sender &s, std::unique_ptr<network> net, std::string boot_id,
                                wall_time boot_began) {
    s.impl_->here->use_network(std::move(net));
    s.impl_->boot_id = std::move(boot_id);
    s.impl_->boot_began = boot_began;
}
std::shared_ptr<block_device> sender_access::device(sender &s, const std::string &group,
                                                    volume_index v) {
    return s.impl_->find(group).value()->device(v);
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
    FS_CO_TRY(found, co_await run_on(run.disk, [this] { return load_throttle(); }));
    throttle.found(found);
    co_return result<>{};
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
    o.shared = g.loans ? shared : nullptr; // a group beside it neither offers nor asks
    if (g.loans) {
        o.gather_offers = [this, name = g.name](std::function<bool()> wanted) {
            return gather_offers(name, std::move(wanted));
        };
    }
    auto group = std::make_unique<sender_group>(std::move(o), s.run, files, *here->net(), pace,
                                                here->nbd_loops());
    std::optional<pinned_peer> peer;
    if (const pinned_peer *known = here->trust()->find(g.name)) {
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
    const auto to_do = [](const slot &s) { return s.starting || !s.failure.empty(); };
    while (!stopping && std::ranges::any_of(slots, to_do)) {
        co_await stopped.wait_until(*run.time, run.time->now() + start_again_after);
        for (std::size_t i = 0; i < slots.size() && !stopping; ++i) {
            if (!slots[i].failure.empty() && !slots[i].starting) {
                starts.spawn(start_group(i));
            }
        }
        co_await starts.settle(*run.time, start_again_after);
    }
}

task<result<>> sender::start() {
    impl &m = *impl_;
    FS_CO_CHECK(co_await m.load());
    m.pace = std::make_shared<transport::pacer>(*m.run.time);
    m.apply_throttle();
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
    m.tasks.spawn(m.expire_throttle());
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
    while (impl_->joins > 0) { // their links are closed
        co_await impl_->run.time->sleep_for(std::chrono::milliseconds(10));
    }
    for (auto &g : impl_->groups) { // all at once: the time to stop is the daemon's, not a group's
        impl_->stops.spawn(g->stop(until));
    }
    co_await impl_->stops.join();
    co_await impl_->tasks
        .join(); // last: a group that is being started may wait for a disk that does not answer
    impl_->groups.clear();
    co_await impl_->here->unwatched();
    if (network *net = impl_->here->net()) {
        co_await net->close();
    }
}

std::vector<sender_group_status> sender::status() const {
    std::vector<sender_group_status> out;
    const std::vector<std::string> warnings = impl_->here->warnings();
    for (std::size_t i = 0; i < impl_->slots.size(); ++i) {
        const sender_group *g = impl_->running(impl_->config.groups[i].name);
        out.push_back(g != nullptr ? g->status() : impl_->status_of_failed(i));
        out.back().warnings.insert(out.back().warnings.end(), warnings.begin(), warnings.end());
    }
    return out;
}

sender_group_status sender::impl::status_of_failed(std::size_t index) const {
    const sender_group_config &g = config.groups[index];
    sender_group_status s;
    s.name = g.name;
    s.state = sender_state::failed;
    if (const pinned_peer *known = here->trust()->find(g.name)) {
        s.peer = known->address;
    }
    s.spool_limit_bytes = g.spool_bytes_max;
    for (const sender_volume_config &v : g.volumes) {
        s.volumes.push_back({v.name, 0, 0});
    }
    s.error = why_not(index);
    return s;
}

task<result<wait_outcome>> sender::wait(std::string group, bool durable_only, duration timeout) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->wait(durable_only, timeout);
}
task<result<>> sender::pause(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->set_paused(true);
}
task<result<>> sender::resume(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->set_paused(false);
}
task<result<>> sender::resync(std::string group, bool full) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->resync(full);
}
task<result<verify_outcome>> sender::verify(std::string group, progress_report progress) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->verify(std::move(progress));
}

// ---- the daemon's throttle
// ---------------------------------------------------------------------------

// Blocks.
result<throttle_setting> sender::impl::load_throttle() {
    const std::string &path = throttle.path();
    throttle_setting found = *throttle;
    FS_TRY(present, files.exists(path));
    if (!present) {
        return found;
    }
    FS_TRY(bytes, files.read_file(path));
    const auto j = nlohmann::json::parse(as_text(bytes), nullptr, false);
    try {
        take_throttle(j, found);
    } catch (const nlohmann::json::exception &) {
        return fail(
            errc::corrupt,
            fmt::format("{} can't be read; remove it to start without a throttle of the daemon",
                        path));
    }
    return found;
}

template <class F>
task<result<>> sender::impl::change_throttle(F f) {
    FS_CO_CHECK(co_await throttle.change([f](throttle_setting &t) -> result<> {
        f(t);
        return {};
    }));
    apply_throttle();
    throttle_changed.notify_all();
    co_return result<>{};
}

// An override that ended is a lesser cap or none, which no failure may keep: it takes hold whether
// or not it can be written, and is said.
task<void> sender::impl::expire_throttle() {
    while (!ending) {
        co_await throttle_changed.wait_until(*run.time, run.time->now() + std::chrono::seconds(1));
        const wall_time now = run.time->wall();
        if (throttle_setting after = *throttle; after.expire(now)) {
            throttle.change_now([now](throttle_setting &t) { t.expire(now); }, tasks,
                                "the end of the daemon's throttle can't be kept");
            apply_throttle();
        }
    }
}

task<result<>> sender::throttle_set(std::string group,
                                    std::optional<std::uint64_t> bytes_per_second,
                                    std::optional<duration> lasts) {
    if (!group.empty()) {
        FS_CO_TRY(g, impl_->find(group));
        co_return co_await g->throttle_set(bytes_per_second, lasts);
    }
    co_return co_await impl_->change_throttle(
        [bytes_per_second, lasts, now = impl_->run.time->wall()](throttle_setting &t) {
            t.set(bytes_per_second, lasts, now);
        });
}
task<result<>> sender::throttle_clear(std::string group) {
    if (!group.empty()) {
        FS_CO_TRY(g, impl_->find(group));
        co_return co_await g->throttle_clear();
    }
    co_return co_await impl_->change_throttle([](throttle_setting &t) { t.clear(); });
}
throttle_view sender::throttle() const {
    return view_of(*impl_->throttle, impl_->run.time->wall());
}

namespace {
/// What to do about it depends on whether the receiver was reached: it ends the handshake of a
/// token that is spent.
std::unexpected<error> no_link_to_join(const error &e, const std::string &group) {
    if (is(e, errc::not_found)) {
        return fail(errc::closed, e.context); // a host; not_found is for groups, volumes and points
    }
    if (is(e, errc::timeout) || is_errno(e, ETIMEDOUT) || is_errno(e, ECONNREFUSED) ||
        is_errno(e, EHOSTUNREACH) || is_errno(e, ENETUNREACH)) {
        return std::unexpected(e);
    }
    const bool errno_code = e.code.category() != make_error_code(errc::closed).category();
    return std::unexpected(error{errno_code ? make_error_code(errc::closed) : e.code,
                                 fmt::format("{}. If the receiver refused: a token is good once "
                                             "and for one hour; make a new one there "
                                             "with `farshore invite {}`",
                                             errno_code ? e.text() : e.context, group)});
}
} // namespace

/// One question and its answer, over a link of its own. A stop ends it, and so does its time.
task<result<transport::message>> sender::impl::ask(std::unique_ptr<transport::link> link,
                                                   transport::message question) {
    const std::string peer = link->peer_address();
    const auto place = join_links.insert(join_links.end(), link.get());
    std::optional<result<transport::message>> answer;
    {
        const transport::deadline limit(run.home, *run.time, run.time->now() + join_timeout,
                                        [&link] { link->close(); });
        if (ending) {
            link->close();
        }
        auto sent = co_await link->send(std::move(question));
        answer = sent ? co_await link->receive() : std::unexpected(sent.error());
        if (!*answer && limit.expired()) {
            answer = fail(
                errc::timeout,
                fmt::format(
                    "the receiver at {} took the connection and did not answer within {:.0f} s; "
                    "whether it paired is not known: look at `farshore peers` there",
                    peer, seconds_of(join_timeout)));
        }
    }
    join_links.erase(place);
    link->close();
    co_return std::move(*answer);
}

task<result<peer_status>> sender::join(std::string token) {
    FS_CO_TRY(t, parse_token(token));
    FS_CO_TRY(group, impl_->find(t.group));
    if (impl_->ending) {
        co_return fail(errc::closed, "the sender stops");
    }
    const join_under_way here(impl_->joins);
    const std::string address = t.address;
    FS_CO_TRY(connector, impl_->here->net()->make_connector(
                             address, transport::alpn_join,
                             {impl_->here->mode(), t.fingerprint, ""}, {}, true));
    auto link = co_await connector->connect(connect_timeout);
    if (!link) {
        co_return no_link_to_join(link.error(), t.group);
    }
    wire::join_request request;
    request.group = t.group;
    request.secret = t.secret;
    transport::message m;
    m.type = static_cast<std::uint16_t>(wire::message_type::join_request);
    m.payload = wire::encode(request);
    FS_CO_TRY(reply, co_await impl_->ask(std::move(*link), std::move(m)));
    FS_CO_TRY(answer, wire::parse<wire::join_reply>(reply.payload.view()));
    if (!answer.ok) {
        co_return fail(errc::not_trusted, answer.text);
    }
    const pinned_peer peer{t.fingerprint, address};
    FS_CO_CHECK(co_await impl_->here->trust().change([&](trust_store &trust) -> result<> {
        trust.pin(t.group, peer);
        return {};
    }));
    group->set_peer(peer);
    log::info("group {}: paired with the receiver at {} (fingerprint {})", t.group, address,
              t.fingerprint);
    co_return group->peer();
}

std::vector<peer_status> sender::peers() const {
    std::vector<peer_status> out;
    for (const auto &g : impl_->groups) {
        peer_status p = g->peer();
        if (!p.fingerprint.empty()) {
            out.push_back(std::move(p));
        }
    }
    return out;
}

task<result<>> sender::unpair(std::string group) {
    FS_CO_TRY(g, impl_->find(group));
    FS_CO_CHECK(co_await impl_->here->trust().change([&](trust_store &trust) -> result<> {
        return trust.unpin(group)
                   ? result<>()
                   : fail(errc::not_found, fmt::format("group \"{}\" is not paired", group));
    }));
    g->set_peer(std::nullopt);
    co_return result<>{};
}

} // namespace farshore
