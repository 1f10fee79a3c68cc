#include "replicator/carry/nbd_source.hpp"

#include "replicator/base/limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <deque>
#include <libnbd.h>
#include <optional>
#include <span>

namespace farshore::carry {
namespace {

constexpr std::uint64_t status_bytes = limits::GiB; ///< asked about at once
constexpr int look_every_ms = 500;                  ///< at `stop`, while nothing comes
constexpr const char *allocation = "base:allocation";
const std::string changed_since = "farshore:changed-since:";

/// Answers of one question: lengths and flags in turn.
struct statuses {
    const std::string &context;
    std::uint32_t mask;
    std::uint32_t wanted;
    std::uint64_t at = 0;
    extent_list out{};
};

int take_statuses(void *user, const char *context, std::uint64_t, std::uint32_t *entries,
                  std::size_t count, int *) {
    auto &s = *static_cast<statuses *>(user);
    if (s.context != context) {
        return 0;
    }
    for (std::size_t i = 0; i + 1 < count; i += 2) {
        if ((entries[i + 1] & s.mask) == s.wanted) {
            s.out.add({s.at, entries[i]});
        }
        s.at += entries[i];
    }
    return 0;
}

std::unexpected<error> stopped() { return fail(errc::cancelled, ""); }

} // namespace

void nbd_source::closer::operator()(nbd_handle *h) const { ::nbd_close(h); }

std::unexpected<error> nbd_source::failed(const std::string &doing) const {
    const int number = ::nbd_get_errno();
    if (number == EINTR) {
        return stopped();
    }
    const char *text = ::nbd_get_error();
    return fail_errno(number == 0 ? EIO : number,
                      fmt::format("{}: {}: {}; the receiver may have stopped, or closed the point: "
                                  "see its log, then run the command again",
                                  name_, doing, text != nullptr ? text : "NBD"));
}

result<nbd_source> nbd_source::connect(const std::string &uri, std::string name,
                                       const std::string &since) {
    nbd_source s;
    s.uri_ = uri;
    s.name_ = std::move(name);
    s.handle_.reset(::nbd_create());
    s.changed_ = since.empty() ? "" : changed_since + since;
    nbd_handle *h = s.handle_.get();
    if (h == nullptr || ::nbd_add_meta_context(h, allocation) != 0 ||
        (!since.empty() && ::nbd_add_meta_context(h, s.changed_.c_str()) != 0) ||
        ::nbd_connect_uri(h, uri.c_str()) != 0) {
        return s.failed("connecting");
    }
    const std::int64_t size = ::nbd_get_size(h);
    if (size < 0) {
        return s.failed("asking for its size");
    }
    s.size_ = static_cast<std::uint64_t>(size);
    return s;
}

result<> nbd_source::read(std::uint64_t offset, bytes_span out) {
    if (::nbd_pread(handle_.get(), out.data(), out.size(), offset, 0) != 0) {
        return failed(fmt::format("reading at byte {}", offset));
    }
    return {};
}

result<extent_list> nbd_source::data_extents(const std::function<bool()> &stop) {
    if (::nbd_can_meta_context(handle_.get(), allocation) != 1) {
        extent_list all;
        all.add({0, size_});
        return all;
    }
    return extents(allocation, LIBNBD_STATE_ZERO, 0, stop);
}

result<extent_list> nbd_source::changed_extents(const std::function<bool()> &stop) {
    if (changed_.empty() || ::nbd_can_meta_context(handle_.get(), changed_.c_str()) != 1) {
        return fail(errc::unsupported, name_ + ": the receiver does not tell what changed since "
                                               "another point; are CLI and daemon of one version?");
    }
    return extents(changed_, 1, 1, stop);
}

result<extent_list> nbd_source::extents(const std::string &context, std::uint32_t mask,
                                        std::uint32_t wanted, const std::function<bool()> &stop) {
    statuses s{context, mask, wanted};
    while (s.at < size_) {
        if (stop()) {
            return stopped();
        }
        const std::uint64_t before = s.at;
        const nbd_extent_callback take{take_statuses, &s, nullptr};
        if (::nbd_block_status(handle_.get(), std::min(status_bytes, size_ - s.at), s.at, take,
                               0) != 0) {
            return failed("asking where it has data");
        }
        if (s.at == before || s.at > size_) {
            return fail(errc::corrupt, name_ + ": the server's answer about its data is no answer");
        }
    }
    return std::move(s.out);
}

// Requests go out in the order of place, and their answers are taken in it: what follows, digest
// and stream, needs the order, and reads that come back early wait in their buffers. One connection
// is enough, since the server answers as many requests of one at once.
class nbd_source::reader {
  public:
    reader(nbd_source &source, const piece_sink &sink, const std::function<bool()> &stop)
        : source_(source), h_(source.handle_.get()), sink_(sink), stop_(stop) {}
    ~reader() {
        // Buffers must stay until nothing can be written to them any more.
        if (!waiting_.empty()) {
            source_.handle_.reset();
        }
    }
    reader(const reader &) = delete;
    reader &operator=(const reader &) = delete;

    result<> hole(byte_range range) {
        if (range.length > 0) {
            waiting_.push_back({{range, nullptr}, nullptr, 0});
        }
        return take_those_ready();
    }
    result<> data(byte_range range) {
        while (range.length > 0) {
            FS_CHECK(take_until(reads_in_flight - 1));
            const std::uint64_t now = std::min<std::uint64_t>(range.length, read_bytes);
            FS_CHECK(ask({range.offset, now}));
            range = {range.offset + now, range.length - now};
        }
        return {};
    }
    result<> finish() { return take_until(0); }

  private:
    struct waiting {
        piece part;
        std::shared_ptr<byte_vector> buffer; ///< null: a hole
        std::int64_t cookie = 0;
    };

    result<> ask(byte_range range) {
        std::shared_ptr<byte_vector> buffer = spare();
        const std::int64_t cookie =
            ::nbd_aio_pread(h_, buffer->data(), static_cast<std::size_t>(range.length),
                            range.offset, nbd_completion_callback{}, 0);
        if (cookie < 0) {
            return source_.failed(fmt::format("reading at byte {}", range.offset));
        }
        waiting_.push_back({{range, buffer}, buffer, cookie});
        return {};
    }
    std::shared_ptr<byte_vector> spare() {
        const auto free =
            std::ranges::find_if(buffers_, [](const auto &b) { return b.use_count() == 1; });
        if (free != buffers_.end()) {
            // The digest's thread let go of it: what it did before that is done.
            std::atomic_thread_fence(std::memory_order_acquire);
            return *free;
        }
        buffers_.push_back(std::make_shared<byte_vector>(read_bytes));
        return buffers_.back();
    }
    result<bool> ready(const waiting &first) const {
        if (!first.buffer) {
            return true;
        }
        const int done = ::nbd_aio_command_completed(h_, static_cast<std::uint64_t>(first.cookie));
        if (done < 0) {
            return source_.failed(fmt::format("reading at byte {}", first.part.range.offset));
        }
        return done == 1;
    }
    result<> take_first() {
        const piece part = waiting_.front().part;
        waiting_.pop_front();
        return sink_(part);
    }
    result<> take_those_ready() {
        while (!waiting_.empty()) {
            FS_TRY(done, ready(waiting_.front()));
            if (!done) {
                return {};
            }
            FS_CHECK(take_first());
        }
        return {};
    }
    result<> take_until(std::size_t left) {
        FS_CHECK(take_those_ready());
        while (waiting_.size() > left) {
            if (stop_()) {
                return stopped();
            }
            if (::nbd_poll(h_, look_every_ms) < 0 && ::nbd_get_errno() != EINTR) {
                return source_.failed("waiting for data");
            }
            FS_CHECK(take_those_ready());
        }
        return {};
    }

    nbd_source &source_;
    nbd_handle *h_;
    const piece_sink &sink_;
    const std::function<bool()> &stop_;
    std::deque<waiting> waiting_;
    std::vector<std::shared_ptr<byte_vector>> buffers_;
};

result<> nbd_source::copy(const std::vector<byte_range> &data, const piece_sink &sink,
                          const std::function<bool()> &stop) {
    reader r(*this, sink, stop);
    std::uint64_t at = 0;
    for (const byte_range &range : data) {
        FS_CHECK(r.hole({at, range.offset - at}));
        FS_CHECK(r.data(range));
        at = range.offset + range.length;
    }
    FS_CHECK(r.hole({at, size_ - at}));
    return r.finish();
}

} // namespace farshore::carry
