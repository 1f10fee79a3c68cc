#include "replicator/nbd/stream.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <sys/socket.h>
#include <sys/uio.h>
#include <vector>

namespace farshore::nbd {

namespace {

constexpr std::size_t pooled_chunks_max = 4;
constexpr std::size_t segments_per_send_max = 32;

/// In the process: they count to its fixed memory.
std::atomic<std::size_t> large_windows{0};

/// Chunks of this thread that nobody uses: the same few stay warm in the CPU's cache.
std::vector<buffer> &chunk_pool() {
    thread_local std::vector<buffer> pool;
    return pool;
}

} // namespace

buffer take_chunk() {
    auto &pool = chunk_pool();
    if (pool.empty()) {
        return buffer(chunk_bytes);
    }
    buffer chunk = std::move(pool.back());
    pool.pop_back();
    return chunk;
}

void give_chunk(buffer chunk) {
    REPL_ASSERT(chunk.size() == chunk_bytes);
    auto &pool = chunk_pool();
    if (pool.size() < pooled_chunks_max) {
        pool.push_back(std::move(chunk));
    }
}

stream::~stream() {
    if (window_.size() == chunk_bytes) {
        large_windows.fetch_sub(1, std::memory_order_relaxed);
    }
}

stream::stream(unique_fd fd, const executor &loop, condition &changed)
    : socket_(loop), changed_(changed), window_(window_bytes) {
    asio::error_code ec;
    socket_.assign(asio::local::stream_protocol(), fd.get(), ec);
    if (ec) {
        ended_ = failed_ = true; // out of kernel memory: fd closes here
    } else {
        fd.release();
    }
}

void stream::consume(std::size_t n) {
    REPL_ASSERT(n <= end_ - begin_);
    begin_ += n;
    if (begin_ == end_) {
        begin_ = end_ = 0;
    }
}

void stream::window_to_chunk() {
    if (large_windows.fetch_add(1, std::memory_order_relaxed) >= large_windows_max) {
        large_windows.fetch_sub(1, std::memory_order_relaxed);
        return;
    }
    buffer chunk = take_chunk();
    end_ -= begin_;
    std::copy_n(window_.data() + begin_, end_, chunk.data());
    begin_ = 0;
    window_ = std::move(chunk);
}

void stream::window_to_small() {
    give_chunk(std::exchange(window_, buffer(window_bytes)));
    large_windows.fetch_sub(1, std::memory_order_relaxed);
}

/// After it the window can hold `wanted` bytes and has room for one more. `large`: better in a
/// chunk, if there is one; an empty large window goes back to the pool otherwise.
void stream::make_room(std::size_t wanted, bool large) {
    const std::size_t held = end_ - begin_;
    const bool is_large = window_.size() == chunk_bytes;
    if (is_large && !large && wanted <= window_bytes && held == 0) {
        window_to_small();
    } else if (!is_large && large) {
        window_to_chunk();
    }
    REPL_ASSERT(wanted <= window_.size());
    if (begin_ > 0 && begin_ + wanted >= window_.size()) {
        std::copy(window_.data() + begin_, window_.data() + end_, window_.data());
        end_ -= begin_;
        begin_ = 0;
    }
    REPL_ASSERT(end_ < window_.size());
}

void stream::account(std::size_t n, std::size_t direct_size) {
    end_ += n > direct_size ? n - direct_size : 0;
}

std::size_t stream::try_receive(std::size_t wanted, bytes_span direct) {
    make_room(wanted, direct.empty());
    const bytes_span room = window_.span().subspan(end_);
    std::array<iovec, 2> parts{iovec{direct.data(), direct.size()},
                               iovec{room.data(), room.size()}};
    msghdr message{};
    message.msg_iov = parts.data() + (direct.empty() ? 1 : 0);
    message.msg_iovlen = direct.empty() ? 1 : 2;
    const ssize_t n = ::recvmsg(socket_.native_handle(), &message, MSG_DONTWAIT);
    if (n > 0) {
        drained_ = static_cast<std::size_t>(n) < direct.size() + room.size();
        account(static_cast<std::size_t>(n), direct.size());
        return std::min(static_cast<std::size_t>(n), direct.size());
    }
    drained_ = true;
    ended_ = ended_ || n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
    return 0;
}

task<std::size_t> stream::receive(std::size_t wanted, bytes_span direct) {
    if (ended_) {
        co_return 0;
    }
    make_room(wanted, false);
    const bytes_span room = window_.span().subspan(end_);
    const std::array<asio::mutable_buffer, 2> parts{
        asio::mutable_buffer(direct.data(), direct.size()),
        asio::mutable_buffer(room.data(), room.size())};
    const auto [ec, n] = co_await socket_.async_receive(parts, as_result);
    if (ec) {
        ended_ = true;
        co_return 0;
    }
    drained_ = n < direct.size() + room.size();
    account(n, direct.size());
    co_return std::min(n, direct.size());
}

bytes_span stream::reserve(std::size_t n) {
    REPL_ASSERT(n <= chunk_bytes);
    if (queue_.empty() || !queue_.back().shared ||
        queue_.back().data.size() - queue_.back().end < n) {
        segment next;
        next.data = lean_ ? buffer((n + 4095) / 4096 * 4096) : take_chunk();
        next.is_chunk = !lean_;
        next.shared = true;
        segment_bytes_ += allocated_bytes(next.data.size());
        queue_.push_back(std::move(next));
    }
    segment &last = queue_.back();
    return last.data.span().subspan(last.end, n);
}

void stream::commit(std::size_t n) {
    segment &last = queue_.back();
    last.end += n;
    ++last.replies;
    unsent_bytes_ += n;
    ++unsent_replies_;
}

void stream::push(buffer reply) {
    segment next;
    next.end = reply.size();
    next.replies = 1;
    next.data = std::move(reply);
    unsent_bytes_ += next.end;
    ++unsent_replies_;
    segment_bytes_ += allocated_bytes(next.end);
    queue_.push_back(std::move(next));
}

/// One sendmsg; 0 when the socket takes nothing now or the client is lost.
std::size_t stream::send_some() {
    std::array<iovec, segments_per_send_max> parts;
    std::size_t count = 0;
    for (segment &s : queue_) {
        if (count == parts.size()) {
            break;
        }
        parts[count++] = iovec{s.data.data() + s.begin, s.end - s.begin};
    }
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    const ssize_t n = ::sendmsg(socket_.native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
        return static_cast<std::size_t>(n);
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ENOBUFS) {
        wait_writable();
    } else {
        fail();
    }
    return 0;
}

void stream::sent(std::size_t n) {
    unsent_bytes_ -= n;
    sent_total_ += n;
    while (!queue_.empty()) {
        segment &first = queue_.front();
        const std::size_t part = std::min(n, first.end - first.begin);
        first.begin += part;
        n -= part;
        if (first.begin < first.end) {
            return;
        }
        unsent_replies_ -= first.replies;
        drop_front();
    }
}

void stream::drop_front() {
    segment &first = queue_.front();
    segment_bytes_ -= allocated_bytes(first.data.size());
    if (first.is_chunk) {
        give_chunk(std::move(first.data));
    }
    queue_.pop_front();
}

void stream::send() {
    while (unsent_bytes_ > 0 && !writer_waits_ && !failed_) {
        if (const std::size_t n = send_some(); n > 0) {
            sent(n);
        }
    }
    if (unsent_bytes_ == 0) {
        sent(0); // a chunk that was reserved for a reply which then went another way
    }
}

void stream::wait_writable() {
    writer_waits_ = true;
    socket_.async_wait(asio::socket_base::wait_write, [this](asio::error_code) {
        // Cancelled waits are taken up again: cancel_receive() cancels all waits of a socket.
        writer_waits_ = false;
        send();
        if (on_sent_) {
            on_sent_();
        }
        changed_.notify_all();
    });
}

void stream::cancel_receive() {
    ended_ = true;
    asio::error_code ec;
    socket_.cancel(ec);
}

void stream::fail() {
    if (failed_) {
        return;
    }
    failed_ = ended_ = true;
    queue_.clear();
    unsent_bytes_ = unsent_replies_ = segment_bytes_ = 0;
    ::shutdown(socket_.native_handle(), SHUT_RDWR);
    asio::error_code ec;
    socket_.cancel(ec);
    changed_.notify_all();
}

} // namespace farshore::nbd
