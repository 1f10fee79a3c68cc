#include "replicator/base/bytes.hpp"

#include "replicator/base/assert.hpp"

namespace farshore {

bool is_zero(bytes_view bytes) {
    // Compare the bytes with themselves shifted by one: memcmp is vectorised, a loop may not be.
    if (bytes.empty()) {
        return true;
    }
    return bytes[0] == std::byte{0} &&
           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

std::string to_hex(bytes_view bytes) {
    static constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const std::byte b : bytes) {
        text.push_back(digits[std::to_integer<unsigned>(b) >> 4]);
        text.push_back(digits[std::to_integer<unsigned>(b) & 15]);
    }
    return text;
}

// Exactly as many bytes as asked for, so that a sanitizer sees a read behind them.
buffer::buffer(std::size_t size) : size_(size) {
    constexpr std::size_t page = 4096;
    void *memory = nullptr;
    if (size < page) {
        memory = std::malloc(size > 0 ? size : 1);
    } else if (::posix_memalign(&memory, page, size) != 0) {
        memory = nullptr;
    }
    REPL_ASSERT(memory != nullptr);
    data_.reset(static_cast<std::byte *>(memory));
}

buffer buffer::copy_of(bytes_view bytes) {
    buffer copy(bytes.size());
    if (!bytes.empty()) {
        std::memcpy(copy.data(), bytes.data(), bytes.size());
    }
    return copy;
}

void buffer::shrink(std::size_t size) {
    REPL_ASSERT(size <= size_);
    size_ = size;
}

void buffer::give_back(std::size_t size) {
    shrink(size);
    if (auto *smaller = static_cast<std::byte *>(std::realloc(data_.get(), size > 0 ? size : 1))) {
        static_cast<void>(data_.release());
        data_.reset(smaller);
    }
}

} // namespace farshore
