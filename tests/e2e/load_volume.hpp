#pragma once
// A volume as farshore-load sees it: an NBD URI, or a plain file for reading replicas and filling.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/unique_fd.hpp"

#include <cstdint>
#include <memory>
#include <string>

struct nbd_handle;

namespace farshore::load {

class volume {
  public:
    /// `where`: nbd://, nbd+unix://..., or a path.
    static result<volume> open(const std::string &where, bool writable);
    std::uint64_t size() const { return size_; }
    result<> read(std::uint64_t offset, bytes_span out);
    result<> write(std::uint64_t offset, bytes_view bytes);
    result<> write_zeroes(std::uint64_t offset, std::uint64_t length);
    result<> flush();

  private:
    struct close_handle {
        void operator()(nbd_handle *handle) const;
    };
    std::unique_ptr<nbd_handle, close_handle> nbd_;
    unique_fd file_;
    std::uint64_t size_ = 0;
};

} // namespace farshore::load
