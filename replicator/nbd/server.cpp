#include "replicator/nbd/server.hpp"

#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/base/log_repeat.hpp"
#include "replicator/nbd/connection.hpp"
#include "replicator/nbd/listener.hpp"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <list>
#include <mutex>
#include <netdb.h>
#include <optional>
#include <set>
#include <sys/resource.h>
#include <sys/socket.h>

namespace farshore::nbd {

namespace {

constexpr std::uint64_t default_memory = 256 * limits::MiB;
/// After an accept that failed for want of descriptors or memory.
constexpr auto accept_pause = std::chrono::milliseconds(100);

/// Who is at the other end, for messages.
std::string name_of_peer(int fd, bool tcp) {
    if (!tcp) {
        ucred peer{};
        socklen_t length = sizeof peer;
        const bool known = ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0;
        return known ? fmt::format("the client with process id {}", peer.pid) : "a client";
    }
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> port{};
    void *const raw = &address;
    if (::getpeername(fd, static_cast<sockaddr *>(raw), &length) != 0 ||
        ::getnameinfo(static_cast<sockaddr *>(raw), length, host.data(), host.size(), port.data(),
                      port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return "a client";
    }
    return fmt::format("the client at {}:{}", host.data(), port.data());
}

bool nobody_waits(const error &e) { return is_errno(e, EAGAIN) || is_errno(e, EWOULDBLOCK); }
bool client_gave_up(const error &e) { return is_errno(e, ECONNABORTED) || is_errno(e, EINTR); }

} // namespace

std::shared_ptr<client_places> make_client_places(std::size_t volumes) {
    rlimit files{};
    const bool known = ::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY;
    const std::size_t places = places_for(volumes, known ? files.rlim_cur : UINT32_MAX);
    if (const std::size_t wanted = places_for(volumes, UINT32_MAX); places < wanted) {
        log::warning("NBD server: at most {} clients at a time instead of {}, since the limit of "
                     "open files is {}; "
                     "raise LimitNOFILE= of the unit",
                     places, wanted, files.rlim_cur);
    }
    return std::make_shared<client_places>(places);
}

client_bounds default_client_bounds() {
    static const auto memory = std::make_shared<memory_account>(default_memory);
    static const auto places = std::make_shared<client_places>(limits::nbd_connections_max);
    return {memory->open_share(), places};
}

/// Shared by the server, its listeners and its connections, so that each can end in its own time.
struct server::impl : std::enable_shared_from_this<server::impl> {
    struct listener {
        listener(listening_socket s, const executor &loop)
            : socket(std::move(s)), readiness(loop), pause(loop) {}
        listening_socket socket;
        asio::local::stream_protocol::socket readiness; ///< waits on socket's descriptor, not owned
        asio::steady_timer pause;
        bool stopped = false; ///< on its loop
    };
    struct client {
        std::shared_ptr<connection> talk;
        executor loop;
    };

    connection::export_list exports;
    std::vector<executor> loops;
    executor disk;
    client_bounds bounds;
    share_pool::tenant place{}; ///< among the servers of the daemon
    std::atomic<std::uint16_t> port{0};
    std::atomic<std::size_t> open{0};

    // What runs, for close() to end. A mutex, since connections end on their own loops; held for an
    // insert, a removal or a copy.
    std::mutex mutex;
    bool closing = false;
    std::set<std::shared_ptr<listener>> listeners;
    std::list<client> clients;
    std::size_t next_loop = 0;
    log::repeats failures;          ///< of the accepting loop
    std::function<void()> on_empty; ///< set by close(), called once with the mutex held

    ~impl() {
        if (bounds.places) {
            bounds.places->leave(place);
        }
    }

    task<void> accept_clients(std::shared_ptr<listener> l);
    void start_client(unique_fd fd, bool tcp);
    void refuse_client();
    void forget(const std::shared_ptr<listener> &l);
    void forget(std::list<client>::iterator c);
    void check_empty();
    void stop_listeners();
    void for_each_client(void (connection::*verb)());
    task<void> end_all(duration grace);
};

server::server(std::vector<export_entry> exports, std::vector<executor> loops, executor disk,
               client_bounds bounds)
    : impl_(std::make_shared<impl>()) {
    REPL_ASSERT(!exports.empty() && !loops.empty());
    impl_->exports = std::make_shared<const std::vector<export_entry>>(std::move(exports));
    impl_->loops = std::move(loops);
    impl_->disk = std::move(disk);
    impl_->bounds = std::move(bounds);
    impl_->place = impl_->bounds.places->join();
}

server::~server() {
    const std::lock_guard lock(impl_->mutex);
    REPL_ASSERT(impl_->listeners.empty() && impl_->clients.empty());
}

std::uint16_t server::port() const { return impl_->port; }
std::size_t server::connections() const { return impl_->open; }

result<> server::listen(const endpoint &where) {
    FS_TRY(socket, listening_socket::open(where));
    const executor loop = impl_->loops.front();
    auto l = std::make_shared<impl::listener>(std::move(socket), loop);
    asio::error_code ec;
    l->readiness.assign(asio::local::stream_protocol(), l->socket.fd(), ec);
    if (ec) {
        return fail(ec, "listening socket");
    }
    if (l->socket.tcp()) {
        impl_->port = l->socket.port();
    }
    {
        const std::lock_guard lock(impl_->mutex);
        REPL_ASSERT(!impl_->closing);
        impl_->listeners.insert(l);
    }
    asio::co_spawn(loop, impl_->accept_clients(l),
                   [impl = impl_, l](const std::exception_ptr &failure) {
                       if (failure) {
                           std::rethrow_exception(failure);
                       }
                       l->readiness.release(); // the descriptor is the listening_socket's
                       impl->forget(l);
                   });
    return {};
}

task<void> server::impl::accept_clients(std::shared_ptr<listener> l) {
    while (!l->stopped) {
        auto fd = l->socket.accept();
        if (fd) {
            start_client(std::move(*fd), l->socket.tcp());
            continue;
        }
        if (client_gave_up(fd.error())) {
            continue;
        }
        if (nobody_waits(fd.error())) {
            co_await l->readiness.async_wait(asio::socket_base::wait_read, as_result);
            continue;
        }
        if (const auto more = failures.failed(fd.error().text(), system_clock().now())) {
            log::warning("NBD server: {}; trying again{}", fd.error().text(), *more);
        }
        l->pause.expires_after(accept_pause);
        co_await l->pause.async_wait(as_result);
    }
}

void server::impl::refuse_client() {
    if (const auto more = failures.failed("its share", system_clock().now())) {
        log::warning("NBD server: refused a client of {}: it has its share of the {} connections "
                     "that the daemon takes{}",
                     exports->front().description, bounds.places->max(), *more);
    }
}

void server::impl::start_client(unique_fd fd, bool tcp) {
    if (!bounds.places->take(place)) {
        refuse_client();
        return;
    }
    const executor loop = loops[next_loop++ % loops.size()]; // one accepting loop: no race
    std::string peer = name_of_peer(fd.get(), tcp);
    auto talk = std::make_shared<connection>(std::move(fd), exports, loop, disk,
                                             connection_options{}, bounds.memory, std::move(peer));
    std::list<client>::iterator mine;
    {
        const std::lock_guard lock(mutex);
        if (closing) {
            bounds.places->give(place);
            return;
        }
        mine = clients.insert(clients.end(), {talk, loop});
    }
    ++open;
    asio::co_spawn(loop, talk->run(),
                   [self = shared_from_this(), mine](const std::exception_ptr &failure) {
                       if (failure) {
                           std::rethrow_exception(failure);
                       }
                       self->forget(mine);
                   });
}

void server::impl::forget(const std::shared_ptr<listener> &l) {
    const std::lock_guard lock(mutex);
    listeners.erase(l);
    check_empty();
}

void server::impl::forget(std::list<client>::iterator c) {
    --open;
    bounds.places->give(place);
    const std::lock_guard lock(mutex);
    clients.erase(c);
    check_empty();
}

void server::impl::check_empty() {
    if (on_empty && listeners.empty() && clients.empty()) {
        std::exchange(on_empty, nullptr)();
    }
}

void server::impl::stop_listeners() {
    const std::lock_guard lock(mutex);
    for (const auto &l : listeners) {
        asio::post(loops.front(), [l] {
            l->stopped = true;
            asio::error_code ec;
            l->readiness.cancel(ec);
            l->pause.cancel();
        });
    }
}

void server::impl::for_each_client(void (connection::*verb)()) {
    const std::lock_guard lock(mutex);
    for (const client &c : clients) {
        asio::post(c.loop, [talk = c.talk, verb] { (*talk.*verb)(); });
    }
}

/// On the first loop, so that the timer has one thread.
task<void> server::impl::end_all(duration grace) {
    const executor here = loops.front();
    asio::steady_timer emptied(here, std::chrono::steady_clock::now() + grace);
    bool is_empty = false;
    {
        const std::lock_guard lock(mutex);
        closing = true;
        // Once only, and this coroutine does not end before: the references hold.
        on_empty = [&here, &emptied, &is_empty] {
            asio::post(here, [&emptied, &is_empty] {
                is_empty = true;
                emptied.expires_at(asio::steady_timer::time_point::min());
            });
        };
        check_empty();
    }
    stop_listeners();
    for_each_client(&connection::stop);
    co_await emptied.async_wait(as_result);
    if (!is_empty) {
        for_each_client(&connection::abort);
    }
    while (!is_empty) {
        emptied.expires_at(asio::steady_timer::time_point::max());
        co_await emptied.async_wait(as_result);
    }
}

task<void> server::close(duration grace) {
    const auto self = impl_;
    co_await asio::co_spawn(self->loops.front(), self->end_all(grace), asio::use_awaitable);
}

} // namespace farshore::nbd
