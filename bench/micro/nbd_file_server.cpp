// Serves one raw file through our NBD server and nothing else: what the server itself costs, and a
// target for client tests. Usage: nbd_file_server FILE ENDPOINT [ENDPOINT] [--loops N] [--disk N]
// [--dirty]
// [--read-only]. Prints one URI an endpoint, then "ready"; ends on SIGINT or SIGTERM.

#include "replicator/base/async.hpp"
#include "replicator/nbd/server.hpp"
#include "replicator/storage/file_device.hpp"
#include "replicator/storage/posix_file_system.hpp"

#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
#include <pthread.h>
#include <thread>
#include <vector>

namespace farshore {
namespace {

/// The file, with a made-up dirty context: every second MiB is dirty.
class dirty_file final : public block_device {
  public:
    explicit dirty_file(std::shared_ptr<block_device> below) : below_(std::move(below)) {}
    std::uint64_t size() const override { return below_->size(); }
    bool read_only() const override { return below_->read_only(); }
    bool has_dirty_context() const override { return true; }
    result<> read(std::uint64_t at, bytes_span out) override { return below_->read(at, out); }
    result<bool> try_read(std::uint64_t at, bytes_span out) override {
        return below_->try_read(at, out);
    }
    result<> write(std::uint64_t at, bytes_view data, bool fua) override {
        return below_->write(at, data, fua);
    }
    result<bool> try_write(std::uint64_t at, bytes_view data) override {
        return below_->try_write(at, data);
    }
    result<> flush() override { return below_->flush(); }
    result<> trim(byte_range range, bool fua) override { return below_->trim(range, fua); }
    result<> write_zeroes(byte_range range, zero_options options) override {
        return below_->write_zeroes(range, options);
    }
    result<std::vector<status_extent>> status(byte_range range, status_context context,
                                              std::size_t max) override {
        if (context == status_context::allocation) {
            return below_->status(range, context, max);
        }
        constexpr std::uint64_t mib = 1 << 20;
        std::vector<status_extent> out;
        for (std::uint64_t at = range.offset; at < range.end() && out.size() < max;) {
            const std::uint64_t end = std::min(range.end(), (at / mib + 1) * mib);
            out.push_back({end - at, static_cast<std::uint32_t>(at / mib % 2)});
            at = end;
        }
        return out;
    }

  private:
    std::shared_ptr<block_device> below_;
};

struct arguments {
    std::string path;
    std::vector<std::string> endpoints;
    std::size_t loops = 2;
    std::size_t disk = 4;
    bool dirty = false;
    bool read_only = false;
};

arguments parse(int argc, char **argv) {
    arguments a;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--dirty") {
            a.dirty = true;
        } else if (word == "--read-only") {
            a.read_only = true;
        } else if ((word == "--loops" || word == "--disk") && i + 1 < argc) {
            const auto count = static_cast<std::size_t>(std::strtoul(argv[++i], nullptr, 10));
            (word == "--loops" ? a.loops : a.disk) = std::max<std::size_t>(count, 1);
        } else if (a.path.empty()) {
            a.path = word;
        } else {
            a.endpoints.push_back(word);
        }
    }
    return a;
}

result<> serve(const arguments &a) {
    posix_file_system files;
    FS_TRY(opened, files.open(a.path, a.read_only ? open_mode::read : open_mode::read_write));
    FS_TRY(device, file_device::open(std::move(opened), a.read_only));
    std::shared_ptr<block_device> shared = std::move(device);
    if (a.dirty) {
        shared = std::make_shared<dirty_file>(std::move(shared));
    }

    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ending, nullptr); // before the threads, which inherit it

    std::vector<std::unique_ptr<asio::io_context>> contexts;
    std::vector<executor> loops;
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < a.loops; ++i) {
        contexts.push_back(std::make_unique<asio::io_context>(1));
        loops.emplace_back(asio::require(contexts.back()->get_executor(),
                                         asio::execution::outstanding_work.tracked));
        threads.emplace_back([&context = *contexts.back()] { context.run(); });
    }
    asio::thread_pool disk(a.disk);
    nbd::server server({{"", "a file", shared}}, loops, disk.get_executor());
    for (const std::string &text : a.endpoints) {
        FS_TRY(where, nbd::parse_endpoint(text));
        FS_CHECK(server.listen(where));
        if (where.unix_path.empty()) {
            where.port = server.port();
        }
        fmt::print("{}\n", nbd::export_uri(where, ""));
    }
    fmt::print("ready\n");
    std::fflush(stdout);
    int number = 0;
    sigwait(&ending, &number);

    asio::io_context closing;
    asio::co_spawn(closing, server.close(std::chrono::seconds(5)), asio::detached);
    closing.run();
    loops.clear();
    return {};
}

} // namespace
} // namespace farshore

int main(int argc, char **argv) {
    const farshore::arguments a = farshore::parse(argc, argv);
    if (a.endpoints.empty()) {
        fmt::print(stderr,
                   "usage: nbd_file_server FILE ENDPOINT... [--loops N] [--disk N] [--dirty] "
                   "[--read-only]\n");
        return 2;
    }
    if (auto done = farshore::serve(a); !done) {
        fmt::print(stderr, "nbd_file_server: {}\n", done.error().text());
        std::_Exit(1); // threads still run
    }
}
