// Frame header, frame and barrier payload: identity and every refusal.

#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/endian.hpp"
#include "replicator/format/frame.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

byte_vector pattern(std::size_t size) {
    byte_vector bytes(size);
    for (std::size_t i = 0; i < size; ++i) {
        bytes[i] = static_cast<std::byte>(i * 7 + 3);
    }
    return bytes;
}

frame_header data_header() {
    frame_header h;
    h.raw_bytes = 8192;
    h.stream = stream_id{0x1122334455667788};
    h.interval = interval_id{42};
    h.index = 3;
    h.blocks = 2;
    return h;
}

/// A frame whose header field was changed and whose header checksum was made right again.
buffer patched(std::size_t offset, bytes_view bytes, bytes_view payload = {}) {
    buffer frame = make_frame(data_header(), payload);
    std::memcpy(frame.data() + offset, bytes.data(), bytes.size());
    write_struct(frame.span().subspan(56), le64(checksum64(frame.view().first(56))));
    return frame;
}

template <class Int>
errc frame_refusal(std::size_t offset, Int value) {
    const buffer frame = patched(offset, struct_bytes(value));
    const auto parsed = parse_frame_header(frame.view());
    REQUIRE_FALSE(parsed.has_value());
    return static_cast<errc>(parsed.error().code.value());
}

barrier full_barrier() {
    barrier b;
    b.time = wall_time(std::chrono::milliseconds(1'700'000'000'123));
    b.consistent = true;
    b.requested = true;
    b.data_frames = 7;
    b.blocks = 1234;
    b.written_bytes = 1ULL << 40;
    b.heals = 5;
    b.frames_checksum = 0xdeadbeefcafef00d;
    b.verify.push_back({volume_index{2}, {4096, limits::MiB}, {std::byte{9}}});
    b.verify.push_back({volume_index{0}, {limits::volume_bytes_max - 1, 1}, {}});
    b.verify.push_back({volume_index{1}, {4096, limits::verify_hole_bytes_max}, {}}); // a hole
    return b;
}

TEST_SUITE_BEGIN("format");

TEST_CASE("frame: what was made is what is parsed") {
    const byte_vector payload = pattern(777);
    const buffer frame = make_frame(data_header(), payload);
    REQUIRE(frame.size() == frame_header_bytes + 777);
    const auto parsed = parse_frame(frame.view());
    REQUIRE(parsed.has_value());
    frame_header expected = data_header();
    expected.payload_bytes = 777;
    expected.payload_checksum = checksum64(payload);
    CHECK(parsed->header == expected);
    CHECK(std::ranges::equal(parsed->payload, payload));
}

TEST_CASE("frame: an empty payload is a frame of exactly a header") {
    const buffer frame = make_frame(data_header(), {});
    CHECK(parse_frame(frame.view()).has_value());
    CHECK_FALSE(parse_frame(frame.view().first(63)).has_value());
}

TEST_CASE("frame: every single flipped bit is noticed") {
    const byte_vector payload = pattern(50);
    const buffer good = make_frame(data_header(), payload);
    for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
        buffer bad = buffer::copy_of(good.view());
        bad.data()[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        CAPTURE(bit);
        CHECK_FALSE(parse_frame(bad.view()).has_value());
    }
}

TEST_CASE("frame: one byte less or more is refused") {
    const buffer good = make_frame(data_header(), pattern(10));
    CHECK_FALSE(parse_frame(good.view().first(good.size() - 1)).has_value());
    byte_vector longer(good.view().begin(), good.view().end());
    longer.push_back(std::byte{0});
    CHECK_FALSE(parse_frame(longer).has_value());
}

TEST_CASE("frame: an unknown version or required flag is unsupported, an optional flag ignored") {
    CHECK(frame_refusal(4, le16(2)) == errc::unsupported);
    CHECK(frame_refusal(7, std::uint8_t{1}) == errc::unsupported);
    CHECK(frame_refusal(7, std::uint8_t{8}) == errc::unsupported);
    const buffer optional = patched(7, struct_bytes(std::uint8_t{0x80}));
    CHECK(parse_frame(optional.view()).has_value());
}

TEST_CASE("frame: fields beyond their range are corrupt") {
    CHECK(frame_refusal(6, std::uint8_t{0}) == errc::corrupt);
    CHECK(frame_refusal(6, std::uint8_t{3}) == errc::corrupt);
    CHECK(frame_refusal(6, std::uint8_t{2}) == errc::corrupt); // a barrier with blocks
    CHECK(frame_refusal(8, le32(limits::frame_payload_bytes_max + 1)) == errc::corrupt);
    CHECK(frame_refusal(12, le32(limits::frame_raw_bytes_max + 1)) == errc::corrupt);
    CHECK(frame_refusal(16, le64(0)) == errc::corrupt);
    CHECK(frame_refusal(24, le64(0)) == errc::corrupt);
    CHECK(frame_refusal(32, le32(limits::frames_per_interval_max)) == errc::corrupt);
    CHECK(frame_refusal(36, le32(limits::interval_entries_max + 1)) == errc::corrupt);
    CHECK(frame_refusal(48, le64(1)) == errc::corrupt);
}

TEST_CASE("frame: fields at their limit are accepted") {
    frame_header h = data_header();
    h.raw_bytes = limits::frame_raw_bytes_max;
    h.index = limits::frames_per_interval_max - 1;
    h.blocks = limits::interval_entries_max;
    const byte_vector payload = pattern(limits::frame_payload_bytes_max);
    CHECK(parse_frame(make_frame(h, payload).view()).has_value());
    h.type = frame_type::barrier;
    h.raw_bytes = 0;
    h.blocks = 0;
    h.index = limits::frames_per_interval_max;
    CHECK(parse_frame(make_frame(h, payload).view()).has_value());
}

TEST_CASE("barrier: what was encoded is what is parsed") {
    const barrier b = full_barrier();
    const byte_vector bytes = encode_barrier(b);
    CHECK(bytes.size() == 64 + b.verify.size() * 32);
    const auto parsed = parse_barrier(bytes);
    REQUIRE(parsed.has_value());
    CHECK(*parsed == b);
    CHECK(*parse_barrier(encode_barrier(barrier{})) == barrier{});
}

TEST_CASE("barrier: a time before 1970 is no time") {
    barrier b;
    b.time = wall_time(std::chrono::seconds(-5));
    CHECK_FALSE(parse_barrier(encode_barrier(b)));
}

TEST_CASE("barrier: the largest one fits a frame") {
    barrier b;
    b.verify.assign(verify_entries_max, {volume_index{1}, {0, 4096}, {}});
    const byte_vector bytes = encode_barrier(b);
    CHECK(bytes.size() <= limits::frame_payload_bytes_max);
    CHECK(parse_barrier(bytes)->verify.size() == verify_entries_max);
}

TEST_CASE("barrier: cut short, lengthened or with unknown bits it is refused") {
    const byte_vector good = encode_barrier(full_barrier());
    for (std::size_t size = 0; size < good.size(); ++size) {
        CAPTURE(size);
        CHECK_FALSE(parse_barrier(bytes_view(good).first(size)).has_value());
    }
    const auto with = [&](std::size_t offset, std::uint8_t value) {
        byte_vector bad = good;
        bad[offset] = static_cast<std::byte>(value);
        return parse_barrier(bad);
    };
    CHECK(is(with(0, 2).error(), errc::unsupported));
    CHECK(is(with(2, 8).error(), errc::unsupported));
    CHECK(is(with(6, 1).error(), errc::limit));  // data_frames 65543
    CHECK(is(with(50, 1).error(), errc::limit)); // verify_count 65538
    CHECK_FALSE(with(48, 1).has_value());
    CHECK_FALSE(with(52, 1).has_value());
    CHECK_FALSE(with(63, 1).has_value());
    CHECK_FALSE(with(64 + 2, 1).has_value());  // reserved of a verify range
    CHECK_FALSE(with(64 + 4, 1).has_value());  // its length one beyond 1 MiB
    CHECK_FALSE(with(64 + 15, 1).has_value()); // its offset beyond any volume
    byte_vector longer = good;
    longer.push_back(std::byte{0});
    CHECK_FALSE(parse_barrier(longer).has_value());
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
