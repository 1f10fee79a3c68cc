// The label of a bookmark, alone and in a barrier: identity and every refusal.

#include "replicator/format/endian.hpp"
#include "replicator/format/frame.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

using namespace std::chrono_literals;

point_label full_label() {
    point_label label;
    label.kind = label_kind::app;
    label.name = "before-upgrade";
    label.note = "ticket 4711";
    label.keep = 7 * 24h;
    label.hooks.push_back(
        {"db", "postgresql", true, 231'004us, "", {{"lsn", "0/16B3748"}, {"timeline", "1"}}});
    label.hooks.push_back({"files", "filesystem", true, 12ms, "", {}});
    return label;
}

barrier labelled(const point_label &label) {
    barrier b;
    b.time = wall_time(std::chrono::milliseconds(1'700'000'000'123));
    b.consistent = true;
    b.verify.push_back({volume_index{0}, {0, 4096}, {std::byte{1}}});
    b.label = label;
    return b;
}

errc refusal(bytes_view bytes) {
    const auto parsed = parse_label(bytes);
    REQUIRE_FALSE(parsed);
    return static_cast<errc>(parsed.error().code.value());
}

/// A label in its bytes up to the hooks, with these counts and kinds.
byte_vector begun(std::uint8_t version, std::uint8_t kind, std::uint64_t keep,
                  std::string_view name, std::uint64_t hooks) {
    byte_vector bytes;
    byte_writer out(bytes);
    out.u8(version);
    out.u8(kind);
    out.varint(keep);
    out.text(name);
    out.text("");
    out.varint(hooks);
    return bytes;
}

} // namespace

TEST_SUITE("format") {
    TEST_CASE("label: what was encoded is what is parsed, alone and in a barrier") {
        const point_label full = full_label();
        CHECK(parse_label(encode_label(full)) == full);
        point_label plain;
        plain.name = "a";
        CHECK(parse_label(encode_label(plain)) == plain);
        CHECK(parse_barrier(encode_barrier(labelled(full))) == labelled(full));
    }

    TEST_CASE("label: each shorter one is refused, and one byte more") {
        const byte_vector whole = encode_label(full_label());
        for (std::size_t n = 0; n < whole.size(); ++n) {
            CAPTURE(n);
            CHECK_FALSE(parse_label(bytes_view(whole).first(n)));
        }
        byte_vector more = whole;
        more.push_back(std::byte{0});
        CHECK_FALSE(parse_label(more));
        const byte_vector in_barrier = encode_barrier(labelled(full_label()));
        for (std::size_t n = 0; n < in_barrier.size(); ++n) {
            CAPTURE(n);
            CHECK_FALSE(parse_barrier(bytes_view(in_barrier).first(n)));
        }
    }

    TEST_CASE("label: what is out of its range is refused by name") {
        CHECK(parse_label(begun(1, 1, 0, "a", 0)));
        CHECK(refusal(begun(2, 1, 0, "a", 0)) == errc::unsupported);
        CHECK(refusal(begun(1, 0, 0, "a", 0)) == errc::corrupt);
        CHECK(refusal(begun(1, 3, 0, "a", 0)) == errc::corrupt);
        CHECK(parse_label(begun(1, 1, label_keep_seconds_max, "a", 0)));
        CHECK(refusal(begun(1, 1, label_keep_seconds_max + 1, "a", 0)) == errc::limit);
        CHECK(refusal(begun(1, 1, 0, "a", label_hooks_max + 1)) == errc::limit);
        for (const char *name :
             {"", "4711", "latest", "latest-app", "-5m", "a b", "a/b", "2026-01-01T00:00:00Z"}) {
            CAPTURE(name);
            CHECK(refusal(begun(1, 1, 0, name, 0)) == errc::corrupt);
        }
        CHECK(parse_label(begun(1, 1, 0, std::string(64, 'n'), 0)));
        CHECK(refusal(begun(1, 1, 0, std::string(65, 'n'), 0)) == errc::limit);
    }

    TEST_CASE("label: none says app without hooks that all vouch for it") {
        CHECK(refusal(begun(1, 2, 0, "a", 0)) == errc::corrupt);
        byte_vector bytes = begun(1, 2, 0, "a", 1);
        byte_writer out(bytes);
        out.text("db");
        out.text("postgresql");
        const std::size_t ok = bytes.size();
        out.u8(1);
        out.varint(5);
        out.text("");
        out.varint(0);
        CHECK(parse_label(bytes));
        bytes[ok] = std::byte{0};
        CHECK(refusal(bytes) == errc::corrupt);
        bytes[ok] = std::byte{2};
        CHECK(refusal(bytes) == errc::corrupt);
    }

    TEST_CASE("label: texts of a hook are made clean where they are parsed") {
        point_label label = full_label();
        label.hooks[0].message = "one\ntwo";
        const auto parsed = parse_label(encode_label(label));
        REQUIRE(parsed);
        CHECK(parsed->hooks[0].message == "one\\ntwo");
    }

    TEST_CASE("barrier: flag, length and consistency of a label agree, or it is refused") {
        const byte_vector good = encode_barrier(labelled(full_label()));
        const auto with = [&](std::size_t at, auto value) {
            byte_vector bytes = good;
            std::memcpy(bytes.data() + at, &value, sizeof(value));
            return parse_barrier(bytes).has_value();
        };
        CHECK(with(2, le16(1 | 4)));
        CHECK_FALSE(with(2, le16(1)));     // no flag
        CHECK_FALSE(with(2, le16(4)));     // not consistent
        CHECK_FALSE(with(2, le16(1 | 8))); // an unknown flag
        CHECK_FALSE(with(52, le32(0)));
        CHECK_FALSE(with(52, le32(UINT32_MAX)));
        CHECK_FALSE(with(56, std::uint8_t{1})); // reserved
    }
}

} // namespace farshore
