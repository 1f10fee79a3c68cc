#pragma once
// A qcow2 image that has only what is written to it, over another image or none. Written through a
// qemu-nbd of its own (libnbd starts it), so that the format stays QEMU's business.
//
// Subclusters of 4 KiB (extended_l2): a changed block costs one, and nothing of the backing image
// is read to fill it up.
//
// Thread: the caller's; calls block.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/types.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

struct nbd_handle;

namespace farshore::carry {

struct backing_image {
    std::string path; ///< as it shall stand in the overlay; empty: none
    std::string format;
};

/// The earlier export, as an overlay in `directory` names it: by its name alone when it lies there,
/// else by its whole path. Errors: qemu-img's words about it.
result<backing_image> find_backing(const std::string &path, const std::string &directory,
                                   const std::function<bool()> &stop);

class overlay {
  public:
    /// Makes the image at `path`, over what is there.
    static result<overlay> make(const std::string &path, std::uint64_t size,
                                const backing_image &backing, const std::function<bool()> &stop);

    result<> write(std::uint64_t offset, bytes_view bytes);
    result<> zero(byte_range range);
    /// All of it is in the file, which nobody has open any more. Not synced.
    result<> finish();

  private:
    struct closer {
        void operator()(nbd_handle *h) const;
    };
    overlay() = default;
    std::unexpected<error> failed() const;

    std::string path_;
    std::unique_ptr<nbd_handle, closer> handle_;
};

/// The words that make it. Pure.
std::vector<std::string> create_words(const std::string &path, std::uint64_t size,
                                      const backing_image &backing);

} // namespace farshore::carry
