#pragma once
// A blocking NBD client for the demo, by libnbd.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"

#include <cstdint>
#include <memory>
#include <string>

struct nbd_handle;

namespace farshore::demo {

class nbd_volume {
  public:
    static result<nbd_volume> connect(const std::string &uri);

    std::uint64_t size() const { return size_; }
    result<> read(std::uint64_t offset, bytes_span out);
    result<> write(std::uint64_t offset, bytes_view data);
    result<> flush();

  private:
    struct deleter {
        void operator()(nbd_handle *h) const;
    };
    std::unique_ptr<nbd_handle, deleter> handle_;
    std::uint64_t size_ = 0;
};

} // namespace farshore::demo
