#pragma once
// Both daemons in one simulated world, with groups that change their direction: the primary's with
// plain groups and those that have followed once, the DR site's with what it serves.

#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "replicator/failover/turned_groups.hpp"
#include "tests/unit/sites/engine_rig.hpp"

namespace farshore {

inline constexpr const char *volume_path = "/srv/data";
inline constexpr const char *replica_path = "/srv/data.img";

/// The primary's daemon: plain groups, and those that have followed once.
struct primary_host : mortal<primary_host> {
    primary_host(world &w) : world_(w), disk(2) {
        REQUIRE(disk.make_directories("/srv"));
        auto image = disk.open(volume_path, open_mode::create_new);
        REQUIRE(image);
        REQUIRE((*image)->truncate(limits::MiB));
        REQUIRE((*image)->sync_all());
        image->reset();
        REQUIRE(disk.sync_directory("/srv"));
        REQUIRE(disk.sync_directory("/"));
        start();
    }
    ~primary_host() { stop(); }
    void start() {
        sender_config config;
        config.state = state;
        config.memory_bytes_max = 24 * limits::MiB;
        sender_group_config group;
        group.name = "shop";
        group.spool_bytes_max = 16 * limits::MiB;
        group.volumes.push_back({"data", volume_path, ""});
        group.interval = world_.interval;
        group.start_after_contact = after_contact;
        config.groups.push_back(group);
        const auto found = turned_groups::found(disk, config);
        REQUIRE(found);
        sender_config plain = config;
        std::erase_if(plain.groups, [&](const sender_group_config &g) {
            return std::ranges::find(*found, g.name) != found->end();
        });
        here = std::make_shared<site>(config.state, config.tls, world_.run(), disk,
                                      std::vector<executor>{world_.io.get_executor()});
        engine.emplace(plain, here);
        sender_access::set_network(*engine,
                                   std::make_unique<sim::sim_network>(
                                       world_.line, std::string(64, 'a'), receiver_fingerprint),
                                   "boot" + std::to_string(boots));
        turned.emplace(*engine, here, config, *found, nullptr, "boot" + std::to_string(boots));
        REQUIRE(world_.await(engine->start()));
        REQUIRE(world_.await(turned->start()));
    }
    void stop() {
        if (engine) {
            world_.await(turned->stop());
            world_.await(engine->stop(duration{}));
            turned.reset();
            engine.reset();
            here.reset();
        }
    }
    sender_group_status status() const {
        auto all = engine->status();
        for (sender_group_status &s : turned->status()) {
            all.push_back(std::move(s));
        }
        REQUIRE(all.size() == 1);
        return all.front();
    }
    std::shared_ptr<block_device> device() {
        return turned->has("shop") ? turned->served().device("shop", volume_index{0})
                                   : sender_access::device(*engine, "shop", volume_index{0});
    }

    world &world_;
    sim_file_system disk;
    int boots = 0;
    bool after_contact = false; ///< from the next start on
    std::shared_ptr<site> here;
    std::optional<sender> engine;
    std::optional<turned_groups> turned;
};

struct two_ways {
    world w;
    receiver_host site{w};
    primary_host primary{w};

    two_ways() {
        REQUIRE(w.await(primary.engine->join(site.token())));
        REQUIRE(streams());
        for (std::uint64_t block = 0; block < 60; block += 3) {
            put(*primary.device(), block, std::byte{0x11});
        }
        settle_at_primary();
    }
    bool streams() {
        return w.until([&] { return primary.status().state == sender_state::streaming; });
    }
    static void put(block_device &device, std::uint64_t block, std::byte value) {
        REQUIRE(device.write(block * block_bytes, byte_vector(block_bytes, value), false));
    }
    void settle_at_primary() {
        sender *half = primary.turned->served().half("shop");
        sender &at = half != nullptr ? *half : *primary.engine;
        REQUIRE(w.await(at.wait("shop", false, std::chrono::seconds(60))));
    }
    void settle_at_site() {
        sender *half = site.served->half("shop");
        REQUIRE(half != nullptr);
        REQUIRE(w.await(half->wait("shop", false, std::chrono::seconds(60))));
    }
    std::shared_ptr<block_device> served() { return site.served->device("shop", volume_index{0}); }
    bool equal() {
        byte_vector here(limits::MiB);
        byte_vector there(limits::MiB);
        return (*primary.disk.open(volume_path, open_mode::read))->read_at(0, here) &&
               (*site.disk.open(replica_path, open_mode::read))->read_at(0, there) && here == there;
    }
    void fail_over() {
        w.line.cut(std::chrono::seconds(1));
        REQUIRE(w.run_until([&] { return !site.status().connected; }, std::chrono::minutes(1)));
        REQUIRE(w.await(site.served->promote("shop", "", false, {})));
    }
    bool fenced() {
        w.line.heal();
        return w.until([&] { return primary.status().state == sender_state::fenced; });
    }
    std::byte at_primary(const std::string &point, std::uint64_t block) {
        auto devices =
            w.await(receiver_access::open_devices(primary.turned->copies(), "shop", point));
        REQUIRE_MESSAGE(devices, (devices ? "" : devices.error().text()));
        byte_vector out(block_bytes);
        REQUIRE((*devices)[0]->read(block * block_bytes, out));
        return out[0];
    }
    std::vector<std::string> names_at_primary() {
        std::vector<std::string> names;
        const auto points = w.await(primary.turned->copies().points("shop"));
        REQUIRE(points);
        for (const point_info &p : *points) {
            if (!p.name.empty()) {
                names.push_back(p.name);
            }
        }
        return names;
    }
};

} // namespace farshore
