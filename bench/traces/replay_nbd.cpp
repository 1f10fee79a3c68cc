// Replays the events of a trace on NBD exports, in their order, at their recorded pace.
//
//   replay_nbd EVENTS URI... [--speed N | --fast] [--depth N]
//
// The URIs stand in the order of the trace's volumes. --speed 2 is twice as fast as recorded;
// --fast waits for nothing but answers. At most --depth requests (32) are under way; one that
// overlaps another waits for it, and a flush is sent when all earlier requests are answered. Prints
// one line of JSON: events, bytes, seconds, late_seconds (how far behind the recorded pace it ever
// was).

#include "bench/traces/events.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"
#include "replicator/base/unique_fd.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <libnbd.h>
#include <memory>
#include <poll.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <vector>

namespace farshore::trace {
namespace {

using seconds = std::chrono::duration<double>;
using steady = std::chrono::steady_clock;

struct arguments {
    std::string events;
    std::vector<std::string> uris;
    double speed = 1; ///< 0: as fast as it goes
    std::size_t depth = 32;
};

std::unexpected<error> nbd_failure() {
    const char *text = nbd_get_error();
    const int number = nbd_get_errno();
    return fail_errno(number != 0 ? number : EIO, text != nullptr ? text : "libnbd");
}

/// The file of events, mapped: requests send their content from it.
class events_file {
  public:
    static result<events_file> open(const std::string &path) {
        events_file out;
        out.fd_ = unique_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        struct stat about{};
        if (!out.fd_ || ::fstat(out.fd_.get(), &about) != 0) {
            return fail_errno(errno, path);
        }
        out.size_ = static_cast<std::size_t>(about.st_size);
        void *at = ::mmap(nullptr, out.size_, PROT_READ, MAP_SHARED, out.fd_.get(), 0);
        if (at == MAP_FAILED) {
            return fail_errno(errno, path);
        }
        out.bytes_ = static_cast<const char *>(at);
        events_header header;
        if (out.size_ < sizeof header) {
            return fail_errno(EINVAL, path + ": shorter than its header");
        }
        std::memcpy(&header, out.bytes_, sizeof header);
        if (header.magic != events_magic || header.version != events_version) {
            return fail_errno(EINVAL, path + ": no trace of version 1: record it anew");
        }
        out.volumes_ = header.volumes;
        out.at_ = sizeof header;
        return out;
    }

    std::uint32_t volumes() const { return volumes_; }
    bool ended() const { return at_ == size_; }

    /// The next event; `content` points into the file.
    result<event_record> next(const char *&content) {
        event_record record;
        if (size_ - at_ < sizeof record) {
            return fail_errno(EINVAL, "the trace ends within an event: record it anew");
        }
        std::memcpy(&record, bytes_ + at_, sizeof record);
        at_ += sizeof record;
        content = bytes_ + at_;
        const std::size_t length = record.kind == event_kind::write ? record.length : 0;
        if (size_ - at_ < length || record.volume >= volumes_) {
            return fail_errno(EINVAL, "an event of the trace is damaged: record it anew");
        }
        at_ += length;
        return record;
    }

  private:
    unique_fd fd_;
    const char *bytes_ = nullptr;
    std::size_t size_ = 0, at_ = 0;
    std::uint32_t volumes_ = 0;
};

struct close_handle {
    void operator()(nbd_handle *handle) const { nbd_close(handle); }
};

/// The volumes' connections and the requests that are under way on them.
class targets {
  public:
    result<> connect(const std::vector<std::string> &uris) {
        for (const std::string &uri : uris) {
            handles_.emplace_back(nbd_create());
            if (!handles_.back() || nbd_connect_uri(handles_.back().get(), uri.c_str()) != 0) {
                return nbd_failure();
            }
        }
        return {};
    }

    std::size_t under_way() const { return requests_.size(); }
    /// Something other than flushes is under way: those have no length.
    bool changing() const {
        return std::ranges::any_of(requests_, [](const request &r) { return r.range.length > 0; });
    }

    bool overlaps(std::uint8_t volume, byte_range range) const {
        return std::ranges::any_of(requests_, [&](const request &r) {
            return r.volume == volume && r.range.overlaps(range);
        });
    }

    result<> send(const event_record &event, const char *content) {
        nbd_handle *handle = handles_[event.volume].get();
        const nbd_completion_callback done{};
        std::int64_t cookie = -1;
        switch (event.kind) {
        case event_kind::write:
            cookie = nbd_aio_pwrite(handle, content, event.length, event.offset, done, 0);
            break;
        case event_kind::zeroes:
            cookie = nbd_aio_zero(handle, event.length, event.offset, done, 0);
            break;
        case event_kind::trim:
            cookie = nbd_aio_trim(handle, event.length, event.offset, done, 0);
            break;
        case event_kind::flush:
            cookie = nbd_aio_flush(handle, done, 0);
            break;
        }
        if (cookie < 0) {
            return nbd_failure();
        }
        requests_.push_back({cookie, event.volume, {event.offset, event.length}});
        return {};
    }

    /// Takes answers; waits for one, or `longest`, when none is there.
    result<> move(seconds longest) {
        std::vector<pollfd> sockets;
        for (const auto &handle : handles_) {
            const unsigned direction = nbd_aio_get_direction(handle.get());
            short events = POLLIN;
            if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) {
                events = static_cast<short>(events | POLLOUT);
            }
            sockets.push_back({nbd_aio_get_fd(handle.get()), events, 0});
        }
        const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(longest);
        const timespec timeout{nanoseconds.count() / 1'000'000'000,
                               nanoseconds.count() % 1'000'000'000};
        if (::ppoll(sockets.data(), sockets.size(), &timeout, nullptr) < 0 && errno != EINTR) {
            return fail_errno(errno, "ppoll");
        }
        for (std::size_t i = 0; i < sockets.size(); ++i) {
            nbd_handle *handle = handles_[i].get();
            const unsigned direction = nbd_aio_get_direction(handle);
            int code = 0;
            if ((sockets[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
                (direction & LIBNBD_AIO_DIRECTION_READ) != 0) {
                code = nbd_aio_notify_read(handle);
            } else if ((sockets[i].revents & POLLOUT) != 0 &&
                       (direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) {
                code = nbd_aio_notify_write(handle);
            }
            if (code < 0) {
                return nbd_failure();
            }
        }
        return retire();
    }

  private:
    struct request {
        std::int64_t cookie;
        std::uint8_t volume;
        byte_range range;
    };

    result<> retire() {
        for (std::size_t i = 0; i < requests_.size();) {
            const request &one = requests_[i];
            const int code = nbd_aio_command_completed(handles_[one.volume].get(),
                                                       static_cast<std::uint64_t>(one.cookie));
            if (code < 0) {
                return nbd_failure();
            }
            if (code == 0) {
                ++i;
            } else {
                requests_[i] = requests_.back();
                requests_.pop_back();
            }
        }
        return {};
    }

    std::vector<std::unique_ptr<nbd_handle, close_handle>> handles_;
    std::vector<request> requests_;
};

constexpr seconds patience{60}; ///< a poll's length where nothing but an answer is awaited

/// Waits until `event` may be sent: its time has come, there is room, nothing overlaps it.
result<> wait_for_turn(targets &all, const event_record &event, steady::time_point due,
                       std::size_t depth) {
    for (seconds left = due - steady::now(); left.count() > 0; left = due - steady::now()) {
        FS_CHECK(all.move(left));
    }
    const bool after_writes = event.kind == event_kind::flush;
    while (all.under_way() >= depth || (after_writes && all.changing()) ||
           all.overlaps(event.volume, {event.offset, event.length})) {
        FS_CHECK(all.move(patience));
    }
    return {};
}

result<> replay(const arguments &a) {
    FS_TRY(events, events_file::open(a.events));
    if (events.volumes() != a.uris.size()) {
        return fail_errno(EINVAL, fmt::format("the trace has {} volume(s), {} URI(s) are given",
                                              events.volumes(), a.uris.size()));
    }
    targets all;
    FS_CHECK(all.connect(a.uris));
    const auto began = steady::now();
    std::uint64_t count = 0, bytes = 0;
    double late = 0;
    while (!events.ended()) {
        const char *content = nullptr;
        FS_TRY(event, events.next(content));
        auto due = began;
        if (a.speed > 0) {
            due += std::chrono::duration_cast<steady::duration>(
                seconds(static_cast<double>(event.time_us) / 1e6 / a.speed));
        }
        FS_CHECK(wait_for_turn(all, event, due, a.depth));
        late = std::max(late, seconds(steady::now() - due).count());
        FS_CHECK(all.send(event, content));
        ++count;
        bytes += event.kind == event_kind::write ? event.length : 0;
    }
    while (all.under_way() > 0) {
        FS_CHECK(all.move(patience));
    }
    fmt::print(R"({{"events": {}, "bytes": {}, "seconds": {:.3f}, "late_seconds": {:.3f}}})"
               "\n",
               count, bytes, seconds(steady::now() - began).count(), a.speed > 0 ? late : 0.0);
    return {};
}

bool parse(int argc, char **argv, arguments &a) {
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--fast") {
            a.speed = 0;
        } else if ((word == "--speed" || word == "--depth") && i + 1 < argc) {
            const double value = std::strtod(argv[++i], nullptr);
            if (value <= 0) {
                return false;
            }
            if (word == "--speed") {
                a.speed = value;
            } else {
                a.depth = static_cast<std::size_t>(std::max(1.0, value));
            }
        } else if (a.events.empty()) {
            a.events = word;
        } else {
            a.uris.push_back(word);
        }
    }
    return !a.uris.empty();
}

} // namespace
} // namespace farshore::trace

int main(int argc, char **argv) {
    farshore::trace::arguments a;
    if (!farshore::trace::parse(argc, argv, a)) {
        fmt::print(stderr, "usage: replay_nbd EVENTS URI... [--speed N | --fast] [--depth N]\n");
        return 2;
    }
    if (auto done = farshore::trace::replay(a); !done) {
        fmt::print(stderr, "replay_nbd: {}\n", done.error().text());
        return 1;
    }
}
