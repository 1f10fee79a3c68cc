#include "replicator/format/endian.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace farshore;

namespace {

byte_vector bytes_of(std::initializer_list<int> values) {
    byte_vector out;
    for (const int v : values) {
        out.push_back(static_cast<std::byte>(v));
    }
    return out;
}

struct sample {
    le16 a;
    be32 b;
    std::uint8_t c;
};
static_assert(sizeof(sample) == 7);

byte_vector varint_of(std::uint64_t value) {
    byte_vector out;
    byte_writer(out).varint(value);
    return out;
}

} // namespace

TEST_SUITE("format") {
    TEST_CASE("endian: integers stand in their byte order at any address") {
        const sample s{0x0102, 0x03040506U, 7};
        CHECK(to_hex(struct_bytes(s)) == "02010304050607");
        le64 little(0x0102030405060708ULL);
        be64 big(0x0102030405060708ULL);
        be16 port(443);
        le32 count(7);
        CHECK(to_hex(std::as_bytes(std::span(&little, 1))) == "0807060504030201");
        CHECK(to_hex(std::as_bytes(std::span(&big, 1))) == "0102030405060708");
        CHECK(to_hex(std::as_bytes(std::span(&port, 1))) == "01bb");
        CHECK(little == big.get());
        little = 5;
        CHECK(little + 1U == 6);
        CHECK(count.get() == 7);
        CHECK(le32{} == 0U);
    }

    TEST_CASE("endian: a structure is read back, and not from one byte less") {
        byte_vector out;
        append_struct(out, sample{1, 2, 3});
        const auto back = read_struct<sample>(out);
        REQUIRE(back);
        CHECK(back->a == 1);
        CHECK(back->b == 2U);
        CHECK(back->c == 3);
        const auto cut = read_struct<sample>(bytes_view(out).first(6));
        REQUIRE_FALSE(cut);
        CHECK(is(cut.error(), errc::corrupt));
        write_struct(bytes_span(out), sample{9, 9, 9});
        CHECK(read_struct<sample>(out)->a == 9);
    }

    TEST_CASE("varint: every length is written shortest and read back") {
        for (std::uint32_t bits = 0; bits < 64; ++bits) {
            for (const std::uint64_t value :
                 {std::uint64_t{1} << bits, (std::uint64_t{1} << bits) - 1,
                  ~std::uint64_t{0} >> bits}) {
                const byte_vector out = varint_of(value);
                CHECK(out.size() == varint_bytes(value));
                byte_reader reader(out);
                const auto back = reader.varint();
                REQUIRE(back);
                CHECK(*back == value);
                CHECK(reader.at_end());
            }
        }
        CHECK(varint_of(0) == bytes_of({0}));
        CHECK(varint_of(127) == bytes_of({127}));
        CHECK(varint_of(128) == bytes_of({0x80, 1}));
        CHECK(varint_of(std::numeric_limits<std::uint64_t>::max()).size() == varint_bytes_max);
    }

    TEST_CASE("varint: forms that are cut short, too long or not the shortest are refused") {
        const std::vector<byte_vector> wrong = {
            {},
            bytes_of({0x80}),
            bytes_of({0xff, 0xff}),
            bytes_of({0x80, 0x00}),       // 0 in two bytes
            bytes_of({0xff, 0x80, 0x00}), // trailing zero group
            bytes_of({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}), // 65th bit
            bytes_of({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x00}),
            bytes_of({0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}),
        };
        for (const byte_vector &bytes : wrong) {
            byte_reader reader(bytes);
            const auto value = reader.varint();
            CAPTURE(to_hex(bytes));
            REQUIRE_FALSE(value);
            CHECK(is(value.error(), errc::corrupt));
            CHECK(reader.remaining() == bytes.size()); // nothing was taken
        }
    }

    TEST_CASE("reader: takes what is there and stops exactly at the end") {
        byte_vector out;
        byte_writer writer(out);
        writer.u8(5);
        writer.bytes(bytes_of({1, 2, 3}));
        writer.structure(sample{1, 2, 3});
        writer.text("name");
        writer.varint(300);
        CHECK(writer.size() == out.size());

        byte_reader reader(out);
        CHECK(reader.u8().value() == 5);
        CHECK(to_hex(reader.bytes(3).value()) == "010203");
        CHECK(reader.structure<sample>()->b == 2U);
        CHECK(reader.text(4).value() == "name");
        CHECK_FALSE(reader.expect_end());
        CHECK(reader.varint().value() == 300);
        CHECK(reader.expect_end());
        CHECK_FALSE(reader.u8());
        CHECK_FALSE(reader.bytes(1));
        CHECK(reader.bytes(0));
        CHECK_FALSE(reader.structure<sample>());
    }

    TEST_CASE("reader: a length beyond its limit or the bytes is refused and takes nothing") {
        byte_vector out;
        byte_writer(out).text("abcde");
        byte_reader reader(out);
        const auto limited = reader.text(4);
        REQUIRE_FALSE(limited);
        CHECK(is(limited.error(), errc::limit));
        CHECK(reader.remaining() == 6);
        byte_reader cut(bytes_view(out).first(5));
        const auto missing = cut.text(100);
        REQUIRE_FALSE(missing);
        CHECK(is(missing.error(), errc::corrupt));
        CHECK(cut.remaining() == 5);
        byte_vector huge;
        byte_writer(huge).varint(std::numeric_limits<std::uint64_t>::max());
        CHECK_FALSE(byte_reader(huge).sized_bytes(std::numeric_limits<std::size_t>::max()));
    }
}
