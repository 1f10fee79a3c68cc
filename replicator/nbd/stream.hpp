#pragma once
// A client's socket: received bytes in a window, replies in a queue that never makes the caller
// wait. The system calls are what an NBD server's speed is made of, so they are counted: a lone
// 4 KiB write costs one epoll_wait, one recv and one sendmsg, and after the reply is out one recv
// that finds nothing (Asio's async_receive tries first; waiting for readiness alone would cost an
// epoll_ctl). A busy client's requests come, and its replies go, many at a time: the caller then
// uses try_receive, which reads at once into a large chunk.
//
// Memory: 16 KiB for an idle client's input. A busy one's window is a chunk of 260 KiB, of which
// there are large_windows_max in the process; they hold no reply and nobody waits for one. Replies
// go into chunks from a small pool of the thread, or, in a lean stream, into buffers of their size;
// held_bytes() is what is allocated for them, whatever of it is in use.
//
// Thread: the loop's. Bounds are the caller's: it stops reading while unsent() is too much.

#include "replicator/base/async.hpp"
#include "replicator/base/bytes.hpp"
#include "replicator/base/unique_fd.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>

namespace farshore::nbd {

/// Holds a reply to the usual largest read, 256 KiB, with what stands before its data.
constexpr std::size_t chunk_bytes = std::size_t{260} * 1024;

/// What an idle client's window has.
constexpr std::size_t window_bytes = std::size_t{16} * 1024;
constexpr std::size_t large_windows_max = 16; ///< of the process
/// What the allocator takes for a buffer of so many bytes (base/bytes.cpp), its own header
/// included.
constexpr std::size_t allocated_bytes(std::size_t n) { return (n + 4095) / 4096 * 4096 + 64; }

/// A buffer of chunk_bytes from the calling thread's pool of a few, or a new one.
buffer take_chunk();
void give_chunk(buffer chunk);

class stream {
  public:
    /// Takes a connected, non-blocking stream socket of any family. `changed` is notified whenever
    /// replies left or the client was lost; it outlives this object.
    stream(unique_fd fd, const executor &loop, condition &changed);
    ~stream();
    stream(const stream &) = delete;
    stream &operator=(const stream &) = delete;

    /// Received and not yet consumed.
    bytes_view input() const { return window_.view().subspan(begin_, end_ - begin_); }
    void consume(std::size_t n);

    /// Fills `direct` first (a large payload goes straight to its place), then the window, with
    /// what the socket has. Returns how much of `direct` was filled; received_bytes() grows with
    /// anything. `wanted`: bytes that input() must be able to hold, at most input_max().
    std::size_t try_receive(std::size_t wanted, bytes_span direct);
    /// The same, waiting until something came. Returns at once when ended().
    task<std::size_t> receive(std::size_t wanted, bytes_span direct);
    /// Nothing more can be received: the client hung up, failed, or cancel_receive() was called.
    bool ended() const { return ended_; }
    /// The last try_receive found nothing.
    bool drained() const { return drained_; }

    /// Contiguous room for a reply of at most chunk_bytes; commit() what was written of it.
    bytes_span reserve(std::size_t n);
    void commit(std::size_t n);
    /// A reply in a buffer of its own.
    void push(buffer reply);
    /// Sends what the socket takes now; the rest follows by itself.
    void send();
    std::size_t unsent_bytes() const { return unsent_bytes_; }
    std::size_t unsent_replies() const { return unsent_replies_; }
    /// Allocated for replies.
    std::size_t held_bytes() const { return segment_bytes_; }
    /// Replies get buffers of just their size: for a client that has no credit for chunks.
    void set_lean(bool lean) { lean_ = lean; }
    /// What input() can be made to hold.
    std::size_t input_max() const { return window_.size(); }
    std::uint64_t sent_total() const { return sent_total_; }
    /// Called when replies left that had to wait for the client.
    void set_on_sent(std::function<void()> f) { on_sent_ = std::move(f); }

    void cancel_receive();
    /// Forgets all replies and cuts the client off.
    void fail();
    bool failed() const { return failed_; }
    /// A callback of the socket is still to come: the object must live on.
    bool busy() const { return writer_waits_; }

  private:
    struct segment {
        buffer data;
        std::size_t begin = 0;
        std::size_t end = 0;
        std::size_t replies = 0;
        bool is_chunk = false; ///< goes back to the pool
        bool shared = false;   ///< further replies may be put behind
    };

    void make_room(std::size_t wanted, bool large);
    void account(std::size_t n, std::size_t direct_size);
    std::size_t send_some();
    void sent(std::size_t n);
    void wait_writable();
    void drop_front();
    void window_to_chunk();
    void window_to_small();

    asio::local::stream_protocol::socket
        socket_; ///< only for its readiness; the family doesn't matter
    condition &changed_;
    buffer window_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    bool ended_ = false;
    bool drained_ = false;
    bool failed_ = false;
    bool writer_waits_ = false;
    std::deque<segment> queue_;
    std::size_t unsent_bytes_ = 0;
    std::size_t unsent_replies_ = 0;
    std::size_t segment_bytes_ = 0; ///< allocated for queue_
    std::uint64_t sent_total_ = 0;
    std::function<void()> on_sent_;
    bool lean_ = false;
};

} // namespace farshore::nbd
