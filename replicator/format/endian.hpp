#pragma once
// Integers and structs as they stand on disks and lines, and bounds-checked reading and writing of
// byte sequences. Every format header of this folder is built from these.
//
// le16..le64 and be16..be64 have alignment 1 and no padding, so a struct made of them is its own
// byte table. Readers never look past their view: every failure is errc::corrupt and leaves the
// reader where it was.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace farshore {

/// An unsigned integer in a fixed byte order, at any address. Converts to and from Int implicitly;
/// zero when made.
template <class Int, std::endian Order>
class ordered_int {
    static_assert(std::is_unsigned_v<Int>);

  public:
    constexpr ordered_int() = default;
    constexpr ordered_int(Int value) { set(value); }
    constexpr ordered_int &operator=(Int value) {
        set(value);
        return *this;
    }
    constexpr operator Int() const { return get(); }

    constexpr Int get() const {
        const Int raw = std::bit_cast<Int>(bytes_);
        return Order == std::endian::native ? raw : std::byteswap(raw);
    }
    constexpr void set(Int value) {
        bytes_ =
            std::bit_cast<raw_bytes>(Order == std::endian::native ? value : std::byteswap(value));
    }

  private:
    using raw_bytes = std::array<std::byte, sizeof(Int)>;
    raw_bytes bytes_{};
};

using le16 = ordered_int<std::uint16_t, std::endian::little>;
using le32 = ordered_int<std::uint32_t, std::endian::little>;
using le64 = ordered_int<std::uint64_t, std::endian::little>;
using be16 = ordered_int<std::uint16_t, std::endian::big>;
using be32 = ordered_int<std::uint32_t, std::endian::big>;
using be64 = ordered_int<std::uint64_t, std::endian::big>;

static_assert(sizeof(le16) == 2 && alignof(le16) == 1 && std::is_trivially_copyable_v<le16>);
static_assert(sizeof(le32) == 4 && alignof(le32) == 1 && std::is_trivially_copyable_v<le32>);
static_assert(sizeof(le64) == 8 && alignof(le64) == 1 && std::is_trivially_copyable_v<le64>);
static_assert(sizeof(be16) == 2 && alignof(be16) == 1 && std::is_trivially_copyable_v<be16>);
static_assert(sizeof(be32) == 4 && alignof(be32) == 1 && std::is_trivially_copyable_v<be32>);
static_assert(sizeof(be64) == 8 && alignof(be64) == 1 && std::is_trivially_copyable_v<be64>);

/// A struct that is its own byte table: made of ordered_int, std::byte, uint8_t and arrays of them.
template <class T>
concept wire_struct = std::is_trivially_copyable_v<T> && alignof(T) == 1;

/// The bytes of a struct; valid as long as it lives.
template <wire_struct T>
bytes_view struct_bytes(const T &value) {
    return std::as_bytes(std::span(&value, 1));
}

/// The struct at the beginning of `bytes`; what follows it is not looked at.
template <wire_struct T>
result<T> read_struct(bytes_view bytes) {
    if (bytes.size() < sizeof(T)) {
        return fail(errc::corrupt, "structure cut short");
    }
    T value;
    std::memcpy(static_cast<void *>(&value), bytes.data(), sizeof(T));
    return value;
}

/// Writes the struct over the beginning of `out`, which must be large enough (asserted by caller).
template <wire_struct T>
void write_struct(bytes_span out, const T &value) {
    std::memcpy(out.data(), static_cast<const void *>(&value), sizeof(T));
}

inline void append_bytes(byte_vector &out, bytes_view bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
}

template <wire_struct T>
void append_struct(byte_vector &out, const T &value) {
    append_bytes(out, struct_bytes(value));
}

/// Bytes that a varint takes at most.
constexpr std::size_t varint_bytes_max = 10;

/// Bytes that this value takes as a varint.
constexpr std::size_t varint_bytes(std::uint64_t value) {
    return (static_cast<std::size_t>(std::bit_width(value | 1)) + 6) / 7;
}

/// Appends to a vector that it doesn't own.
class byte_writer {
  public:
    explicit byte_writer(byte_vector &out) : out_(out) {}

    void u8(std::uint8_t value) { out_.push_back(static_cast<std::byte>(value)); }
    /// LEB128: seven bits a byte, low ones first, the top bit says that more follow. Always the
    /// shortest form.
    void varint(std::uint64_t value) {
        while (value >= 0x80) {
            u8(static_cast<std::uint8_t>(value | 0x80));
            value >>= 7;
        }
        u8(static_cast<std::uint8_t>(value));
    }
    void bytes(bytes_view value) { append_bytes(out_, value); }
    template <wire_struct T>
    void structure(const T &value) {
        append_struct(out_, value);
    }
    /// Length as a varint, then the bytes.
    void sized_bytes(bytes_view value) {
        varint(value.size());
        bytes(value);
    }
    void text(std::string_view value) { sized_bytes(as_bytes(value)); }
    std::size_t size() const { return out_.size(); }

  private:
    byte_vector &out_;
};

/// Reads from the front of a view. The `try_` verbs return false instead of an error, for inner
/// loops.
class byte_reader {
  public:
    explicit byte_reader(bytes_view bytes) : rest_(bytes) {}

    std::size_t remaining() const { return rest_.size(); }
    bool at_end() const { return rest_.empty(); }
    bytes_view rest() const { return rest_; }

    bool try_u8(std::uint8_t &value) {
        if (rest_.empty()) {
            return false;
        }
        value = std::to_integer<std::uint8_t>(rest_.front());
        rest_ = rest_.subspan(1);
        return true;
    }
    bool try_bytes(std::size_t count, bytes_view &value) {
        if (count > rest_.size()) {
            return false;
        }
        value = rest_.first(count);
        rest_ = rest_.subspan(count);
        return true;
    }
    /// False as well for a form that is not the shortest or does not fit 64 bits.
    bool try_varint(std::uint64_t &value) {
        std::uint64_t sum = 0;
        const std::size_t limit = std::min(rest_.size(), varint_bytes_max);
        for (std::size_t i = 0; i < limit; ++i) {
            const auto b = std::to_integer<std::uint64_t>(rest_[i]);
            if (i == varint_bytes_max - 1 && b > 1) {
                return false; // bits beyond the 64th, or an eleventh byte
            }
            sum |= (b & 0x7f) << (7 * i);
            if ((b & 0x80) == 0) {
                if (b == 0 && i > 0) {
                    return false; // a shorter form exists
                }
                value = sum;
                rest_ = rest_.subspan(i + 1);
                return true;
            }
        }
        return false;
    }

    result<std::uint8_t> u8() {
        std::uint8_t value = 0;
        return try_u8(value) ? result<std::uint8_t>(value) : cut_short();
    }
    result<bytes_view> bytes(std::size_t count) {
        bytes_view value;
        return try_bytes(count, value) ? result<bytes_view>(value) : cut_short();
    }
    result<std::uint64_t> varint() {
        std::uint64_t value = 0;
        return try_varint(value) ? result<std::uint64_t>(value)
                                 : fail(errc::corrupt, "variable-length integer is not valid");
    }
    template <wire_struct T>
    result<T> structure() {
        auto value = read_struct<T>(rest_);
        if (value) {
            rest_ = rest_.subspan(sizeof(T));
        }
        return value;
    }
    /// Length as a varint (errc::limit beyond `max`), then the bytes.
    result<bytes_view> sized_bytes(std::size_t max) {
        byte_reader ahead = *this;
        FS_TRY(length, ahead.varint());
        if (length > max) {
            return fail(errc::limit, "length beyond its limit");
        }
        FS_TRY(value, ahead.bytes(static_cast<std::size_t>(length)));
        *this = ahead;
        return value;
    }
    result<std::string> text(std::size_t max) {
        FS_TRY(value, sized_bytes(max));
        return std::string(as_text(value));
    }
    /// Fails when bytes are left: formats have no trailing bytes.
    result<> expect_end() const {
        if (!rest_.empty()) {
            return fail(errc::corrupt, "bytes left over");
        }
        return {};
    }

  private:
    static std::unexpected<error> cut_short() { return fail(errc::corrupt, "bytes cut short"); }

    bytes_view rest_;
};

} // namespace farshore
