// A stop under each command: whatever runs ends with words, and before what it uses is destroyed.
// The order is that of daemon/daemon.cpp and daemon/engine_service.hpp; groups and engines assert
// it in their destructors.

#include "replicator/daemon/engine_service.hpp"
#include "replicator/receiver/receiver.hpp"
#include "tests/support/temp_directory.hpp"
#include "tests/unit/sites/engine_rig.hpp"

namespace farshore {
namespace {

using namespace std::chrono_literals;
using control::json;

using sender_service = engine_service<sender, sender_commands<sender>, sender_config>;
using receiver_service = engine_service<receiver, receiver_commands<receiver>, receiver_config>;

/// A command under way.
struct running {
    std::optional<control::outcome> answer;
    template <class Service>
    running(world &w, Service &s, const std::string &command, const json &arguments) {
        asio::co_spawn(w.io, store_result(s.run_command(command, arguments, [](json) {}), answer),
                       asio::detached);
    }
    bool stopped() const {
        return answer && !*answer && answer->error().code == "stopping" &&
               answer->error().exit == 1 && answer->error().message.starts_with("the daemon stops");
    }
};

/// The sender daemon's service over simulated disk and line, in sync with a receiver.
struct primary {
    explicit primary(world &w) : w_(w) {
        auto disk = std::make_unique<sim_file_system>(2);
        REQUIRE(disk->make_directories("/srv"));
        REQUIRE(disk->make_directories(state));
        auto image = disk->open("/srv/data", open_mode::create_new);
        REQUIRE(image);
        REQUIRE((*image)->truncate(limits::MiB));
        sender_config config;
        config.state = state;
        config.memory_bytes_max = 24 * limits::MiB;
        sender_group_config group;
        group.name = "shop";
        group.volumes.push_back({"data", "/srv/data", ""});
        config.groups.push_back(group);
        service.emplace(config, w.run(), std::vector<executor>{w.io.get_executor()}, pool_maker{},
                        std::move(disk));
        sender_access::set_network(
            service->engine(),
            std::make_unique<sim::sim_network>(w.line, std::string(64, 'a'), receiver_fingerprint),
            "boot");
        REQUIRE(w.await(service->start()));
    }
    ~primary() {
        if (!ended) {
            w_.await(service->stop(1s));
        }
    }
    /// As a signal does it, while `command` waits for a line that says nothing.
    void stop_under(const std::string &command, const json &arguments) {
        CAPTURE(command);
        running r(w_, *service, command, arguments);
        w_.run_until([] { return false; }, 2s);
        CHECK_FALSE(r.answer);
        const time_point began = w_.clock.now();
        service->end_commands();
        ended = true;
        w_.await(service->stop(1s));
        CHECK(r.stopped());
        CHECK(w_.clock.now() - began < 5s); // before the question of a join ends by itself
        service.reset();
    }

    world &w_;
    std::optional<sender_service> service;
    bool ended = false;
};

} // namespace

TEST_SUITE("ends") {
    TEST_CASE("the sender stops under join, wait and verify whose peer says nothing") {
        for (const char *command : {"join", "wait", "verify"}) {
            CAPTURE(command);
            world w;
            receiver_host site(w);
            primary p(w);
            const std::string token = site.token();
            const json shop{{"group", "shop"}};
            if (command != std::string("join")) {
                REQUIRE(w.await(p.service->run_command("join", {{"token", token}}, [](json) {})));
                REQUIRE(w.until([&] {
                    return p.service->engine().status().front().state == sender_state::streaming;
                }));
                REQUIRE(w.await(p.service->engine().wait("shop", false, 1min)));
            }
            w.line.half_open();
            p.stop_under(command, command == std::string("join") ? json{{"token", token}} : shop);
            w.line.heal();
        }
    }

    TEST_CASE("the sender stops under a join that the receiver took and does not answer") {
        world w;
        std::vector<std::unique_ptr<transport::link>> taken;
        receiver_host site(w);
        primary p(w);
        const std::string token = site.token();
        w.line.listen(address, [&taken](std::unique_ptr<transport::link> l) {
            taken.push_back(std::move(l));
        });
        p.stop_under("join", {{"token", token}});
        CHECK(taken.size() == 1);
        taken.clear();
    }

    TEST_CASE("a join that is never answered ends by itself, with words") {
        world w;
        std::vector<std::unique_ptr<transport::link>> taken;
        receiver_host site(w);
        primary p(w);
        const std::string token = site.token();
        w.line.listen(address, [&taken](std::unique_ptr<transport::link> l) {
            taken.push_back(std::move(l));
        });
        running r(w, *p.service, "join", {{"token", token}});
        REQUIRE(w.run_until([&] { return r.answer.has_value(); }, 1min));
        CHECK(r.answer->error().code == "timed_out");
        CHECK(r.answer->error().exit == 15);
        CHECK(r.answer->error().message.find("did not answer") != std::string::npos);
        taken.clear();
    }

    TEST_CASE("a command that comes during the stop is answered at once") {
        world w;
        primary p(w);
        p.service->end_commands();
        running r(w, *p.service, "status", json::object());
        REQUIRE(w.until([&] { return r.answer.has_value(); }));
        CHECK(r.stopped());
    }

    TEST_CASE("the receiver stops under open, close and points whose disk is slow") {
        for (const char *command : {"open", "close", "points"}) {
            CAPTURE(command);
            world w;
            asio::io_context disk;
            bool held = false;
            const auto run_until = [&](const std::function<bool()> &condition, duration patience) {
                return w.run_until(
                    [&] {
                        disk.restart();
                        if (!held && disk.poll() > 0) {
                            test::run_ready(w.io);
                        }
                        return condition();
                    },
                    patience);
            };
            const auto await = [&](task<void> t) {
                bool done = false;
                asio::co_spawn(w.io, mark_done(std::move(t), done), asio::detached);
                REQUIRE(run_until([&] { return done; }, 1min));
            };
            runtime run = w.run();
            run.disk = disk.get_executor();
            auto files = std::make_unique<sim_file_system>(1);
            REQUIRE(files->make_directories(state));
            receiver_config config;
            config.state = state;
            config.listen = address;
            receiver_group_config group;
            group.name = "shop";
            group.replica = "/srv";
            group.journal_bytes_max = 16 * limits::MiB;
            config.groups.push_back(group);
            std::optional<receiver_service> service;
            service.emplace(config, run, std::vector<executor>{w.io.get_executor()}, pool_maker{},
                            std::move(files));
            receiver_access::set_network(service->engine(), std::make_unique<sim::sim_network>(
                                                                w.line, receiver_fingerprint, ""));
            std::optional<result<>> started;
            asio::co_spawn(w.io, store_result(service->start(), started), asio::detached);
            REQUIRE(run_until([&] { return started.has_value(); }, 1min));
            REQUIRE(*started);
            {
                sender_host sender(w, 'a');
                std::optional<result<invitation>> invited;
                asio::co_spawn(w.io,
                               store_result(service->engine().invite("shop", address), invited),
                               asio::detached);
                REQUIRE(run_until([&] { return invited.has_value(); }, 1min));
                REQUIRE(*invited);
                std::optional<result<peer_status>> joined;
                asio::co_spawn(w.io, store_result(sender.engine->join((*invited)->token), joined),
                               asio::detached);
                REQUIRE(run_until([&] { return joined.has_value(); }, 1min));
                REQUIRE(
                    run_until([&] { return service->engine().status().front().points > 0; }, 1min));
                held = true;
                const temp_directory dir;
                const json arguments =
                    command == std::string("open")
                        ? json{{"group", "shop"}, {"nbd", "unix:" + (dir / "p.sock")}}
                    : command == std::string("close") ? json{{"id", "shop-1"}}
                                                      : json{{"group", "shop"}};
                running r(w, *service, command, arguments);
                run_until([] { return false; }, 100ms);
                if (command == std::string("open")) {
                    CHECK_FALSE(r.answer);
                }
                service->end_commands();
                held = false;
                await(service->stop(1s));
                CHECK(r.answer.has_value());
                if (command == std::string("open")) {
                    CHECK(r.stopped());
                }
                service.reset();
                bool gone = false;
                asio::co_spawn(w.io, mark_done(sender.engine->stop(duration{}), gone),
                               asio::detached);
                REQUIRE(run_until([&] { return gone; }, 1min));
            }
        }
    }
}

} // namespace farshore
