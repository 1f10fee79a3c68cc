#include "replicator/demo/site.hpp"

#include "replicator/base/bytes.hpp"
#include "replicator/base/unique_fd.hpp"
#include "replicator/demo/store.hpp"
#include "replicator/nbd/server.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <future>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace farshore::demo {

std::atomic<bool> interrupted{false};

namespace {

constexpr auto start_patience = std::chrono::seconds(20);
constexpr auto stop_patience = std::chrono::seconds(12);
constexpr auto look_every = std::chrono::milliseconds(20);

result<> write_text(const std::string &path, const std::string &text) {
    std::ofstream out(path, std::ios::trunc);
    out << text;
    out.close();
    if (!out) {
        return fail(errc::full, path);
    }
    return {};
}

std::string sender_text(const layout &l, const site &s) {
    std::string text =
        fmt::format("[sender]\nstate = \"{}\"\ncontrol = \"{}\"\nmemory = \"128MiB\"\n\n"
                    "[[group]]\nname = \"demo\"\npeer = \"127.0.0.1:{}\"\n"
                    "interval = \"500ms\"\nspool = \"1GiB\"\n",
                    s.state(), s.socket(), l.relay_port);
    for (std::size_t i = 0; i < 2; ++i) {
        text += fmt::format("\n[[group.volume]]\nname = \"{}\"\npath = \"{}\"\nnbd = \"unix:{}\"\n",
                            volume_names[i], l.images[i], l.sockets[i]);
    }
    return text;
}

std::string receiver_text(const layout &l, const site &s) {
    return fmt::format("[receiver]\nstate = \"{}\"\nlisten = \"127.0.0.1:{}\"\ncontrol = \"{}\"\n"
                       "memory = \"128MiB\"\n\n[[group]]\nname = \"demo\"\nreplica = \"{}\"\n"
                       "journal = \"2GiB\"\nretain = [\"all 1h\"]\n",
                       s.state(), l.listen_port, s.socket(), l.replicas);
}

std::string last_line(const std::string &path) {
    std::ifstream in(path);
    std::string line;
    std::string last;
    while (std::getline(in, line)) {
        last = line.empty() ? last : line;
    }
    return last;
}

} // namespace

std::string layout::replica(std::size_t volume) const {
    return replicas + "/" + volume_names[volume] + ".img";
}

result<> site::start() {
    FS_TRY(process,
           child::start({own_directory() + "/farshore-" + role_, "--config", config_path()},
                        log_path()));
    process_ = std::move(process);
    const auto end = std::chrono::steady_clock::now() + start_patience;
    while (!interrupted) {
        if (control::call(socket(), "status", json::object(), nullptr)) {
            return {};
        }
        if (!process_.running()) {
            return fail(errc::closed, fmt::format("farshore-{} ended at its start: {}", role_,
                                                  last_line(log_path())));
        }
        if (std::chrono::steady_clock::now() > end) {
            return fail(errc::timeout, fmt::format("farshore-{} is not ready", role_));
        }
        std::this_thread::sleep_for(look_every);
    }
    return fail(errc::cancelled, "");
}

result<> site::stop() {
    if (const int code = process_.stop(stop_patience); code != 0) {
        return fail(errc::closed, fmt::format("farshore-{} ended with {}: {}", role_, code,
                                              last_line(log_path())));
    }
    return {};
}

control::outcome site::ask(const std::string &command, const json &arguments) {
    // On a thread of its own, so that Ctrl-C doesn't wait for the answer.
    auto answer = std::async(std::launch::async,
                             [&] { return control::call(socket(), command, arguments, nullptr); });
    while (answer.wait_for(look_every) != std::future_status::ready) {
        if (interrupted) {
            process_.kill_now();
        }
    }
    return answer.get();
}

result<std::uint16_t> free_port() {
    const unique_fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto *generic = static_cast<sockaddr *>(static_cast<void *>(&where));
    socklen_t length = sizeof where;
    if (!fd || ::bind(fd.get(), generic, length) != 0 ||
        ::getsockname(fd.get(), generic, &length) != 0) {
        return fail_errno(errno, "a free port");
    }
    return ntohs(where.sin_port);
}

result<layout> make_layout(const std::string &directory, std::uint16_t relay_port) {
    layout l;
    l.directory = directory;
    l.relay_port = relay_port;
    l.replicas = directory + "/replica";
    FS_TRY(port, free_port());
    l.listen_port = port;
    for (std::size_t i = 0; i < 2; ++i) {
        l.images[i] = fmt::format("{}/{}.img", directory, volume_names[i]);
        l.sockets[i] = fmt::format("{}/{}-nbd.sock", directory, volume_names[i]);
        nbd::endpoint where;
        where.unix_path = l.sockets[i];
        l.uris[i] = nbd::export_uri(where, volume_names[i]);
        const unique_fd fd(::open(l.images[i].c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(volume_bytes)) != 0) {
            return fail_errno(errno, l.images[i]);
        }
    }
    FS_CHECK(write_text(directory + "/sender.toml", sender_text(l, site("sender", directory))));
    FS_CHECK(
        write_text(directory + "/receiver.toml", receiver_text(l, site("receiver", directory))));
    return l;
}

result<std::string> digest_of_file(const std::string &path) {
    const unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        return fail_errno(errno, path);
    }
    const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX *)> context(::EVP_MD_CTX_new(),
                                                                      ::EVP_MD_CTX_free);
    REPL_ASSERT(context && ::EVP_DigestInit_ex(context.get(), ::EVP_sha256(), nullptr) == 1);
    buffer piece(1 << 20);
    for (;;) {
        const ssize_t n = ::read(fd.get(), piece.data(), piece.size());
        if (n < 0) {
            return fail_errno(errno, path);
        }
        if (n == 0) {
            break;
        }
        ::EVP_DigestUpdate(context.get(), piece.data(), static_cast<std::size_t>(n));
    }
    byte_vector digest(32);
    ::EVP_DigestFinal_ex(context.get(), as_unsigned(bytes_span(digest)), nullptr);
    return to_hex(digest);
}

} // namespace farshore::demo
