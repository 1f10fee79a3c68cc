#pragma once
// A volume of an opened point, read over NBD: where it has data, and the data in order, with
// several requests in flight. What is a hole is neither read nor sent.
//
// Thread: the caller's; calls block.

#include "replicator/base/error.hpp"
#include "replicator/carry/extent_list.hpp"
#include "replicator/carry/sha256.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

struct nbd_handle;

namespace farshore::carry {

constexpr std::size_t read_bytes = 512 * 1024; ///< of one request
constexpr std::size_t reads_in_flight = 16;

/// A part of a volume: data, or zeroes where `data` is null.
struct piece {
    byte_range range;
    shared_bytes data;
};
using piece_sink = std::function<result<>(const piece &)>;

class nbd_source {
  public:
    /// `name` is for messages: "volume data of shop at point 17".
    /// `since`: the point that the opening tells changes of; empty: of none.
    static result<nbd_source> connect(const std::string &uri, std::string name,
                                      const std::string &since = {});
    nbd_source(nbd_source &&) noexcept = default;
    nbd_source &operator=(nbd_source &&) noexcept = default;

    std::uint64_t size() const { return size_; }
    const std::string &uri() const { return uri_; }
    result<> read(std::uint64_t offset, bytes_span out);
    /// By base:allocation; everything, where the server does not tell.
    result<extent_list> data_extents(const std::function<bool()> &stop);
    /// Where it was written after point `since`, in 4 KiB. errc::unsupported when the server does
    /// not tell.
    result<extent_list> changed_extents(const std::function<bool()> &stop);
    /// The whole volume from its begin to its end: `data` is read, the rest told as zeroes. Ends
    /// with errc::cancelled when `stop` says so, and with the sink's failure.
    result<> copy(const std::vector<byte_range> &data, const piece_sink &sink,
                  const std::function<bool()> &stop);

  private:
    struct closer {
        void operator()(nbd_handle *h) const;
    };
    class reader;
    nbd_source() = default;
    std::unexpected<error> failed(const std::string &doing) const;
    /// The ranges whose flags, under `mask`, are `wanted`.
    result<extent_list> extents(const std::string &context, std::uint32_t mask,
                                std::uint32_t wanted, const std::function<bool()> &stop);

    std::string uri_;
    std::string name_;
    std::string changed_; ///< context of changed_extents()
    std::unique_ptr<nbd_handle, closer> handle_;
    std::uint64_t size_ = 0;
};

} // namespace farshore::carry
