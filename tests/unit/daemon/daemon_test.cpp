#include "replicator/cli/socket_search.hpp"
#include "replicator/control/unix_socket.hpp"
#include "replicator/daemon/daemon.hpp"
#include "replicator/daemon/daemon_main.hpp"
#include "replicator/daemon/notify.hpp"

#include <doctest/doctest.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <sys/stat.h>
#include <thread>

namespace farshore {
namespace {

struct temporary_directory {
    temporary_directory() {
        char name[] = "/tmp/farshore-daemon-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        path = name;
    }
    ~temporary_directory() { std::filesystem::remove_all(path); }
    std::string path;
};

unique_fd listening(const std::string &path, int type = SOCK_STREAM) {
    unique_fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    const auto address = control::socket_address(path);
    REQUIRE(address);
    REQUIRE(::bind(fd.get(), static_cast<const sockaddr *>(static_cast<const void *>(&*address)),
                   sizeof *address) == 0);
    if (type == SOCK_STREAM) {
        REQUIRE(::listen(fd.get(), 8) == 0);
    }
    return fd;
}

std::string received(const unique_fd &fd) {
    char text[512];
    const ssize_t n = ::recv(fd.get(), text, sizeof text, MSG_DONTWAIT);
    return n < 0 ? "" : std::string(text, static_cast<std::size_t>(n));
}

/// What happened to the fake engine, in order.
struct story {
    std::vector<std::string> steps;
    std::string socket;
    bool socket_was_private = false;
    error start_failure;
};

class fake_service final : public service {
  public:
    explicit fake_service(story &s) : story_(s) {}
    ~fake_service() override { story_.steps.emplace_back("gone"); }
    task<result<>> start() override {
        story_.steps.emplace_back("start");
        if (story_.start_failure.code) {
            co_return std::unexpected(story_.start_failure);
        }
        // A signal during the start is not lost.
        ::raise(SIGTERM);
        co_return result<>{};
    }
    void end_commands() override { story_.steps.emplace_back("end commands"); }
    task<void> stop(duration) override {
        story_.steps.emplace_back("stop");
        co_return;
    }
    task<control::outcome> run_command(std::string, control::json,
                                       control::progress_sink) override {
        co_return control::json::object();
    }
    std::string summary() const override {
        struct stat info{};
        story_.socket_was_private =
            ::stat(story_.socket.c_str(), &info) == 0 && (info.st_mode & 0777) == 0600;
        return "shop streaming";
    }

  private:
    story &story_;
};

int run(story &s, const std::string &socket) {
    s.socket = socket;
    return run_daemon(socket, [&](runtime, std::vector<executor> loops, pool_maker) {
        CHECK(!loops.empty());
        return std::make_unique<fake_service>(s);
    });
}

} // namespace

TEST_SUITE("daemon") {
    TEST_CASE("a signal stops the daemon in order, with exit code 0") {
        temporary_directory dir;
        const std::string socket = dir.path + "/deep/run/sender.sock";
        story s;
        CHECK(run(s, socket) == 0);
        CHECK(s.steps == std::vector<std::string>{"start", "end commands", "stop", "gone"});
        CHECK(s.socket_was_private);
        CHECK(!std::filesystem::exists(socket));
    }

    TEST_CASE("a failed start gives the failure's exit code and tells the service manager why") {
        temporary_directory dir;
        const unique_fd manager = listening(dir.path + "/notify", SOCK_DGRAM);
        ::setenv("NOTIFY_SOCKET", (dir.path + "/notify").c_str(), 1);
        story s;
        s.start_failure = {make_error_code(errc::busy), "/srv/data.img"};
        CHECK(run(s, dir.path + "/c.sock") == 11);
        ::unsetenv("NOTIFY_SOCKET");
        CHECK(s.steps == std::vector<std::string>{"start", "gone"});
        CHECK(received(manager) == "STATUS=/srv/data.img: it is in use");
    }

    TEST_CASE("a control socket of another daemon ends the start, the engine stopped in order") {
        temporary_directory dir;
        const unique_fd other = listening(dir.path + "/c.sock");
        story s;
        CHECK(run(s, dir.path + "/c.sock") == 11);
        CHECK(s.steps == std::vector<std::string>{"start", "end commands", "stop", "gone"});
    }

    TEST_CASE("the service manager is told over its socket, and its absence is no error") {
        temporary_directory dir;
        const unique_fd manager = listening(dir.path + "/notify", SOCK_DGRAM);
        ::setenv("NOTIFY_SOCKET", (dir.path + "/notify").c_str(), 1);
        notify_service_manager("READY=1");
        CHECK(received(manager) == "READY=1");
        ::setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
        notify_service_manager("READY=1");
        ::unsetenv("NOTIFY_SOCKET");
        notify_service_manager("READY=1");
        CHECK(received(manager).empty());
    }

    TEST_CASE("the daemons' options") {
        const char *good[] = {"farshore-sender", "--config", "/etc/farshore/sender.toml"};
        const auto a = parse_daemon_arguments("farshore-sender", 3, good);
        REQUIRE(a.options);
        CHECK(a.options->config == "/etc/farshore/sender.toml");
        const char *version[] = {"farshore-sender", "--version"};
        const auto v = parse_daemon_arguments("farshore-sender", 2, version);
        CHECK(!v.options);
        CHECK(v.exit == 0);
        CHECK(v.text.find("farshore-sender " FARSHORE_VERSION) != std::string::npos);
        const char *none[] = {"farshore-sender"};
        CHECK(parse_daemon_arguments("farshore-sender", 1, none).exit == 2);
        const char *unknown[] = {"farshore-sender", "--config", "x", "--bogus"};
        CHECK(parse_daemon_arguments("farshore-sender", 4, unknown).exit == 2);
    }
}

TEST_SUITE("socket_search") {
    TEST_CASE("the only control socket is found among stale ones, volumes and other files") {
        temporary_directory dir;
        CHECK(default_socket(dir.path).error().code == "no_daemon");
        CHECK(default_socket(dir.path + "/nothing").error().code == "no_daemon");
        const unique_fd daemon = listening(dir.path + "/shop.sock");
        {
            const unique_fd stale = listening(dir.path + "/stale.sock");
        }
        const unique_fd volume = listening(dir.path + "/data.sock");
        std::thread nbd([&] {
            const unique_fd client(::accept(volume.get(), nullptr, nullptr));
            static_cast<void>(::send(client.get(), "NBDMAGIC", 8, MSG_NOSIGNAL));
            char byte = 0;
            static_cast<void>(::recv(client.get(), &byte, 1, 0));
        });
        const auto found = default_socket(dir.path);
        nbd.join();
        REQUIRE(found);
        CHECK(*found == dir.path + "/shop.sock");
    }

    TEST_CASE("two daemons are listed, none is chosen") {
        temporary_directory dir;
        const unique_fd a = listening(dir.path + "/sender.sock");
        const unique_fd b = listening(dir.path + "/receiver.sock");
        const auto found = default_socket(dir.path);
        REQUIRE(!found);
        CHECK(found.error().exit == 2);
        CHECK(found.error().message.find(dir.path + "/receiver.sock " + dir.path +
                                         "/sender.sock") != std::string::npos);
    }
}

} // namespace farshore
