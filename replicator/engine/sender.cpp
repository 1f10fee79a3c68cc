#include "replicator/engine/sender.hpp"

#include "replicator/base/log.hpp"
#include "replicator/engine/pair_index.hpp"
#include "replicator/engine/sender_access.hpp"
#include "replicator/engine/sender_group.hpp"
#include "replicator/engine/tls_network.hpp"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>

namespace farshore::engine {
namespace {
constexpr duration join_timeout = std::chrono::seconds(10); ///< of the exchange, once connected
constexpr duration own_files_every = std::chrono::seconds(10);
} // namespace

namespace {
constexpr duration start_again_after = std::chrono::seconds(10);
}

struct sender::impl {
    /// What a configured group has whether it runs or not.
    struct slot {
        explicit slot(runtime r) : run(std::move(r)) {}
        runtime run;
        std::vector<executor> volume_disks;
        std::string failure; ///< why it could not be started; empty: it runs
    };

    impl(sender_config c, runtime r, file_system &f, std::vector<executor> loops)
        : config(std::move(c)), run(std::move(r)), files(f), nbd_loops(std::move(loops)), tasks(run.home) {}

    sender_config config;
    runtime run;
    file_system &files;
    std::vector<executor> nbd_loops;
    std::unique_ptr<network> net;
    std::string boot_id;
    wall_time boot_began{}; ///< 0: not known
    std::unique_ptr<file> lock;
    std::shared_ptr<transport::pacer> pace;
    trust_store trust;
    std::vector<std::unique_ptr<sender_group>> groups; ///< those that could be started
    std::vector<slot> slots;                           ///< as configured
    wire::id16 identity{};
    std::uint64_t instance = 0;
    std::uint64_t group_memory = 0;
    std::shared_ptr<memory_account> account;
    std::shared_ptr<nbd::client_places> places;
    std::shared_ptr<pair_index> shared;
    pool_maker pools;
    task_group tasks;
    condition stopped;
    condition files_wanted{}; ///< SIGHUP, or stop
    condition late{};         ///< a join was answered, or stop
    bool stopping = false;

    trust_mode mode() const { return config.tls ? trust_mode::site_ca : trust_mode::pinned; }
    task<void> watch_files();
    task<void> close_late(std::shared_ptr<transport::link *> link);
    sender_group *running(const std::string &name) const {
        const auto g = std::ranges::find_if(groups, [&](const auto &at) { return at->name() == name; });
        return g == groups.end() ? nullptr : g->get();
    }
    result<sender_group *> find(const std::string &name) const {
        if (sender_group *g = running(name)) {
            return g;
        }
        for (std::size_t i = 0; i < slots.size(); ++i) {
            if (config.groups[i].name == name && !slots[i].failure.empty()) {
                return fail(errc::dead, fmt::format("group \"{}\" is not served: {}", name, slots[i].failure));
            }
        }
        return fail(errc::not_found, fmt::format("there is no group \"{}\" at this sender", name));
    }
    std::string trust_path() const { return join_path(config.state, "trust.json"); }
    /// Takes hold only when it is on the disk, so that a failure leaves what was.
    result<> change_trust(trust_store changed) {
        FS_CHECK(files.replace_file(trust_path(), as_bytes(changed.to_json())));
        trust = std::move(changed);
        return {};
    }
    task<void> gather_offers(std::string for_group) const;
    result<wire::id16> load_identity();
    result<> open_state();
    void prepare_shares();
    task<void> start_group(std::size_t index);
    task<void> start_failed_again();
    sender_group_status status_of_failed(std::size_t index) const;
};

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

sender::sender(sender_config config, runtime run, file_system &files, std::vector<executor> nbd_loops)
    : impl_(new impl(std::move(config), std::move(run), files, std::move(nbd_loops))) {}
sender::~sender() = default;
void sender::use_pools(pool_maker make) { impl_->pools = std::move(make); }

void sender_access::set_network(sender &s, std::unique_ptr<network> net, std::string boot_id, wall_time boot_began) {
    s.impl_->net = std::move(net);
    s.impl_->boot_id = std::move(boot_id);
    s.impl_->boot_began = boot_began;
}
std::shared_ptr<block_device> sender_access::device(sender &s, const std::string &group, volume_index v) {
    return s.impl_->find(group).value()->device(v);
}

result<> sender::impl::open_state() {
    FS_CHECK(files.make_directories(config.state));
    FS_TRY(lock_file, files.open(join_path(config.state, "lock"), open_mode::create));
    if (auto locked = lock_file->lock(); !locked) {
        return fail(locked.error().code, fmt::format("the state directory {} is used by another daemon", config.state));
    }
    lock = std::move(lock_file);
    FS_TRY(present, files.exists(trust_path()));
    if (present) {
        FS_TRY(text, files.read_file(trust_path()));
        auto parsed = trust_store::parse(std::string(as_text(text)));
        if (!parsed) {
            return fail(parsed.error().code, fmt::format("{}: {}", trust_path(), parsed.error().context));
        }
        trust = std::move(*parsed);
    }
    return {};
}

result<wire::id16> sender::impl::load_identity() {
    const std::string path = join_path(config.state, "sender.id");
    wire::id16 id{};
    FS_TRY(present, files.exists(path));
    if (!present) {
        fill_random(id);
        FS_CHECK(files.replace_file(path, id));
        return id;
    }
    FS_TRY(bytes, files.read_file(path));
    if (bytes.size() != id.size()) {
        return fail(errc::corrupt, fmt::format("{} is damaged; remove it to become a new sender (the DR site then "
                                               "compares everything)",
                                               path));
    }
    std::ranges::copy(bytes, id.begin());
    return id;
}

task<void> sender::impl::gather_offers(std::string for_group) const {
    const time_point until = run.time->now() + offers_time_max;
    for (std::size_t i = 0; i < groups.size(); ++i) { // it may grow meanwhile
        sender_group &other = *groups[i];
        if (other.name() != for_group) {
            co_await other.offer_content(until);
        }
    }
}

void sender::impl::prepare_shares() {
    const std::uint64_t client_bytes = client_bytes_of(config.memory_bytes_max);
    account = std::make_shared<memory_account>(client_bytes);
    group_memory = config.memory_bytes_max - client_bytes;
    if (config.groups.size() > 1) {
        const std::uint64_t bytes = pair_index_bytes_of(group_memory);
        shared = std::make_shared<pair_index>(bytes);
        group_memory -= bytes;
    }
    std::size_t volumes = 0;
    for (const sender_group_config &g : config.groups) {
        volumes += g.volumes.size();
    }
    places = nbd::make_client_places(volumes);
    slots.clear();
    for (const sender_group_config &g : config.groups) {
        slot &s = slots.emplace_back(runtime_for_group(run, pools, config.groups.size()));
        for (std::size_t i = 0; i < g.volumes.size(); ++i) {
            s.volume_disks.push_back(pool_for(run, pools, volumes));
        }
    }
}

// A group that can't start (its volume is missing, in use, of another size) is `failed` with the reason; the others run.
task<void> sender::impl::start_group(std::size_t index) {
    const sender_group_config &g = config.groups[index];
    slot &s = slots[index];
    sender_group_options o;
    o.config = g;
    o.state_directory = join_path(join_path(config.state, "groups"), g.name);
    o.memory = sender_memory_of(group_memory, config.groups.size(), g.history_bytes);
    o.links = std::clamp<std::uint32_t>(config.links, 1, limits::data_links_max);
    o.sender = identity;
    o.instance = instance;
    o.boot_id = boot_id;
    o.boot_began = boot_began;
    o.volume_disks = s.volume_disks;
    o.clients = nbd::client_bounds{account->open_share(), places};
    o.trust = mode();
    o.shared = g.loans ? shared : nullptr; // a group beside it neither offers nor asks
    if (g.loans) {
        o.gather_offers = [this, name = g.name] { return gather_offers(name); };
    }
    auto group = std::make_unique<sender_group>(std::move(o), s.run, files, *net, pace, nbd_loops);
    std::optional<pinned_peer> peer;
    if (const pinned_peer *known = trust.find(g.name)) {
        peer = *known;
    } else if (config.tls) {
        peer = pinned_peer{"", g.peer}; // whoever the site's CA signed
    }
    const auto started = co_await group->start(peer);
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
        log::error("group {}: not served: {}; tried again every {:.0f} s", g.name, why, seconds_of(start_again_after));
    }
    s.failure = why;
}

task<void> sender::impl::start_failed_again() {
    while (!stopping && std::ranges::any_of(slots, [](const slot &s) { return !s.failure.empty(); })) {
        co_await stopped.wait_until(*run.time, run.time->now() + start_again_after);
        for (std::size_t i = 0; i < slots.size() && !stopping; ++i) {
            if (!slots[i].failure.empty()) {
                co_await start_group(i);
            }
        }
    }
}

task<result<>> sender::start() {
    impl &m = *impl_;
    FS_CO_CHECK(m.open_state());
    if (!m.net) {
        FS_CO_TRY(net, tls_network::open(m.files, m.config.state, m.config.tls, m.run));
        m.net = std::move(net);
    }
    if (m.boot_id.empty()) {
        FS_CO_TRY(boot, read_boot_id(m.files));
        m.boot_id = boot;
        m.boot_began = m.run.time->wall() - time_since_boot();
    }
    FS_CO_TRY(identity, m.load_identity());
    m.pace = std::make_shared<transport::pacer>(*m.run.time);
    m.identity = identity;
    m.instance = random_u64();
    m.prepare_shares();
    for (std::size_t i = 0; i < m.config.groups.size(); ++i) {
        co_await m.start_group(i);
    }
    if (m.config.tls) {
        m.tasks.spawn(m.watch_files());
    }
    m.tasks.spawn(m.start_failed_again());
    co_return result<>{};
}

// Closes a link that was not answered in time.
task<void> sender::impl::close_late(std::shared_ptr<transport::link *> link) {
    const time_point limit = run.time->now() + join_timeout;
    while (!stopping && *link != nullptr && co_await late.wait_until(*run.time, limit)) {
    }
    if (*link != nullptr) {
        (*link)->close();
    }
}

task<void> sender::impl::watch_files() {
    while (!stopping) {
        co_await files_wanted.wait_until(*run.time, run.time->now() + own_files_every);
        if (!stopping && co_await net->refresh()) {
            for (const auto &g : groups) {
                g->prove_anew();
            }
        }
    }
}

void sender::reload() { impl_->files_wanted.notify_all(); }

task<void> sender::stop(duration drain) {
    const time_point until = impl_->run.time->now() + drain;
    impl_->stopping = true;
    impl_->stopped.notify_all();
    impl_->files_wanted.notify_all();
    impl_->late.notify_all();
    co_await impl_->tasks.join();
    for (auto &g : impl_->groups) {
        co_await g->stop(until);
    }
    impl_->groups.clear();
    if (impl_->net) {
        co_await impl_->net->close();
    }
}

std::vector<sender_group_status> sender::status() const {
    std::vector<sender_group_status> out;
    const std::vector<std::string> warnings =
        impl_->net ? impl_->net->warnings(impl_->run.time->wall()) : std::vector<std::string>{};
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
    if (const pinned_peer *known = trust.find(g.name)) {
        s.peer = known->address;
    }
    s.spool_limit_bytes = g.spool_bytes_max;
    for (const sender_volume_config &v : g.volumes) {
        s.volumes.push_back({v.name, 0, 0});
    }
    s.error = slots[index].failure.empty() ? "it is being started" : slots[index].failure;
    return s;
}

task<result<wait_outcome>> sender::wait(std::string group, bool durable_only, duration timeout) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->wait(durable_only, timeout);
}
result<> sender::pause(const std::string &group) {
    FS_TRY(g, impl_->find(group));
    return g->set_paused(true);
}
result<> sender::resume(const std::string &group) {
    FS_TRY(g, impl_->find(group));
    return g->set_paused(false);
}
result<> sender::resync(const std::string &group, bool full) {
    FS_TRY(g, impl_->find(group));
    return g->resync(full);
}
task<result<verify_outcome>> sender::verify(std::string group, progress_report progress) {
    FS_CO_TRY(g, impl_->find(group));
    co_return co_await g->verify(std::move(progress));
}

result<> sender::throttle_set(const std::string &group, std::optional<std::uint64_t> bytes_per_second,
                              std::optional<duration> lasts) {
    if (!group.empty()) {
        FS_TRY(g, impl_->find(group));
        return g->throttle_set(bytes_per_second, lasts);
    }
    for (auto &g : impl_->groups) {
        FS_CHECK(g->throttle_set(bytes_per_second, lasts));
    }
    return {};
}
result<> sender::throttle_clear(const std::string &group) {
    if (!group.empty()) {
        FS_TRY(g, impl_->find(group));
        return g->throttle_clear();
    }
    for (auto &g : impl_->groups) {
        FS_CHECK(g->throttle_clear());
    }
    return {};
}

namespace {
/// What to do about it depends on whether the receiver was reached: it ends the handshake of a token that is spent.
std::unexpected<error> no_link_to_join(const error &e, const std::string &group) {
    if (is(e, errc::not_found)) {
        return fail(errc::closed, e.context); // a host; not_found is for groups, volumes and points
    }
    if (is(e, errc::timeout) || is_errno(e, ETIMEDOUT) || is_errno(e, ECONNREFUSED) || is_errno(e, EHOSTUNREACH) ||
        is_errno(e, ENETUNREACH)) {
        return std::unexpected(e);
    }
    const bool errno_code = e.code.category() != make_error_code(errc::closed).category();
    return std::unexpected(
        error{errno_code ? make_error_code(errc::closed) : e.code,
              fmt::format("{}. If the receiver refused: a token is good once and for one hour; make a new one there "
                          "with `farshore invite {}`",
                          errno_code ? e.text() : e.context, group)});
}
} // namespace

task<result<peer_status>> sender::join(std::string token) {
    FS_CO_TRY(t, parse_token(token));
    FS_CO_TRY(group, impl_->find(t.group));
    const std::string address = t.address;
    FS_CO_TRY(connector, impl_->net->make_connector(address, transport::alpn_join,
                                                        {impl_->mode(), t.fingerprint, ""}, {}, true));
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
    const auto late = std::make_shared<transport::link *>(link->get());
    impl_->tasks.spawn(impl_->close_late(late));
    const time_point limit = impl_->run.time->now() + join_timeout;
    auto sent = co_await (*link)->send(std::move(m));
    auto reply_or = sent ? co_await (*link)->receive() : std::unexpected(sent.error());
    *late = nullptr;
    impl_->late.notify_all();
    if (!reply_or && impl_->run.time->now() >= limit) {
        co_return fail(errc::timeout, fmt::format("the receiver at {} took the connection and did not answer within {:.0f} s; "
                                                  "whether it paired is not known: look at `farshore peers` there",
                                                  address, seconds_of(join_timeout)));
    }
    FS_CO_TRY(reply, std::move(reply_or));
    FS_CO_TRY(answer, wire::parse<wire::join_reply>(reply.payload.view()));
    (*link)->close();
    if (!answer.ok) {
        co_return fail(errc::not_trusted, answer.text);
    }
    const pinned_peer peer{t.fingerprint, address};
    trust_store changed = impl_->trust;
    changed.pin(t.group, peer);
    FS_CO_CHECK(impl_->change_trust(std::move(changed)));
    group->set_peer(peer);
    log::info("group {}: paired with the receiver at {} (fingerprint {})", t.group, address, t.fingerprint);
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

result<> sender::unpair(const std::string &group) {
    FS_TRY(g, impl_->find(group));
    trust_store changed = impl_->trust;
    if (!changed.unpin(group)) {
        return fail(errc::not_found, fmt::format("group \"{}\" is not paired", group));
    }
    FS_CHECK(impl_->change_trust(std::move(changed)));
    g->set_peer(std::nullopt);
    return {};
}

} // namespace farshore::engine
