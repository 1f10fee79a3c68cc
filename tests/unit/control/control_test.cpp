#include "replicator/base/limits.hpp"
#include "replicator/control/control.hpp"
#include "replicator/control/json_guard.hpp"
#include "replicator/control/unix_socket.hpp"

#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <sys/stat.h>
#include <thread>

namespace farshore::control {
namespace {

struct temporary_directory {
    temporary_directory() {
        char name[] = "/tmp/farshore-control-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        path = name;
    }
    ~temporary_directory() { std::filesystem::remove_all(path); }
    std::string path;
};

/// What the test's handler was seen to do, over threads.
struct witness {
    std::atomic<int> started{0};
    std::atomic<int> cancelled{0};
};

struct ended_note {
    std::shared_ptr<witness> seen;
    bool normal = false;
    ~ended_note() { seen->cancelled += normal ? 0 : 1; }
};

task<outcome> handle(std::shared_ptr<witness> seen, std::string command, json arguments,
                     progress_sink progress) {
    ++seen->started;
    if (command == "echo") {
        co_return json{{"got", arguments}};
    }
    if (command == "steps") {
        for (int i = 1; i <= 3; ++i) {
            progress({{"done", i}});
            asio::steady_timer timer(co_await asio::this_coro::executor,
                                     std::chrono::milliseconds(5));
            co_await timer.async_wait(as_result);
        }
        co_return json{{"steps", 3}};
    }
    if (command == "forever") {
        ended_note note{seen};
        condition never;
        co_await never.wait();
        co_await never.wait();
        note.normal = true;
        co_return json::object();
    }
    if (command == "throw") {
        throw std::runtime_error("a broken handler");
    }
    co_return std::unexpected(failure{"not_found", "no such thing", 10});
}

/// A server on its own thread; the test's thread is the client.
struct running_server {
    explicit running_server(const std::string &path) {
        server_ = std::make_unique<server>(
            io.get_executor(), [s = seen](std::string command, json arguments, progress_sink p) {
                return handle(s, std::move(command), std::move(arguments), std::move(p));
            });
        listening = server_->listen(path);
        thread = std::thread([this] { io.run(); });
    }
    void stop() {
        if (thread.joinable()) {
            asio::co_spawn(io, server_->close(), asio::use_future).get();
            work.reset();
            thread.join();
        }
    }
    ~running_server() { stop(); }

    std::shared_ptr<witness> seen = std::make_shared<witness>();
    asio::io_context io{1};
    asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(io);
    std::unique_ptr<server> server_;
    result<> listening;
    std::thread thread;
};

std::string raw_exchange(const std::string &path, const std::string &text) {
    auto fd = connect_to(path);
    REQUIRE(fd.has_value());
    std::size_t sent = 0;
    while (sent < text.size()) {
        const ssize_t n = ::send(fd->get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
        if (n <= 0) {
            break;
        }
        sent += static_cast<std::size_t>(n);
    }
    ::shutdown(fd->get(), SHUT_WR);
    std::string answer;
    char piece[4096];
    ssize_t n = 0;
    while ((n = ::recv(fd->get(), piece, sizeof piece, 0)) > 0) {
        answer.append(piece, static_cast<std::size_t>(n));
    }
    return answer;
}

template <class Predicate>
bool soon(Predicate holds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!holds()) {
        if (std::chrono::steady_clock::now() > end) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

} // namespace

TEST_SUITE("control") {
    TEST_CASE("a command's result, failure and exit code come back to the client") {
        temporary_directory dir;
        const std::string path = dir.path + "/c.sock";
        running_server s(path);
        REQUIRE(s.listening);
        const auto echoed = call(path, "echo", {{"x", 1}}, nullptr);
        REQUIRE(echoed);
        CHECK(*echoed == json{{"got", {{"x", 1}}}});
        const auto failed = call(path, "nothing", json::object(), nullptr);
        REQUIRE(!failed);
        CHECK(failed.error().code == "not_found");
        CHECK(failed.error().message == "no such thing");
        CHECK(failed.error().exit == 10);
    }

    TEST_CASE("progress arrives before the result") {
        temporary_directory dir;
        const std::string path = dir.path + "/c.sock";
        running_server s(path);
        std::vector<int> seen;
        const auto done = call(path, "steps", json::object(),
                               [&](const json &p) { seen.push_back(p["done"].get<int>()); });
        REQUIRE(done);
        REQUIRE(!seen.empty());
        CHECK(std::ranges::is_sorted(seen));
        CHECK(seen.back() <= 3);
    }

    TEST_CASE("an exception in a handler fails that command only") {
        temporary_directory dir;
        const std::string path = dir.path + "/c.sock";
        running_server s(path);
        const auto failed = call(path, "throw", json::object(), nullptr);
        REQUIRE(!failed);
        CHECK(failed.error().message == "a broken handler");
        CHECK(call(path, "echo", json::object(), nullptr).has_value());
    }

    TEST_CASE("the socket can be used by its owner only") {
        temporary_directory dir;
        const std::string path = dir.path + "/c.sock";
        running_server s(path);
        struct stat info{};
        REQUIRE(::stat(path.c_str(), &info) == 0);
        CHECK((info.st_mode & 0777) == 0600);
    }

    TEST_CASE("a hang-up cancels the running command, a half-close does not") {
        temporary_directory dir;
        const std::string path = dir.path + "/c.sock";
        running_server s(path);
        {
            auto fd = connect_to(path);
            REQUIRE(fd);
            const std::string text = "{\"command\": \"forever\"}\n";
            REQUIRE(::send(fd->get(), text.data(), text.size(), 0) ==
                    static_cast<ssize_t>(text.size()));
            REQUIRE(soon([&] { return s.seen->started == 1; }));
            CHECK(s.seen->cancelled == 0);
        }
        CHECK(soon([&] { return s.seen->cancelled == 1; }));
        CHECK(raw_exchange(path, "{\"command\": \"steps\"}\n").find("\"result\"") !=
              std::string::npos);
    }

    TEST_CASE("close ends running commands and removes the socket") {
        temporary_directory dir;
        const std::string path = dir.path + "/c.sock";
        running_server s(path);
        auto waiting = std::async(std::launch::async,
                                  [&] { return call(path, "forever", json::object(), nullptr); });
        REQUIRE(soon([&] { return s.seen->started == 1; }));
        s.stop();
        const auto ended = waiting.get();
        REQUIRE(!ended);
        CHECK(ended.error().code == "stopping");
        CHECK(ended.error().exit == 1);
        CHECK(ended.error().message.starts_with("the daemon stops"));
        CHECK(!std::filesystem::exists(path));
        const auto nobody = call(path, "echo", json::object(), nullptr);
        REQUIRE(!nobody);
        CHECK(nobody.error().code == "no_daemon");
        CHECK(nobody.error().exit == 1);
    }

    TEST_CASE("requests that are no requests are answered as usage errors") {
        temporary_directory dir;
        const std::string path = dir.path + "/c.sock";
        running_server s(path);
        const std::string deep(40, '[');
        for (const std::string &text :
             {std::string("garbage"), std::string("[]"), std::string("{}"),
              std::string(R"({"command": 5})"), std::string(R"({"command":"echo","arguments":3})"),
              deep + std::string(40, ']')}) {
            CAPTURE(text);
            const auto document = parse_json(raw_exchange(path, text + "\n"));
            REQUIRE(document);
            CHECK((*document)["error"]["code"] == "usage");
            CHECK((*document)["exit"] == 2);
        }
        CHECK(s.seen->started == 0);
    }

    TEST_CASE("several requests on one connection are answered in order") {
        temporary_directory dir;
        const std::string path = dir.path + "/c.sock";
        running_server s(path);
        std::string text;
        for (int i = 0; i < 5; ++i) {
            text += to_line({{"command", "echo"}, {"arguments", {{"i", i}}}}) + "\n";
        }
        const std::string answers = raw_exchange(path, text);
        std::size_t at = 0;
        for (int i = 0; i < 5; ++i) {
            at = answers.find("{\"i\":" + std::to_string(i) + "}", at);
            REQUIRE(at != std::string::npos);
        }
    }

    TEST_CASE("a line beyond the limit is refused, one at the limit is read") {
        temporary_directory dir;
        const std::string path = dir.path + "/c.sock";
        running_server s(path);
        const std::string frame = to_line({{"command", "echo"}, {"arguments", {{"a", ""}}}}) + "\n";
        const std::size_t room = limits::control_line_bytes_max - frame.size();
        const auto sized = [&](std::size_t n) {
            return to_line({{"command", "echo"}, {"arguments", {{"a", std::string(n, 'x')}}}}) +
                   "\n";
        };
        CHECK(raw_exchange(path, sized(room)).find("\"result\"") != std::string::npos);
        const std::string refused = raw_exchange(path, sized(room + 1));
        // The rest of the line may be cut off with a reset before the answer is read.
        CHECK(refused.find("\"result\"") == std::string::npos);
        CHECK(call(path, "echo", json::object(), nullptr).has_value());
    }

    TEST_CASE("clients beyond the bound are told so") {
        temporary_directory dir;
        const std::string path = dir.path + "/c.sock";
        running_server s(path);
        std::vector<unique_fd> held;
        for (std::size_t i = 0; i < limits::control_clients_max; ++i) {
            auto fd = connect_to(path);
            REQUIRE(fd);
            held.push_back(std::move(*fd));
        }
        auto extra = connect_to(path);
        REQUIRE(extra);
        char text[256]{};
        REQUIRE(::recv(extra->get(), text, sizeof text - 1, 0) > 0);
        CHECK(std::string(text).find("\"busy\"") != std::string::npos);
        held.clear();
        CHECK(soon([&] { return call(path, "echo", json::object(), nullptr).has_value(); }));
    }

    TEST_CASE("a stale socket is replaced, a living one and a file are not") {
        temporary_directory dir;
        const std::string path = dir.path + "/c.sock";
        {
            const unique_fd stale(::socket(AF_UNIX, SOCK_STREAM, 0));
            const auto address = socket_address(path);
            REQUIRE(address);
            REQUIRE(::bind(stale.get(),
                           static_cast<const sockaddr *>(static_cast<const void *>(&*address)),
                           sizeof *address) == 0);
        }
        running_server s(path);
        CHECK(s.listening);
        running_server second(path);
        REQUIRE(!second.listening);
        CHECK(is(second.listening.error(), errc::busy));
        second.stop();
        CHECK(call(path, "echo", json::object(), nullptr).has_value());

        const std::string file = dir.path + "/file";
        std::ofstream(file) << "precious";
        running_server third(file);
        REQUIRE(!third.listening);
        CHECK(is(third.listening.error(), errc::invalid));
        CHECK(std::filesystem::file_size(file) == 8);
    }

    TEST_CASE("a call ends in time when the daemon listens and does nothing") {
        temporary_directory dir;
        const std::string path = dir.path + "/c.sock";
        const unique_fd stopped(::socket(AF_UNIX, SOCK_STREAM, 0));
        const auto address = socket_address(path);
        REQUIRE(address);
        REQUIRE(::bind(stopped.get(),
                       static_cast<const sockaddr *>(static_cast<const void *>(&*address)),
                       sizeof *address) == 0);
        REQUIRE(::listen(stopped.get(), 0) == 0);
        const auto began = std::chrono::steady_clock::now();
        call_limits limits;
        limits.total = std::chrono::milliseconds(50);
        // The first ones are taken by the queue, the next ones find it full.
        std::vector<unique_fd> waiting;
        for (int i = 0; i < 4; ++i) {
            const auto answer = call(path, "status", json::object(), nullptr, limits);
            REQUIRE(!answer);
            CHECK(answer.error().code == "timed_out");
            CHECK(answer.error().exit == 15);
            CHECK(answer.error().message.starts_with("the daemon at " + path +
                                                     " does not answer within 0.05 s"));
            if (auto one = connect_to(path, std::chrono::milliseconds(1))) {
                waiting.push_back(std::move(*one));
            }
        }
        CHECK(is(connect_to(path, std::chrono::milliseconds(1)).error(), errc::timeout));
        limits.total.reset();
        limits.silence = std::chrono::milliseconds(50);
        CHECK(call(path, "status", json::object(), nullptr, limits).error().code == "timed_out");
        CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(5));
        // Nor does another daemon wait for ever in order to say that this one has the socket.
        waiting.clear();
    }

    TEST_CASE("a socket path longer than an address can hold is refused") {
        CHECK(socket_address(std::string(107, 'a')).has_value());
        CHECK(!socket_address(std::string(108, 'a')).has_value());
        CHECK(!socket_address("").has_value());
    }
}

} // namespace farshore::control
