// Serves raw files through our NBD server and records what clients write to them, in the order in
// which it takes effect (bench/traces/events.hpp).
//
//   record_nbd EVENTS ENDPOINT NAME=FILE...     e.g. record_nbd out/events unix:/tmp/s
//   data=data.img
//
// Prints "ready", then obeys lines on standard input, each answered by one line:
//   hold      writers wait from now on, none is in progress: the files may be copied
//   record    what comes after this is recorded (only while held)
//   end       recording ends; "ended EVENTS BYTES" (only while held)
//   release   writers go on
// End of input ends the program. One lock puts the writes of all volumes in one order; that costs
// clients little, since the files are written through the page cache.

#include "bench/traces/events.hpp"
#include "replicator/base/async.hpp"
#include "replicator/nbd/server.hpp"
#include "replicator/storage/file_device.hpp"
#include "replicator/storage/posix_file_system.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace farshore::trace {
namespace {

/// The events of all volumes. Its mutex is held over a write and the note of it.
class event_log {
  public:
    std::mutex order;

    event_log() = default;
    event_log(const event_log &) = delete;
    event_log &operator=(const event_log &) = delete;
    ~event_log() {
        if (file_ != nullptr) {
            std::fclose(file_);
        }
    }

    bool open(const std::string &path, std::uint32_t volumes) {
        file_ = std::fopen(path.c_str(), "wb");
        if (file_ == nullptr) {
            return false;
        }
        std::setvbuf(file_, nullptr, _IOFBF, 4U << 20);
        events_header header;
        header.volumes = volumes;
        return std::fwrite(&header, sizeof header, 1, file_) == 1;
    }

    /// With `order` held.
    void begin() {
        began_ = std::chrono::steady_clock::now();
        recording_ = true;
    }

    /// With `order` held. `data` is empty but for writes.
    void add(event_kind kind, std::uint8_t volume, byte_range range, bytes_view data) {
        if (!recording_) {
            return;
        }
        event_record record;
        record.time_us =
            static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                           std::chrono::steady_clock::now() - began_)
                                           .count());
        record.kind = kind;
        record.volume = volume;
        record.length = static_cast<std::uint32_t>(range.length);
        record.offset = range.offset;
        good_ = good_ && std::fwrite(&record, sizeof record, 1, file_) == 1 &&
                std::fwrite(data.data(), 1, data.size(), file_) == data.size();
        ++events_;
        bytes_ += data.size();
    }

    /// With `order` held. The answer to "end".
    std::string end() {
        recording_ = false;
        good_ = good_ && std::fclose(file_) == 0;
        file_ = nullptr;
        return good_ ? fmt::format("ended {} {}", events_, bytes_)
                     : std::string("error: the events could not be written: is the disk full?");
    }

  private:
    std::FILE *file_ = nullptr;
    std::chrono::steady_clock::time_point began_;
    bool recording_ = false;
    bool good_ = true;
    std::uint64_t events_ = 0;
    std::uint64_t bytes_ = 0;
};

/// A volume whose changes are noted when they have succeeded.
class recording_device final : public block_device {
  public:
    recording_device(std::unique_ptr<block_device> below, event_log &log, std::uint8_t volume)
        : below_(std::move(below)), log_(log), volume_(volume) {}

    std::uint64_t size() const override { return below_->size(); }
    bool read_only() const override { return false; }
    result<> read(std::uint64_t at, bytes_span out) override { return below_->read(at, out); }
    result<bool> try_read(std::uint64_t at, bytes_span out) override {
        return below_->try_read(at, out);
    }
    result<> write(std::uint64_t at, bytes_view data, bool fua) override {
        {
            const std::lock_guard lock(log_.order);
            FS_CHECK(below_->write(at, data, false));
            log_.add(event_kind::write, volume_, {at, data.size()}, data);
        }
        return fua ? flush() : result<>{};
    }
    result<bool> try_write(std::uint64_t at, bytes_view data) override {
        const std::lock_guard lock(log_.order);
        auto done = below_->try_write(at, data);
        if (done && *done) {
            log_.add(event_kind::write, volume_, {at, data.size()}, data);
        }
        return done;
    }
    result<> flush() override {
        FS_CHECK(below_->flush());
        const std::lock_guard lock(log_.order);
        log_.add(event_kind::flush, volume_, {}, {});
        return {};
    }
    result<> trim(byte_range range, bool fua) override {
        {
            const std::lock_guard lock(log_.order);
            FS_CHECK(below_->trim(range, false));
            log_.add(event_kind::trim, volume_, range, {});
        }
        return fua ? flush() : result<>{};
    }
    result<> write_zeroes(byte_range range, zero_options options) override {
        {
            const std::lock_guard lock(log_.order);
            zero_options now = options;
            now.fua = false;
            FS_CHECK(below_->write_zeroes(range, now));
            log_.add(event_kind::zeroes, volume_, range, {});
        }
        return options.fua ? flush() : result<>{};
    }
    result<std::vector<status_extent>> status(byte_range range, status_context context,
                                              std::size_t max) override {
        return below_->status(range, context, max);
    }

  private:
    std::unique_ptr<block_device> below_;
    event_log &log_;
    std::uint8_t volume_;
};

/// Connection threads and the disk pool.
struct workers {
    static constexpr std::size_t loop_count = 2;
    std::vector<std::unique_ptr<asio::io_context>> contexts;
    std::vector<executor> loops;
    std::vector<std::jthread> threads;
    asio::thread_pool disk{4};

    workers() {
        for (std::size_t i = 0; i < loop_count; ++i) {
            contexts.push_back(std::make_unique<asio::io_context>(1));
            loops.emplace_back(asio::require(contexts.back()->get_executor(),
                                             asio::execution::outstanding_work.tracked));
            threads.emplace_back([&context = *contexts.back()] { context.run(); });
        }
    }
};

void say(const std::string &line) {
    fmt::print("{}\n", line);
    std::fflush(stdout);
}

/// Until the end of input. The lock is released at the end, so that the server can close.
void obey(event_log &log) {
    std::unique_lock held(log.order, std::defer_lock);
    for (std::string line; std::getline(std::cin, line);) {
        if (line == "hold" && !held.owns_lock()) {
            held.lock();
            say("held");
        } else if (line == "record" && held.owns_lock()) {
            log.begin();
            say("recording");
        } else if (line == "end" && held.owns_lock()) {
            say(log.end());
        } else if (line == "release" && held.owns_lock()) {
            held.unlock();
            say("released");
        } else {
            say("error: not now or unknown: " + line);
        }
    }
}

result<> serve(const std::string &events, const std::string &where,
               const std::vector<std::string> &volumes) {
    event_log log;
    if (!log.open(events, static_cast<std::uint32_t>(volumes.size()))) {
        return fail_errno(errno, events);
    }
    posix_file_system files;
    std::vector<nbd::export_entry> exports;
    for (const std::string &word : volumes) {
        const auto equals = word.find('=');
        FS_TRY(file, files.open(word.substr(equals + 1), open_mode::read_write));
        FS_TRY(device, file_device::open(std::move(file)));
        const auto number = static_cast<std::uint8_t>(exports.size());
        exports.push_back({word.substr(0, equals), "recorded",
                           std::make_shared<recording_device>(std::move(device), log, number)});
    }
    workers threads;
    {
        nbd::server server(std::move(exports), threads.loops, threads.disk.get_executor());
        FS_TRY(endpoint, nbd::parse_endpoint(where));
        FS_CHECK(server.listen(endpoint));
        say("ready");
        obey(log);
        asio::io_context closing;
        asio::co_spawn(closing, server.close(std::chrono::seconds(5)), asio::detached);
        closing.run();
    }
    threads.loops.clear();
    return {};
}

} // namespace
} // namespace farshore::trace

int main(int argc, char **argv) {
    if (argc < 4 || argc > 3 + 255) {
        fmt::print(stderr, "usage: record_nbd EVENTS ENDPOINT NAME=FILE...\n");
        return 2;
    }
    if (auto done = farshore::trace::serve(argv[1], argv[2], {argv + 3, argv + argc}); !done) {
        fmt::print(stderr, "record_nbd: {}\n", done.error().text());
        std::_Exit(1); // threads still run
    }
}
