#pragma once
// Views and owners of raw bytes. All casts between bytes and other types stand here and in
// format/endian.hpp.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace farshore {

using bytes_view = std::span<const std::byte>; ///< input, not owned
using bytes_span = std::span<std::byte>;       ///< output, not owned
using byte_vector = std::vector<std::byte>;

inline bytes_view as_bytes(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view as_text(bytes_view bytes) {
    return {reinterpret_cast<const char *>(bytes.data()), bytes.size()};
}
inline const unsigned char *as_unsigned(bytes_view bytes) {
    return reinterpret_cast<const unsigned char *>(bytes.data());
}
inline unsigned char *as_unsigned(bytes_span bytes) {
    return reinterpret_cast<unsigned char *>(bytes.data());
}

/// True when every byte is zero; an empty view counts as zero.
bool is_zero(bytes_view bytes);

/// Lower-case hexadecimal text of the bytes.
std::string to_hex(bytes_view bytes);

/// Owned bytes: move-only, uninitialised when made, from a page on page-aligned. For block data,
/// frames and messages; most messages are small, and a page for each would be memory nobody counts.
class buffer {
  public:
    buffer() = default;
    /// Aborts the process when memory is out (as operator new would end it).
    explicit buffer(std::size_t size);
    static buffer copy_of(bytes_view bytes);

    std::byte *data() { return data_.get(); }
    const std::byte *data() const { return data_.get(); }
    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    bytes_view view() const { return {data_.get(), size_}; }
    bytes_span span() { return {data_.get(), size_}; }
    /// Makes the buffer shorter; the bytes behind `size` are kept until destruction but not shown.
    void shrink(std::size_t size);
    /// As shrink, and what is behind goes back to the allocator, in place where it can.
    void give_back(std::size_t size);

  private:
    struct free_deleter {
        void operator()(std::byte *p) const { std::free(p); }
    };
    std::unique_ptr<std::byte, free_deleter> data_;
    std::size_t size_ = 0;
};

} // namespace farshore
