#pragma once
// A listening socket: bound with care for what may already be there, removed when it goes.

#include "replicator/base/error.hpp"
#include "replicator/base/unique_fd.hpp"
#include "replicator/nbd/server.hpp"

#include <cstdint>
#include <string>
#include <sys/types.h>

namespace farshore::nbd {

class listening_socket {
  public:
    /// Non-blocking and listening. Unix: mode 0600 from the first moment; a socket that nobody
    /// answers on is replaced; errc::busy when somebody does; a file of another kind is left alone
    /// and refused with errc::invalid. TCP: the first address of the host that can be bound.
    static result<listening_socket> open(const endpoint &where);

    listening_socket(listening_socket &&o) noexcept;
    listening_socket &operator=(listening_socket &&) = delete;
    ~listening_socket();

    int fd() const { return fd_.get(); }
    bool tcp() const { return unix_path_.empty(); }
    std::uint16_t port() const { return port_; } ///< TCP

    /// A connected, non-blocking client, set up for low latency. An error with EAGAIN when nobody
    /// waits.
    result<unique_fd> accept();

  private:
    listening_socket() = default;
    static result<listening_socket> open_unix(const std::string &path);
    static result<listening_socket> open_tcp(const endpoint &where);

    unique_fd fd_;
    std::uint16_t port_ = 0;
    std::string unix_path_;
    dev_t device_ = 0; ///< which file it made, so that a successor's is not removed
    ino_t inode_ = 0;
};

} // namespace farshore::nbd
