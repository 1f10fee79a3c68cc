#include "tests/e2e/load_write.hpp"

#include "replicator/base/assert.hpp"
#include "tests/e2e/load_volume.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <thread>
#include <unistd.h>

namespace farshore::load {
namespace {

using steady = std::chrono::steady_clock;
using seconds_real = std::chrono::duration<double>;

/// One chain of dependent writes on its own connections, run by one thread.
class chain_writer {
  public:
    chain_writer(const write_options &options, std::uint32_t chain, int progress,
                 const std::atomic<bool> &stop)
        : options_(options), chain_(chain), progress_(progress), stop_(stop),
          volumes_(options.volumes.size()), unflushed_(options.volumes.size()) {}

    void run(std::uint64_t first);

    std::uint64_t newest = 0;
    std::uint64_t bytes = 0;
    std::uint64_t reconnects = 0; ///< attempts that failed
    std::vector<std::uint32_t> latencies_us;
    std::optional<error> failure;

  private:
    bool finished(std::uint64_t n, steady::time_point start) const;
    bool write_with_retry(const planned_write &w, std::uint64_t n);
    result<> write_once(const planned_write &w, std::uint64_t n);

    const write_options &options_;
    const std::uint32_t chain_;
    const int progress_;
    const std::atomic<bool> &stop_;
    std::vector<std::optional<volume>> volumes_;
    std::vector<std::uint64_t> unflushed_;
};

bool chain_writer::finished(std::uint64_t n, steady::time_point start) const {
    return stop_.load() || (options_.writes_max != 0 && n > options_.writes_max) ||
           (options_.seconds > 0 &&
            seconds_real(steady::now() - start).count() >= options_.seconds);
}

void chain_writer::run(std::uint64_t first) {
    const auto start = steady::now();
    newest = first - 1;
    for (std::uint64_t n = first; !finished(n, start); ++n) {
        const auto w = write_of(options_.plan, chain_, n);
        const auto began = steady::now();
        if (!write_with_retry(w, n)) {
            return;
        }
        latencies_us.push_back(static_cast<std::uint32_t>(
            std::chrono::duration_cast<std::chrono::microseconds>(steady::now() - began).count()));
        newest = n;
        bytes += w.sectors * sector_bytes;
        if (progress_ >= 0) {
            const auto wrote = ::pwrite(progress_, &n, sizeof n, chain_ * 8L);
            REPL_ASSERT(wrote == sizeof n);
        }
        if (options_.writes_per_second > 0) {
            std::this_thread::sleep_until(
                start + std::chrono::duration_cast<steady::duration>(seconds_real(
                            static_cast<double>(n - first + 1) / options_.writes_per_second)));
        }
    }
}

bool chain_writer::write_with_retry(const planned_write &w, std::uint64_t n) {
    std::optional<steady::time_point> failed_at;
    for (;;) {
        auto done = write_once(w, n);
        if (done) {
            return true;
        }
        volumes_[w.volume].reset();
        reconnects += 1;
        const auto now = steady::now();
        failed_at = failed_at.value_or(now);
        if (stop_.load()) {
            return false;
        }
        if (seconds_real(now - *failed_at).count() >= options_.retry_seconds) {
            failure = done.error();
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
}

result<> chain_writer::write_once(const planned_write &w, std::uint64_t n) {
    auto &target = volumes_[w.volume];
    if (!target) {
        FS_TRY(opened, volume::open(options_.volumes[w.volume], true));
        target.emplace(std::move(opened));
    }
    const auto offset = w.sector * sector_bytes;
    if (w.zeroes) {
        FS_CHECK(target->write_zeroes(offset, w.sectors * sector_bytes));
    } else {
        byte_vector data;
        for (std::uint64_t s = w.sector; s < w.sector + w.sectors; ++s) {
            const auto one = content_of({options_.plan.seed, w.volume, chain_, s, n});
            data.insert(data.end(), one.begin(), one.end());
        }
        FS_CHECK(target->write(offset, data));
    }
    if (options_.flush_every != 0 && ++unflushed_[w.volume] >= options_.flush_every) {
        FS_CHECK(target->flush());
        unflushed_[w.volume] = 0;
    }
    return {};
}

std::uint32_t percentile(const std::vector<std::uint32_t> &sorted, double part) {
    return sorted.empty() ? 0
                          : sorted[static_cast<std::size_t>(
                                part * (static_cast<double>(sorted.size()) - 1.0))];
}

void print_outcome(const std::vector<std::unique_ptr<chain_writer>> &chains, double seconds) {
    std::uint64_t bytes = 0, reconnects = 0;
    std::vector<std::uint32_t> all;
    std::string newest;
    for (const auto &c : chains) {
        bytes += c->bytes;
        reconnects += c->reconnects;
        all.insert(all.end(), c->latencies_us.begin(), c->latencies_us.end());
        newest += fmt::format("{}{}", newest.empty() ? "" : ", ", c->newest);
    }
    std::sort(all.begin(), all.end());
    fmt::print("{{\"writes\": {}, \"bytes\": {}, \"seconds\": {:.3f}, \"reconnects\": {}, "
               "\"newest\": [{}], \"latency_us\": {{\"p50\": {}, \"p99\": {}, \"max\": {}}}}}\n",
               all.size(), bytes, seconds, reconnects, newest, percentile(all, 0.5),
               percentile(all, 0.99), all.empty() ? 0 : all.back());
}

} // namespace

result<std::vector<std::uint64_t>> read_progress(const std::string &path, std::uint32_t chains) {
    std::vector<std::uint64_t> numbers(chains);
    unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const auto want = static_cast<ssize_t>(chains * sizeof(std::uint64_t));
    if (!file || ::pread(file.get(), numbers.data(), static_cast<std::size_t>(want), 0) != want) {
        return fail(errc::invalid, "progress file " + path);
    }
    return numbers;
}

result<> run_writes(write_options options, const std::atomic<bool> &stop) {
    options.plan.volume_sectors.clear();
    for (const auto &where : options.volumes) {
        FS_TRY(opened, volume::open(where, true));
        options.plan.volume_sectors.push_back(opened.size() / sector_bytes);
    }
    std::vector<std::uint64_t> newest(options.plan.chains);
    unique_fd progress;
    if (!options.progress.empty()) {
        if (options.resume) {
            FS_TRY(known, read_progress(options.progress, options.plan.chains));
            newest = known;
        }
        progress = unique_fd(::open(options.progress.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
        const auto length = newest.size() * sizeof(std::uint64_t);
        if (!progress ||
            ::pwrite(progress.get(), newest.data(), length, 0) != static_cast<ssize_t>(length)) {
            return fail_errno(errno, options.progress);
        }
    }
    std::vector<std::unique_ptr<chain_writer>> chains;
    std::vector<std::thread> threads;
    const auto start = steady::now();
    for (std::uint32_t c = 0; c < options.plan.chains; ++c) {
        chains.push_back(std::make_unique<chain_writer>(options, c, progress.get(), stop));
        threads.emplace_back(
            [writer = chains.back().get(), first = newest[c] + 1] { writer->run(first); });
    }
    for (auto &t : threads) {
        t.join();
    }
    print_outcome(chains, seconds_real(steady::now() - start).count());
    for (const auto &c : chains) {
        if (c->failure) {
            return std::unexpected(*c->failure);
        }
    }
    return {};
}

result<> fill(const std::string &where, const plan_options &plan, std::uint32_t volume_number) {
    FS_TRY(target, volume::open(where, true));
    constexpr std::uint64_t batch = 2048;
    plan_options sized = plan;
    sized.volume_sectors.assign(volume_number + 1, target.size() / sector_bytes);
    for (std::uint32_t chain = 0; chain < plan.chains; ++chain) {
        const auto area = area_of(sized, chain, volume_number);
        for (std::uint64_t first = area.first; first < area.last; first += batch) {
            byte_vector data;
            for (std::uint64_t s = first; s < std::min(first + batch, area.last); ++s) {
                const auto one = content_of({plan.seed, volume_number, chain, s, 0});
                data.insert(data.end(), one.begin(), one.end());
            }
            FS_CHECK(target.write(first * sector_bytes, data));
        }
    }
    return target.flush();
}

} // namespace farshore::load
