// The daemon's side of the control socket.
//
// A client is one coroutine that reads a request, runs it, and reads the next. While a request
// runs, two more coroutines belong to the client: the command itself and a watcher that waits for
// the client's hang-up (a full close; a half-close as of `socat` leaves it waiting for the answer)
// and then cancels the command. Progress that the client reads too slowly is replaced by newer
// progress.

#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/base/log_repeat.hpp"
#include "replicator/control/control.hpp"
#include "replicator/control/json_guard.hpp"
#include "replicator/control/unix_socket.hpp"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/read_until.hpp>
#include <asio/write.hpp>

#include <cerrno>
#include <exception>
#include <optional>
#include <set>
#include <sys/stat.h>

namespace farshore::control {
namespace {

using stream = asio::local::stream_protocol;

json error_document(const failure &f) {
    return {{"error", {{"code", f.code}, {"message", f.message}}}, {"exit", f.exit}};
}

/// What a command that ended by an exception is answered with. Cancelling is ordinary.
failure failure_thrown(const std::exception_ptr &thrown) {
    try {
        std::rethrow_exception(thrown);
    } catch (const std::system_error &e) {
        if (e.code() == asio::error::operation_aborted) {
            return {"interrupted", "the command was cancelled", 130};
        }
        return {"failed", e.what(), 1};
    } catch (const std::exception &e) {
        return {"failed", e.what(), 1};
    }
}

struct request {
    std::string command;
    json arguments;
};

std::expected<request, failure> parse_request(const std::string &line) {
    const auto bad = [](std::string message) {
        return std::unexpected(failure{"usage", std::move(message), 2});
    };
    auto document = parse_json(line);
    if (!document) {
        return bad(document.error().context);
    }
    if (!document->is_object()) {
        return bad("a request is a JSON object");
    }
    const auto command = document->find("command");
    if (command == document->end() || !command->is_string()) {
        return bad("a request has a \"command\"");
    }
    request r{command->get<std::string>(), json::object()};
    if (const auto it = document->find("arguments"); it != document->end()) {
        if (!it->is_object()) {
            return bad("\"arguments\" is a JSON object");
        }
        r.arguments = std::move(*it);
    }
    return r;
}

struct client {
    explicit client(stream::socket s) : socket(std::move(s)) {}

    stream::socket socket;
    std::string input;
    asio::cancellation_signal cancel_command;
    asio::cancellation_signal cancel_watcher;
    condition wake; ///< progress came, the command or the watcher ended
    std::optional<json> progress;
    std::optional<outcome> answer;
    bool watching = false;
};
using client_ptr = std::shared_ptr<client>;

task<void> watch_for_hang_up(client_ptr c) {
    const auto [ec] = co_await c->socket.async_wait(stream::socket::wait_error, as_result);
    if (!ec) {
        c->cancel_command.emit(asio::cancellation_type::terminal);
    }
}

task<bool> write_line(client_ptr c, json document) {
    const std::string line = to_line(document) + "\n";
    const auto [ec, n] = co_await asio::async_write(c->socket, asio::buffer(line), as_result);
    co_return !ec;
}

} // namespace

struct server::impl : std::enable_shared_from_this<server::impl> {
    impl(executor ex, handler h)
        : home(std::move(ex)), run_command(std::move(h)), acceptor(home), tasks(home) {}

    executor home;
    handler run_command;
    stream::acceptor acceptor;
    task_group tasks;
    std::set<client_ptr> clients;
    std::string path;
    ino_t inode = 0; ///< of our socket file: another daemon's is never removed
    bool closing = false;
    system_clock time;
    log::repeats accept_failures;

    task<void> accept_clients();
    task<void> serve(client_ptr c);
    task<std::optional<std::string>> read_line(client_ptr c);
    task<bool> answer(client_ptr c, std::string line);
    void start(const client_ptr &c, request r);
};

void server::impl::start(const client_ptr &c, request r) {
    c->answer.reset();
    c->progress.reset();
    progress_sink sink = [c](json document) {
        if (!c->answer) {
            c->progress = std::move(document);
            c->wake.notify_all();
        }
    };
    asio::co_spawn(home, run_command(std::move(r.command), std::move(r.arguments), std::move(sink)),
                   asio::bind_cancellation_slot(
                       c->cancel_command.slot(),
                       [c, s = weak_from_this()](std::exception_ptr thrown, outcome value) {
                           const auto self = s.lock();
                           const bool stops = !self || self->closing;
                           c->answer = !thrown ? std::move(value)
                                       : stops ? std::unexpected(stopping_failure())
                                               : std::unexpected(failure_thrown(thrown));
                           c->wake.notify_all();
                       }));
    c->watching = true;
    asio::co_spawn(home, watch_for_hang_up(c),
                   asio::bind_cancellation_slot(c->cancel_watcher.slot(), [c](std::exception_ptr) {
                       c->watching = false;
                       c->wake.notify_all();
                   }));
}

/// Runs one request to its end; false when the client is gone.
task<bool> server::impl::answer(client_ptr c, std::string line) {
    auto r = parse_request(line);
    if (!r) {
        co_return co_await write_line(c, error_document(r.error()));
    }
    start(c, std::move(*r));
    bool there = true;
    while (!c->answer) {
        if (there && c->progress) {
            json document{{"progress", std::move(*c->progress)}};
            c->progress.reset();
            there = co_await write_line(c, std::move(document));
        } else {
            const bool woken = co_await c->wake.wait_until(time, time.now() + alive_every);
            if (!woken && there && !c->answer && !c->progress) {
                c->progress = json::object(); // still at work
            }
        }
    }
    c->cancel_watcher.emit(asio::cancellation_type::terminal);
    while (c->watching) {
        co_await c->wake.wait();
    }
    json document = c->answer->has_value() ? json{{"result", std::move(**c->answer)}}
                                           : error_document(c->answer->error());
    if (there) {
        there = co_await write_line(c, std::move(document));
    }
    co_return there;
}

/// The next line without its end; nothing when the client hung up or sent too long a line (which it
/// is told).
task<std::optional<std::string>> server::impl::read_line(client_ptr c) {
    const auto [ec, n] = co_await asio::async_read_until(
        c->socket, asio::dynamic_buffer(c->input, limits::control_line_bytes_max), '\n', as_result);
    if (ec == asio::error::not_found) {
        const failure f{"usage", "the request is longer than a control line may be", 2};
        co_await write_line(c, error_document(f));
    }
    if (ec) {
        co_return std::nullopt;
    }
    std::string line = c->input.substr(0, n - 1);
    c->input.erase(0, n);
    co_return line;
}

task<void> server::impl::serve(client_ptr c) {
    const auto keep = shared_from_this();
    for (;;) {
        auto line = co_await read_line(c);
        if (!line || closing) {
            break;
        }
        const bool there = co_await answer(c, std::move(*line));
        if (!there || closing) {
            break;
        }
    }
    asio::error_code ignored;
    c->socket.close(ignored);
    clients.erase(c);
}

task<void> server::impl::accept_clients() {
    const auto keep = shared_from_this();
    while (!closing) {
        auto [ec, socket] = co_await acceptor.async_accept(as_result);
        if (closing) {
            break;
        }
        if (ec) {
            // Out of descriptors, most likely: the clients that are there must end first.
            if (const auto more = accept_failures.failed(ec.message(), time.now())) {
                log::warning("control socket {}: {}; tried again until it works{}", path,
                             ec.message(), *more);
            }
            asio::steady_timer pause(home, std::chrono::milliseconds(100));
            co_await pause.async_wait(as_result);
            continue;
        }
        if (const auto after = accept_failures.worked(time.now())) {
            log::info("control socket {}: takes clients again{}", path, *after);
        }
        auto c = std::make_shared<client>(std::move(socket));
        if (clients.size() >= limits::control_clients_max) {
            const std::string line =
                to_line(error_document({"busy", "too many control clients", 11})) + "\n";
            asio::error_code ignored;
            c->socket.non_blocking(true, ignored);
            c->socket.write_some(asio::buffer(line), ignored);
            continue;
        }
        clients.insert(c);
        tasks.spawn(serve(c));
    }
}

server::server(executor home, handler h)
    : impl_(std::make_shared<impl>(std::move(home), std::move(h))) {}
server::~server() = default;

result<> server::listen(const std::string &path) {
    FS_CHECK(socket_address(path));
    FS_CHECK(clear_stale_socket(path));
    impl &s = *impl_;
    const auto failed = [&](const asio::error_code &ec) {
        asio::error_code ignored;
        s.acceptor.close(ignored);
        return fail(ec, "control socket " + path);
    };
    asio::error_code ec;
    s.acceptor.open(stream(), ec);
    if (ec) {
        return failed(ec);
    }
    s.acceptor.bind(stream::endpoint(path), ec);
    if (ec) {
        return failed(ec);
    }
    // Before listen() nobody can connect, so the socket is never open to others.
    struct stat info{};
    if (::chmod(path.c_str(), 0600) != 0 || ::stat(path.c_str(), &info) != 0) {
        ec = asio::error_code(errno, std::generic_category());
        ::unlink(path.c_str());
        return failed(ec);
    }
    s.acceptor.listen(asio::socket_base::max_listen_connections, ec);
    if (ec) {
        ::unlink(path.c_str());
        return failed(ec);
    }
    s.path = path;
    s.inode = info.st_ino;
    s.tasks.spawn(s.accept_clients());
    return {};
}

task<void> server::close() {
    const auto s = impl_;
    s->closing = true;
    asio::error_code ignored;
    s->acceptor.close(ignored);
    for (const auto &c : std::set<client_ptr>(s->clients)) {
        c->cancel_command.emit(asio::cancellation_type::terminal);
        if (!c->watching) {
            c->socket.close(ignored); // idle: waits for a request
        }
    }
    // A client that doesn't read its answer must not hold up the end of the daemon.
    asio::steady_timer patience(s->home, std::chrono::seconds(1));
    patience.async_wait([s](asio::error_code ec) {
        for (const auto &c : s->clients) {
            asio::error_code closed;
            if (!ec) {
                c->socket.close(closed);
            }
        }
    });
    co_await s->tasks.join();
    patience.cancel();
    struct stat info{};
    if (!s->path.empty() && ::stat(s->path.c_str(), &info) == 0 && info.st_ino == s->inode) {
        ::unlink(s->path.c_str());
    }
}

} // namespace farshore::control
