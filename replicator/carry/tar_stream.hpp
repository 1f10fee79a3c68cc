#pragma once
// A tar of large sparse files, written and read forward only, by libarchive: pax headers, holes as
// GNU tar's sparse format 1.0, so that GNU tar and bsdtar unpack it, too.
//
// Thread: the caller's.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"
#include "replicator/carry/carry.hpp"
#include "replicator/carry/sha256.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

struct archive;

namespace farshore::carry {

/// What takes the bytes of a tar in their order, or gives them: 0 is the end.
using byte_writer = std::function<result<>(bytes_view)>;
using byte_reader = std::function<result<std::size_t>(bytes_span)>;

class tar_writer {
  public:
    /// `seconds`: the time of all entries, since 1970.
    tar_writer(byte_writer out, std::int64_t seconds);
    ~tar_writer();
    tar_writer(const tar_writer &) = delete;
    tar_writer &operator=(const tar_writer &) = delete;

    /// Begins a file; `data` is where it has content, of the `size` bytes that must follow.
    result<> begin(const std::string &name, std::uint64_t size,
                   const std::vector<byte_range> &data);
    result<> data(bytes_view bytes);
    result<> zeroes(std::uint64_t count);
    /// The end mark. Without it the stream is not whole.
    result<> finish();

  private:
    friend struct tar_calls;
    std::unexpected<error> failed();

    byte_writer out_;
    std::int64_t seconds_;
    archive *archive_;
    result<> written_; ///< the first failure of `out_`, which libarchive only passes on
};

class tar_reader {
  public:
    explicit tar_reader(byte_reader in);
    ~tar_reader();
    tar_reader(const tar_reader &) = delete;
    tar_reader &operator=(const tar_reader &) = delete;

    struct entry {
        std::string name;
        std::uint64_t size = 0;
        bool plain_file = false;
    };
    /// False at the end. errc::corrupt when the stream is no tar, damaged, or ends too early.
    result<bool> next(entry &out);
    /// The next piece of content of the entry, in order, holes left out; its bytes are good until
    /// the next call. False at its end.
    result<bool> data(std::uint64_t &offset, bytes_view &bytes);

  private:
    friend struct tar_calls;
    std::unexpected<error> failed();

    byte_reader in_;
    byte_vector buffer_;
    archive *archive_;
    bool opened_ = false;
    result<> read_; ///< the first failure of `in_`
};

} // namespace farshore::carry
