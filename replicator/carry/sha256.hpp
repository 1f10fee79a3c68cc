#pragma once
// SHA-256 of what is written or read, in a thread of its own: at 1.4 GB/s it would else cost as
// much time as the copy itself.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace farshore::carry {

/// Bytes that several hold while they need them; null stands for zeroes.
using shared_bytes = std::shared_ptr<const byte_vector>;

/// One digest over pieces in their order. One thread adds; the pieces must not change afterwards.
class sha256_thread {
  public:
    sha256_thread();
    ~sha256_thread();
    sha256_thread(const sha256_thread &) = delete;
    sha256_thread &operator=(const sha256_thread &) = delete;

    /// The first `length` bytes of `piece`, or as many zeroes. Waits while sha256_queue_max pieces
    /// are waiting.
    void add(shared_bytes piece, std::uint64_t length);
    void add_copy(bytes_view bytes);
    /// Lower-case hex, once; nothing can be added afterwards.
    std::string finish();

  private:
    struct piece {
        shared_bytes bytes;
        std::uint64_t length = 0;
    };
    void run();

    std::mutex lock_;
    std::condition_variable changed_;
    std::deque<piece> queue_;
    bool ended_ = false;
    std::string digest_;
    std::thread thread_;
};

constexpr std::size_t sha256_queue_max = 16; ///< pieces

/// Of a few bytes, at once.
std::string sha256_of(bytes_view bytes);

} // namespace farshore::carry
