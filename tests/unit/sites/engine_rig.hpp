#pragma once
// Both daemons' engines over a line in memory, with simulated disks and time, for tests of one
// thread.

#include "replicator/base/limits.hpp"
#include "replicator/failover/served_groups.hpp"
#include "replicator/receiver/receiver.hpp"
#include "replicator/receiver/receiver_access.hpp"
#include "replicator/sender/hooks.hpp"
#include "replicator/sender/sender.hpp"
#include "replicator/sender/sender_access.hpp"
#include "tests/sim/sim_network.hpp"
#include "tests/support/sim_clock.hpp"
#include "tests/support/sim_file_system.hpp"

#include <doctest/doctest.h>

namespace farshore {

constexpr const char *address = "site:7420";
constexpr const char *state = "/state";
inline const std::string receiver_fingerprint(64, 'b');

template <class T>
task<void> store_result(task<T> t, std::optional<T> &out) {
    out.emplace(co_await std::move(t));
}
inline task<void> mark_done(task<void> t, bool &done) {
    co_await std::move(t);
    done = true;
}

/// What the hosts share.
struct world {
    test::sim_clock clock;
    asio::io_context io;
    asio::io_context encoder;                    ///< the senders' CPU pools, with encoder_apart
    bool encoder_apart = false;                  ///< before a sender starts
    bool urgent_apart = true;                    ///< the urgent one too
    bool encoder_held = false;                   ///< only the test itself runs it
    duration interval = std::chrono::seconds(1); ///< of the senders' groups, before they start
    transport::memory_network line{io.get_executor(), clock, {}};

    runtime run() {
        const executor ex = io.get_executor();
        return {ex, ex, ex, ex, &clock};
    }
    runtime sender_run() {
        runtime r = run();
        if (encoder_apart) {
            r.cpu = encoder.get_executor();
            r.cpu_urgent = urgent_apart ? r.cpu : r.cpu_urgent;
        }
        return r;
    }
    void run_encoder() {
        encoder.restart();
        if (encoder.poll() > 0) {
            test::run_ready(io);
        }
    }
    bool run_until(const std::function<bool()> &condition, duration patience) {
        const auto done = [&] {
            if (!encoder_held) {
                run_encoder();
            }
            return condition();
        };
        return test::run_until(io, clock, done, patience);
    }
    template <class T>
    T await(task<T> t) {
        std::optional<T> out;
        asio::co_spawn(io, store_result(std::move(t), out), asio::detached);
        REQUIRE(run_until([&] { return out.has_value(); }, std::chrono::minutes(5)));
        return std::move(*out);
    }
    void await(task<void> t) {
        bool done = false;
        asio::co_spawn(io, mark_done(std::move(t), done), asio::detached);
        REQUIRE(run_until([&] { return done; }, std::chrono::minutes(5)));
    }
    bool until(const std::function<bool()> &condition) {
        return run_until(condition, std::chrono::seconds(20));
    }
};

/// How the sites trust each other.
enum class trusting : std::uint8_t { tokens, site_ca };

/// How a daemon and its machine end, for a host with disk, boots and stop().
template <class Host>
struct mortal {
    void cut_power(std::uint64_t seed) {
        host().disk.power_cut(seed);
        host().stop();
        ++host().boots;
    }
    void kill() {
        host().disk.kill();
        host().stop();
    }

  private:
    Host &host() { return static_cast<Host &>(*this); }
};

struct receiver_host : mortal<receiver_host> {
    using make_network = std::function<std::unique_ptr<network>(transport::memory_network &)>;
    receiver_host(world &w, trusting how = trusting::tokens,
                  const make_network &network_of = plain_network)
        : world_(w), disk(1), network_of_(network_of) {
        REQUIRE(disk.make_directories(state));
        receiver_config &config = config_;
        config.state = state;
        config.listen = address;
        receiver_group_config group;
        group.name = "shop";
        group.replica = "/srv";
        group.journal_bytes_max = 16 * limits::MiB;
        config.groups.push_back(group);
        group.name = "mail";
        group.replica = "/srv/mail";
        config.groups.push_back(group);
        if (how == trusting::site_ca) {
            config.tls.emplace();
        }
        start();
    }
    ~receiver_host() { stop(); }
    void start() {
        here = std::make_shared<site>(config_.state, config_.tls, world_.run(), disk,
                                      std::vector<executor>{world_.io.get_executor()});
        engine.emplace(config_, here);
        receiver_access::set_network(*engine, network_of_(world_.line));
        if (pools) {
            engine->use_pools(pools);
        }
        served_means means = served_means_of(config_, true);
        means.boot_id = "boot" + std::to_string(boots);
        served.emplace(*engine, here, std::move(means));
        REQUIRE(world_.await(engine->start()));
        engine->use_served([this](receiver_group_status &s) { served->describe(s); });
        served->start();
    }
    void stop() {
        end_serving();
        if (engine) {
            world_.await(engine->stop(duration{}));
            engine.reset();
        }
        here.reset();
    }
    /// Before the engine alone is stopped.
    void end_serving() {
        if (served) {
            world_.await(served->stop());
            engine->use_served({});
            served.reset();
        }
    }
    /// Killed, and what was not synced may be lost; start() follows.
    /// From the next start() on.
    void retain(std::vector<retain_rule> rules) {
        config_.groups.front().retain = std::move(rules);
    }
    /// Likewise.
    void scrub_every(duration every) { config_.groups.front().scrub_every = every; }
    receiver_group_status status() const { return engine->status().front(); }
    std::string token(const std::string &group = "shop") {
        return world_.await(engine->invite(group, address)).value().token;
    }
    void fill() { disk.set_capacity(disk.used_bytes()); }
    void give_space() { disk.set_capacity(1ULL << 40); }

    static std::unique_ptr<network> plain_network(transport::memory_network &line) {
        return std::make_unique<sim::sim_network>(line, receiver_fingerprint, "");
    }

    world &world_;
    sim_file_system disk;
    pool_maker pools; ///< before start()
    std::shared_ptr<site> here;
    std::optional<receiver> engine;
    int boots = 0;
    std::optional<served_groups> served; ///< what is promoted; `serve` is empty: by its devices

  private:
    receiver_config config_;
    const make_network network_of_;
};

struct sender_host {
    sender_host(world &w, char letter, trusting how = trusting::tokens,
                std::uint64_t volume_bytes = limits::MiB)
        : world_(w), disk(2), how_(how) {
        make_image(volume_bytes);
        start(letter);
    }
    /// A host with a network of its own.
    using make_network = std::function<std::unique_ptr<network>(transport::memory_network &)>;
    sender_host(world &w, char letter, make_network network_of)
        : world_(w), disk(2), how_(trusting::tokens), network_of_(std::move(network_of)) {
        make_image(limits::MiB);
        start(letter);
    }
    /// A host with applications.
    sender_host(world &w, char letter, std::vector<hook_config> hooks,
                std::shared_ptr<application_host> applications,
                std::vector<bookmark_config> bookmarks = {})
        : world_(w), disk(2), how_(trusting::tokens), hooks_(std::move(hooks)),
          bookmarks_(std::move(bookmarks)), applications_(std::move(applications)) {
        make_image(limits::MiB);
        start(letter);
    }
    /// A host with a disk that was another one's.
    sender_host(world &w, char letter, trusting how, const sim_file_system &from)
        : world_(w), disk(from), how_(how) {
        start(letter);
    }
    /// Another host with the same disks.
    sender_host(const sender_host &origin, char letter)
        : world_(origin.world_), disk(origin.disk), how_(origin.how_), hooks_(origin.hooks_),
          bookmarks_(origin.bookmarks_), applications_(origin.applications_) {
        start(letter);
    }
    ~sender_host() { world_.await(engine->stop(duration{})); }

    result<peer_status> join(const std::string &token) { return world_.await(engine->join(token)); }
    sender_group_status status() const { return engine->status().front(); }
    bool streams() {
        return world_.until([&] { return status().state == sender_state::streaming; });
    }

    world &world_;
    sim_file_system disk;
    std::optional<sender> engine;

  private:
    const trusting how_;
    make_network network_of_; ///< empty: a plain one
    std::vector<hook_config> hooks_;
    std::vector<bookmark_config> bookmarks_;
    std::shared_ptr<application_host> applications_;

    void make_image(std::uint64_t bytes) {
        REQUIRE(disk.make_directories("/srv"));
        auto image = disk.open("/srv/data", open_mode::create_new);
        REQUIRE(image);
        REQUIRE((*image)->truncate(bytes));
    }
    void start(char letter) {
        sender_config config;
        config.state = state;
        config.memory_bytes_max = 24 * limits::MiB;
        sender_group_config group;
        group.name = "shop";
        if (how_ == trusting::site_ca) {
            config.tls.emplace();
            group.peer = address;
        }
        group.volumes.push_back({"data", "/srv/data", ""});
        group.interval = world_.interval;
        group.hooks = hooks_;
        group.bookmarks = bookmarks_;
        config.groups.push_back(group);
        engine.emplace(config, world_.sender_run(), disk,
                       std::vector<executor>{world_.io.get_executor()});
        engine->use_applications(applications_);
        std::unique_ptr<network> net;
        if (network_of_) {
            net = network_of_(world_.line);
        } else {
            net = std::make_unique<sim::sim_network>(
                world_.line, std::string(64, letter),
                how_ == trusting::site_ca ? "" : receiver_fingerprint);
        }
        sender_access::set_network(*engine, std::move(net), "boot");
        REQUIRE(world_.await(engine->start()));
    }
};

inline bool says(const std::optional<std::string> &text, const char *word) {
    return text && text->find(word) != std::string::npos;
}

} // namespace farshore
