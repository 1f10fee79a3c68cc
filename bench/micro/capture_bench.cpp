// What capture adds to a write: 4 KiB random writes through capture_device::try_write on a file in
// the page cache, against plain pwrite of the same blocks. One thread; the interval is closed and
// dropped each 16 MiB, as the engine would after encoding.
//   capture_bench [DIRECTORY] [THREADS] [no-before]

#include "replicator/capture/capture_group.hpp"
#include "replicator/storage/posix_file_system.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <random>
#include <thread>

using namespace farshore;

namespace {

constexpr std::uint64_t volume_bytes = 256ULL << 20;
constexpr std::size_t writes = 200'000;

struct figures {
    double cpu_ns = 0; ///< of a write's thread: what other load on the machine changes least
    double p50_ns = 0;
    double p99_ns = 0;
};

double thread_cpu_ns() {
    timespec t{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

template <class Write>
figures measure(unsigned threads, std::size_t bytes, Write write) {
    std::vector<std::vector<double>> times(threads);
    std::vector<std::thread> workers;
    const std::size_t count = writes / threads / (bytes / 4096);
    std::vector<double> cpu(threads);
    for (unsigned t = 0; t < threads; ++t) {
        workers.emplace_back([&, t] {
            std::mt19937_64 random(t + 1);
            byte_vector data(bytes);
            std::ranges::generate(data, [&] { return static_cast<std::byte>(random()); });
            times[t].reserve(count);
            const double begin = thread_cpu_ns();
            for (std::size_t i = 0; i < count; ++i) {
                const std::uint64_t at = random() % (volume_bytes / bytes) * bytes;
                const auto start = std::chrono::steady_clock::now();
                write(at, bytes_view(data));
                const duration took = std::chrono::steady_clock::now() - start;
                times[t].push_back(static_cast<double>(took.count()));
            }
            cpu[t] = (thread_cpu_ns() - begin) / static_cast<double>(count);
        });
    }
    for (std::thread &w : workers) {
        w.join();
    }
    std::vector<double> all;
    for (const auto &one : times) {
        all.insert(all.end(), one.begin(), one.end());
    }
    std::ranges::sort(all);
    return {cpu[0], all[all.size() / 2], all[all.size() * 99 / 100]};
}

void print(const char *what, const figures &f) {
    fmt::print("{:<34} cpu {:>8.0f} ns   p50 {:>8.0f} ns   p99 {:>8.0f} ns\n", what, f.cpu_ns,
               f.p50_ns, f.p99_ns);
}

void require(bool ok, const char *what) {
    if (!ok) {
        fmt::print(stderr, "{}\n", what);
        std::exit(1);
    }
}

} // namespace

int main(int argc, char **argv) {
    const std::string base = argc > 1 ? argv[1] : "/tmp";
    const unsigned threads = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1;
    const std::string directory = base + "/farshore-capture-bench-" + std::to_string(::getpid());
    std::filesystem::create_directories(directory);
    posix_file_system files;
    system_clock clock;
    const std::string path = directory + "/volume";
    {
        auto f = files.open(path, open_mode::create);
        require(f.has_value(), "can't make the volume");
        const byte_vector chunk(1U << 20, std::byte{0x5a});
        for (std::uint64_t at = 0; at < volume_bytes; at += chunk.size()) {
            require((*f)->write_at(at, chunk).has_value(), "can't fill the volume");
        }
        require((*f)->sync_data().has_value(), "can't sync the volume");
    }
    capture_options options;
    options.state_directory = directory + "/state";
    options.volumes = {{"volume", path}};
    options.boot_id = "bench";
    options.time = &clock;
    options.keep_before = argc <= 3;
    auto group = capture_group::open(files, options);
    require(group.has_value(), "can't open the capture group");
    const auto device = (*group)->device(volume_index{0});
    std::atomic<bool> due = false;
    (*group)->set_attention([&] { due = true; });
    auto file = files.open(path, open_mode::read_write);
    require(file.has_value(), "can't open the volume");
    const auto plain = [&](std::uint64_t at, bytes_view data) {
        require((*file)->write_at(at, data).has_value(), "write failed");
    };
    const auto captured = [&](std::uint64_t at, bytes_view data) {
        const auto done = device->try_write(at, data);
        require(done.has_value(), "write failed");
        if (!*done) {
            require(device->write(at, data, false).has_value(), "write failed");
        }
    };
    std::atomic<bool> stop = false;
    std::thread engine([&] {
        while (!stop) {
            if (due.exchange(false)) {
                if (auto closed = (*group)->close_interval(clock.wall(), false, false)) {
                    closed->wait_settled();
                }
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    });
    for (const std::size_t bytes : {std::size_t{4096}, std::size_t{256 * 1024}}) {
        fmt::print("{} KiB random, {} thread(s)\n", bytes / 1024, threads);
        print("  pwrite", measure(threads, bytes, plain));
        (*group)->begin_tracking();
        print("  capture, tracking", measure(threads, bytes, captured));
        (*group)->begin_recording(stream_id{bytes}, next((*group)->start().last_interval));
        print("  capture, recording (all pending)", measure(threads, bytes, captured));
        const std::uint64_t last = 1U << 20;
        for (auto p = (*group)->next_pending({}, 0, last); p;
             p = (*group)->next_pending({}, 0, last)) {
            const auto same = [](bytes_view) { return digest16{std::byte{1}}; };
            require((*group)->resolve(*p, last, {digest16{std::byte{1}}}, same).has_value(),
                    "scan failed");
        }
        print("  capture, recording", measure(threads, bytes, captured));
        require((*group)->mode() == capture_mode::recording, "fell to tracking");
        print("  pwrite again", measure(threads, bytes, plain));
    }
    stop = true;
    engine.join();
    std::filesystem::remove_all(directory);
}
