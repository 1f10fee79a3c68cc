#include "replicator/engine/sender.hpp"

#include "replicator/base/log.hpp"
#include "replicator/engine/pair_index.hpp"
#include "replicator/engine/sender_access.hpp"
#include "replicator/engine/sender_group.hpp"
#include "replicator/engine/tls_network.hpp"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <openssl/rand.h>

namespace farshore::engine {

struct sender::impl {
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
    std::vector<std::unique_ptr<sender_group>> groups;

    result<sender_group *> find(const std::string &name) const {
        for (const auto &g : groups) {
            if (g->name() == name) {
                return g.get();
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
    : impl_(new impl{std::move(config), std::move(run), files, std::move(nbd_loops), nullptr, "", {}, nullptr, nullptr,
                     {}, {}}) {}
sender::~sender() = default;

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
        RAND_bytes(as_unsigned(bytes_span(id)), static_cast<int>(id.size()));
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
    for (const auto &other : groups) {
        if (other->name() != for_group) {
            co_await other->offer_content(until);
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
    const std::uint64_t instance = random_u64();
    std::uint64_t memory = m.config.memory_bytes_max;
    std::shared_ptr<pair_index> shared;
    if (m.config.groups.size() > 1) {
        const std::uint64_t bytes = pair_index_bytes_of(memory);
        shared = std::make_shared<pair_index>(bytes);
        memory -= bytes;
    }
    for (const sender_group_config &g : m.config.groups) {
        sender_group_options o;
        o.config = g;
        o.state_directory = join_path(join_path(m.config.state, "groups"), g.name);
        o.memory = sender_memory_of(memory, m.config.groups.size(), g.history_bytes);
        o.links = std::clamp<std::uint32_t>(m.config.links, 1, limits::data_links_max);
        o.sender = identity;
        o.instance = instance;
        o.boot_id = m.boot_id;
        o.boot_began = m.boot_began;
        o.shared = shared;
        o.gather_offers = [&m, name = g.name] { return m.gather_offers(name); };
        auto group = std::make_unique<sender_group>(std::move(o), m.run, m.files, *m.net, m.pace, m.nbd_loops);
        std::optional<pinned_peer> peer;
        if (const pinned_peer *known = m.trust.find(g.name)) {
            peer = *known;
        } else if (m.config.tls) {
            peer = pinned_peer{"", g.peer}; // whoever the site's CA signed
        }
        auto started = co_await group->start(peer);
        if (!started) {
            for (auto &other : m.groups) {
                co_await other->stop(m.run.time->now());
            }
            m.groups.clear();
            co_return fail(started.error().code, fmt::format("group \"{}\": {}", g.name, started.error().context));
        }
        m.groups.push_back(std::move(group));
    }
    co_return result<>{};
}

task<void> sender::stop(duration drain) {
    const time_point until = impl_->run.time->now() + drain;
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
    for (const auto &g : impl_->groups) {
        out.push_back(g->status());
    }
    return out;
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
    FS_CO_TRY(connector, impl_->net->make_connector(address, transport::alpn_join, t.fingerprint, {}, true));
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
    FS_CO_CHECK(co_await (*link)->send(std::move(m)));
    FS_CO_TRY(reply, co_await (*link)->receive());
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
