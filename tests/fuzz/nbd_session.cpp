// A whole NBD connection over a socket: requests of every kind, many in flight, payloads in pieces,
// answers taken or not, cut anywhere. Held against a small model: every request that was sent in
// full is answered once, a WRITE not before its last byte, nothing else is said, and the connection
// ends.

#include "replicator/base/limits.hpp"
#include "replicator/nbd/connection.hpp"
#include "tests/support/memory_device.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <sys/socket.h>

using namespace farshore;
using namespace farshore::nbd;

namespace {

constexpr std::uint64_t export_bytes = 200'001;
constexpr std::size_t requests_max = 200;

class session {
  public:
    session(bool structured, bool read_only, bool by_pool) : structured_(structured) {
        auto device = std::make_shared<test::memory_device>(export_bytes);
        device->writable = !read_only;
        device->never_try = by_pool;
        device->knows_holes = true;
        int ends[2];
        REPL_ASSERT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) ==
                    0);
        ours_ = unique_fd(ends[0]);
        const auto exports = std::make_shared<const std::vector<export_entry>>(
            std::vector<export_entry>{{"data", "", std::move(device)}});
        talk_ = std::make_shared<connection>(unique_fd(ends[1]), exports, io_.get_executor(),
                                             io_.get_executor(), connection_options{});
        asio::co_spawn(io_, talk_->run(), [this](const std::exception_ptr &) { ended_ = true; });
        open();
    }
    ~session() {
        ours_.reset();
        work();
        talk_->abort();
        work();
        REPL_ASSERT(ended_);
    }

    /// The header and `sent` bytes of the payload, or all that the socket takes; the rest is owed.
    void request_(request r, std::size_t sent) {
        r.cookie = ++cookie_;
        const bool write = r.type == command_write;
        const bool closes = r.type == command_disconnect ||
                            (write && r.length > limits::nbd_refused_payload_bytes_max);
        pay(SIZE_MAX); // the stream stays in step
        if (closing_ || owed_ > 0) {
            return;
        }
        owed_bytes_.clear();
        append_struct(owed_bytes_, encode_request(r));
        owed_ = owed_bytes_.size() + (write && !closes ? r.length : 0);
        owes_cookie_ = r.cookie;
        closing_ = closes;
        if (!closes) {
            lengths_[r.cookie] = r.type == command_read ? r.length : 0;
        }
        pay(sizeof(request_header) + sent);
    }
    /// Sends so much of what is owed.
    void pay(std::size_t bytes) {
        while (bytes > 0 && owed_ > 0) {
            const byte_vector zeroes(std::min<std::size_t>(owed_, 65'536));
            const bytes_view next =
                owed_bytes_.empty() ? bytes_view(zeroes) : bytes_view(owed_bytes_);
            const std::size_t part = std::min({next.size(), owed_, bytes});
            const ssize_t n = ::send(ours_.get(), next.data(), part, MSG_NOSIGNAL);
            if (n <= 0) {
                return;
            }
            const auto sent = static_cast<std::size_t>(n);
            if (!owed_bytes_.empty()) {
                owed_bytes_.erase(owed_bytes_.begin(), owed_bytes_.begin() + n);
            }
            owed_ -= sent;
            bytes -= sent;
            if (owed_ == 0 && !closing_) {
                complete_.insert(owes_cookie_);
            }
            work();
        }
        work();
    }
    void take() {
        std::array<std::byte, 16'384> room;
        for (;;) {
            const ssize_t n = ::recv(ours_.get(), room.data(), room.size(), 0);
            if (n <= 0) {
                return;
            }
            append_bytes(got_, bytes_view(room).first(static_cast<std::size_t>(n)));
            work();
            parse();
        }
    }
    void half_close() {
        closing_ = true;
        ::shutdown(ours_.get(), SHUT_WR);
        work();
    }
    /// All that was sent in full has its answer.
    void settle() {
        for (int i = 0; i < 10'000 && owed_ > 0 && !closing_ && !ended_; ++i) {
            pay(SIZE_MAX);
            take();
        }
        take();
        REPL_ASSERT(complete_.empty());
    }
    std::size_t requests() const { return cookie_; }

  private:
    void open() {
        byte_vector script;
        append_struct(script, be32(client_flags_known));
        const auto option = [&](std::uint32_t number, const byte_vector &data) {
            option_header header;
            header.magic = option_magic;
            header.option = number;
            header.length = static_cast<std::uint32_t>(data.size());
            append_struct(script, header);
            append_bytes(script, data);
        };
        if (structured_) {
            option(option_structured_reply, {});
        }
        option(option_go, byte_vector(6));
        REPL_ASSERT(::send(ours_.get(), script.data(), script.size(), MSG_NOSIGNAL) ==
                    static_cast<ssize_t>(script.size()));
        work();
        std::array<std::byte, 4096> room;
        REPL_ASSERT(::recv(ours_.get(), room.data(), room.size(), 0) > 0);
    }
    void work() {
        io_.restart();
        io_.poll();
    }
    void answered(std::uint64_t cookie) {
        REPL_ASSERT(complete_.erase(cookie) == 1); // sent to its last byte, and not answered before
        lengths_.erase(cookie);
    }
    void parse() {
        for (;;) {
            const bytes_view in = got_;
            std::size_t used = 0;
            if (structured_ && in.size() >= sizeof(chunk_header) &&
                read_struct<be32>(in)->get() == structured_reply_magic) {
                const auto chunk = read_struct<chunk_header>(in);
                REPL_ASSERT(chunk->length <= export_bytes + 100);
                used = sizeof(chunk_header) + chunk->length;
                if (in.size() < used) {
                    return;
                }
                REPL_ASSERT(complete_.contains(chunk->cookie));
                if ((chunk->flags & chunk_flag_done) != 0) {
                    answered(chunk->cookie);
                }
            } else {
                const auto reply = read_struct<simple_reply>(in);
                if (!reply) {
                    return;
                }
                REPL_ASSERT(reply->magic == simple_reply_magic);
                REPL_ASSERT(lengths_.contains(reply->cookie));
                used = sizeof(simple_reply) + (reply->error == 0 ? lengths_[reply->cookie] : 0);
                if (in.size() < used) {
                    return;
                }
                answered(reply->cookie);
            }
            got_.erase(got_.begin(), got_.begin() + static_cast<std::ptrdiff_t>(used));
        }
    }

    const bool structured_;
    asio::io_context io_;
    unique_fd ours_;
    std::shared_ptr<connection> talk_;
    bool ended_ = false;
    bool closing_ = false; ///< no more requests are read
    std::uint64_t cookie_ = 0;
    std::uint64_t owes_cookie_ = 0;
    byte_vector owed_bytes_;                       ///< of a header
    std::size_t owed_ = 0;                         ///< of the last request, header and payload
    std::map<std::uint64_t, std::size_t> lengths_; ///< of READs; every request that was begun
    std::set<std::uint64_t> complete_;             ///< sent in full, not answered
    byte_vector got_;
};

std::uint32_t length_of(std::uint8_t what, bool may_be_large) {
    constexpr std::array<std::uint32_t, 16> lengths{0,
                                                    1,
                                                    511,
                                                    4096,
                                                    4097,
                                                    16'384,
                                                    32'767,
                                                    32'768,
                                                    65'536,
                                                    100'000,
                                                    200'001,
                                                    200'002,
                                                    limits::nbd_request_bytes_max,
                                                    limits::nbd_request_bytes_max + 1,
                                                    limits::nbd_refused_payload_bytes_max + 1,
                                                    UINT32_MAX};
    const std::uint32_t length = lengths[what % lengths.size()];
    // A payload of many MiB costs what a thousand others do.
    const bool large =
        length >= limits::nbd_request_bytes_max && length <= limits::nbd_refused_payload_bytes_max;
    return large && !may_be_large ? 4096 : length;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    if (size < 1) {
        return 0;
    }
    session s((data[0] & 1) != 0, (data[0] & 2) != 0, (data[0] & 4) != 0);
    for (std::size_t at = 1; at + 4 <= size && s.requests() < requests_max; at += 4) {
        const std::uint8_t what = data[at];
        const std::uint8_t a = data[at + 1];
        const std::uint8_t b = data[at + 2];
        const std::uint8_t c = data[at + 3];
        switch (what % 8) {
        case 0:
            s.take();
            break;
        case 1:
            s.pay(std::size_t{a} * 256 + b);
            break;
        case 2:
            if (a == 0) {
                s.half_close();
            }
            break;
        default: {
            constexpr std::array<std::uint16_t, 9> types{0, 1, 1, 2, 3, 4, 6, 7, 4711};
            request r{.type = types[what / 8 % types.size()],
                      .length = length_of(b, s.requests() == 0)};
            if (r.type == command_disconnect && a != 0) {
                r.type = command_read;
            }
            r.flags = c < 192 ? std::uint16_t{0} : static_cast<std::uint16_t>(1U << (c % 16));
            r.offset = a < 128   ? std::uint64_t{a} * 4096
                       : a < 250 ? std::uint64_t{a} * 100
                                 : UINT64_MAX - a;
            s.request_(r, c % 2 == 0 ? SIZE_MAX : std::size_t{c} * 100);
            break;
        }
        }
    }
    if ((data[0] & 8) == 0) {
        s.settle();
    } // else cut where it is
    return 0;
}
