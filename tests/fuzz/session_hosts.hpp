#pragma once
// Both daemons' engines on simulated disks, with two groups of one small volume: shop, whose DR
// site is looked for at `address`, and mail, whose DR site may be elsewhere.

#include "tests/fuzz/session_world.hpp"

namespace farshore::fuzz {

/// Whether a start may be refused, as on damaged state; then started() tells.
enum class may_fail : bool { no, yes };

class receiver_host {
  public:
    receiver_host(world &w, sim_file_system &disk, const char *where, may_fail how = may_fail::no)
        : world_(w), engine(configuration(where), w.run(), disk, {w.io.get_executor()}) {
        receiver_access::set_network(
            engine, std::make_unique<sim::sim_network>(w.line, receiver_fingerprint, ""));
        started_ = w.await(engine.start()).has_value();
        REPL_ASSERT(started_ || how == may_fail::yes);
    }
    ~receiver_host() { world_.await(engine.stop(duration{})); }
    bool started() const { return started_; }

  private:
    static receiver_config configuration(const char *where) {
        receiver_config config;
        config.state = "/state";
        config.listen = where;
        config.memory_bytes_max = 24 * limits::MiB;
        for (const char *name : {"shop", "mail"}) {
            receiver_group_config group;
            group.name = name;
            group.replica = std::string("/srv/") + name;
            group.journal_bytes_max = 16 * limits::MiB;
            group.segment_bytes = 8 * limits::KiB; // some of the history is packed
            group.stretch_bytes = 1;
            config.groups.push_back(group);
        }
        return config;
    }
    world &world_;
    bool started_ = false;

  public:
    receiver engine;
};

class sender_host {
  public:
    sender_host(world &w, sim_file_system &disk, const char *boot, const char *mail_peer,
                may_fail how = may_fail::no)
        : world_(w), engine(configuration(mail_peer), w.run(), disk, {w.io.get_executor()}) {
        sender_access::set_network(
            engine,
            std::make_unique<sim::sim_network>(w.line, sender_fingerprint, receiver_fingerprint),
            boot);
        started_ = w.await(engine.start()).has_value();
        REPL_ASSERT(started_ || how == may_fail::yes);
    }
    ~sender_host() { world_.await(engine.stop(duration{})); }
    bool started() const { return started_; }
    bool paired() const { return status("shop").state != sender_state::unpaired; }
    /// A group that could not be started is `failed`, and the daemon runs.
    bool serves(const std::string &group) const {
        return status(group).state != sender_state::failed;
    }
    std::shared_ptr<block_device> device(const std::string &group) {
        return sender_access::device(engine, group, volume_index{0});
    }
    sender_group_status status(const std::string &group) const {
        for (sender_group_status &s : engine.status()) {
            if (s.name == group) {
                return s;
            }
        }
        REPL_ASSERT(false);
    }

  private:
    static sender_config configuration(const char *mail_peer) {
        sender_config config;
        config.state = "/state";
        config.memory_bytes_max = 24 * limits::MiB;
        config.links = 1;
        for (const char *name : {"shop", "mail"}) {
            sender_group_config group;
            group.name = name;
            group.peer = name == std::string("shop") ? address : mail_peer;
            group.interval = std::chrono::milliseconds(100);
            group.volumes.push_back({"data", std::string("/srv/") + name, ""});
            config.groups.push_back(group);
        }
        return config;
    }
    world &world_;
    bool started_ = false;

  public:
    sender engine;
};

/// Empty state directories and two volumes of zeroes.
inline void make_disks(sim_file_system &primary, sim_file_system &site) {
    for (sim_file_system *disk : {&primary, &site}) {
        REPL_ASSERT(disk->make_directories("/srv") && disk->make_directories("/state"));
    }
    for (const char *name : {"/srv/shop", "/srv/mail"}) {
        auto image = primary.open(name, open_mode::create_new);
        REPL_ASSERT(image && (*image)->truncate(volume_bytes) && (*image)->sync_data());
    }
    REPL_ASSERT(primary.sync_directory("/srv"));
}

inline void pair_both(world &w, sender_host &s, receiver_host &r) {
    for (const char *group : {"shop", "mail"}) {
        auto invited = w.await(r.engine.invite(group, address));
        REPL_ASSERT(invited && w.await(s.engine.join(invited->token)));
    }
}

} // namespace farshore::fuzz
