// Segment header, undo record, commit record and list of volumes: identity and refusals.

#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/endian.hpp"
#include "replicator/format/group_state.hpp"
#include "replicator/format/segment_header.hpp"
#include "replicator/format/undo_record.hpp"

#include <doctest/doctest.h>

namespace farshore {
namespace {

template <class Parse>
void check_bits(const byte_vector &good, Parse parse) {
    REQUIRE(parse(good).has_value());
    for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
        CAPTURE(bit);
        byte_vector bad = good;
        bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        CHECK_FALSE(parse(bad).has_value());
    }
    for (std::size_t size = 0; size < good.size(); ++size) {
        CHECK_FALSE(parse(bytes_view(good).first(size)).has_value());
    }
}

/// `good` with `value` at `offset` and the checksum at `sum` made right.
template <class Int>
byte_vector with(byte_vector good, std::size_t offset, Int value, std::size_t sum) {
    write_struct(bytes_span(good).subspan(offset), value);
    write_struct(bytes_span(good).subspan(sum), le64(checksum64(bytes_view(good).first(sum))));
    return good;
}

TEST_SUITE_BEGIN("format");

TEST_CASE("segment header: identity, every bit counts, versions and ranges") {
    const segment_header h{segment_kind::undo, 77, 123'456};
    const byte_vector bytes = encode_segment_header(h);
    CHECK(bytes.size() == segment_header_bytes);
    CHECK(*parse_segment_header(bytes) == h);
    check_bits(bytes, parse_segment_header);
    CHECK(is(parse_segment_header(with(bytes, 4, le16(2), 56)).error(), errc::unsupported));
    CHECK(is(parse_segment_header(with(bytes, 6, std::uint8_t{3}, 56)).error(), errc::corrupt));
    CHECK(is(parse_segment_header(with(bytes, 8, le64(0), 56)).error(), errc::corrupt));
    CHECK(is(parse_segment_header(with(bytes, 30, std::uint8_t{1}, 56)).error(), errc::corrupt));
}

TEST_CASE("segment names: only names that we make are taken for segments") {
    CHECK(segment_name(1) == "0000000001.seg");
    CHECK(parse_segment_name("0000000001.seg") == 1);
    CHECK(parse_segment_name(segment_name(2'000'000'001)) == 2'000'000'001);
    for (const char *name :
         {"", "1.seg", "0000000000.seg", "00000000x1.seg", "0000000001.seg.tmp", "00000000001.seg",
          "0000000001", ".seg", "99999999999999999999999.seg"}) {
        CHECK_FALSE(parse_segment_name(name).has_value());
    }
}

TEST_CASE("undo record: identity, every bit counts, versions and ranges") {
    undo_header h;
    h.position = {stream_id{3}, interval_id{4}};
    h.part = 2;
    h.last = h.point = true;
    h.entries = 3;
    h.content_bytes = 8192;
    h.time = wall_time(std::chrono::seconds(-9));
    h.damage_count = 5;
    h.healed_count = 4;
    h.synced_segment = 6;
    h.synced_offset = 7;
    h.written = -8;
    const std::vector<undo_entry> entries = {
        {volume_index{0}, block_index{1}, undo_kind::raw, 1, 99},
        {volume_index{9}, block_index{0}, undo_kind::zero, UINT32_MAX, 0},
        {volume_index{1023}, block_index{5}, undo_kind::raw, 1, 0}};
    const byte_vector table = encode_undo_entries(entries);
    h.entries_checksum = checksum64(table);
    const byte_vector bytes = encode_undo_header(h);
    CHECK(bytes.size() == undo_header_bytes);
    CHECK(*parse_undo_header(bytes) == h);
    CHECK(h.record_bytes() == 128 + 8192 + 3 * 24);
    check_bits(bytes, parse_undo_header);
    CHECK(*parse_undo_entries(h, table) == entries);
    check_bits(table, [&](bytes_view t) { return parse_undo_entries(h, t); });
    CHECK(is(parse_undo_header(with(bytes, 4, le16(1), 120)).error(), errc::unsupported));
    CHECK(is(parse_undo_header(with(bytes, 4, le16(3), 120)).error(), errc::unsupported));
    CHECK(is(parse_undo_header(with(bytes, 6, le16(8), 120)).error(), errc::unsupported));
    CHECK(is(parse_undo_header(with(bytes, 28, le32(undo_entries_max + 1), 120)).error(),
             errc::corrupt));
    CHECK(is(parse_undo_header(with(bytes, 32, le64(4096 * 4), 120)).error(), errc::corrupt));
    CHECK(is(parse_undo_header(with(bytes, 32, le64(100), 120)).error(), errc::corrupt));
    // A table whose contents are not what the header says.
    undo_header other = h;
    other.content_bytes = 4096;
    CHECK(is(parse_undo_entries(other, table).error(), errc::corrupt));
}

TEST_CASE("commit record: identity, every bit of its slot counts, versions and ranges") {
    commit_record r;
    r.sequence = 3;
    r.applied = {stream_id{1}, interval_id{2}};
    r.consistent = true;
    r.applied_time = wall_time(std::chrono::seconds(5));
    r.damage_count = 2;
    r.healed_count = 2;
    r.durable = {stream_id{1}, interval_id{8}};
    r.point = interval_id{2};
    r.point_time = r.applied_time;
    r.undo_segment = 4;
    r.undo_offset = 500;
    r.rollback_segment = 7;
    r.rollback_offset = 600;
    r.applied_arrival = r.applied_time + std::chrono::seconds(1);
    r.point_arrival = r.point_time + std::chrono::seconds(2);
    r.touched = 12;
    const byte_vector slot = encode_commit_slot(r);
    CHECK(slot.size() == 4096);
    CHECK(*parse_commit_slot(slot) == r);
    check_bits(slot, parse_commit_slot);
    CHECK(is(parse_commit_slot(with(slot, 4, le16(9), 168)).error(), errc::unsupported));
    CHECK(is(parse_commit_slot(with(slot, 6, le16(4), 168)).error(), errc::unsupported));
    CHECK(parse_commit_slot(with(slot, 6, le16(2), 168))->served);
    CHECK_FALSE(parse_commit_slot(with(slot, 6, le16(2), 168))->consistent);
    CHECK(is(parse_commit_slot(with(slot, 8, le64(0), 168)).error(), errc::corrupt));
    CHECK(is(parse_commit_slot(with(slot, 16, le64(0), 168)).error(),
             errc::corrupt)); // half a position
    CHECK(is(parse_commit_slot(with(slot, 48, le64(3), 168)).error(),
             errc::corrupt)); // healed > damage
    CHECK_FALSE(parse_commit_slot(byte_vector(commit_slot_bytes)).has_value());
}

TEST_CASE("commit record: how the images were left, and which points are suspect") {
    commit_record r;
    r.suspect = interval_id{5};
    r.suspect_time = wall_time(std::chrono::seconds(8));
    for (std::uint64_t i = 0; i < 200; ++i) {
        r.images.push_back({i + 1, i * 512, -static_cast<std::int64_t>(i), INT64_MAX});
    }
    byte_vector slot = encode_commit_slot(r);
    CHECK(slot.size() == 2 * 4096);
    CHECK(*parse_commit_slot(slot) == r);
    check_bits(slot, parse_commit_slot);
    CHECK_FALSE(parse_commit_slot(bytes_view(slot).first(4096)).has_value()); // torn
    slot.resize(commit_slot_bytes);
    CHECK(*parse_commit_slot(slot) == r);
    slot.back() = std::byte{1};
    CHECK_FALSE(parse_commit_slot(slot).has_value());
    r.images.assign(limits::volumes_per_group_max, {});
    CHECK(encode_commit_slot(r).size() <= commit_slot_bytes);
    CHECK(*parse_commit_slot(encode_commit_slot(r)) == r);
}

TEST_CASE("commit record: a time of suspicion without an interval is not written") {
    commit_record r;
    r.suspect_time = wall_time(std::chrono::seconds(8));
    const auto back = parse_commit_slot(encode_commit_slot(r));
    REQUIRE(back);
    CHECK(back->suspect_time == wall_time{});
}

TEST_CASE("commit record: older versions are refused by name") {
    for (const unsigned version : {0U, 1U, 2U, 4U}) {
        const auto refused =
            parse_commit_slot(with(encode_commit_slot(commit_record{}), 4,
                                   le16(static_cast<std::uint16_t>(version)), 168));
        CHECK(is(refused.error(), errc::unsupported));
        CHECK(refused.error().context.find(std::to_string(version)) != std::string::npos);
    }
}

TEST_CASE("list of volumes: identity, every bit counts, limits") {
    group_volumes g;
    g.identity[3] = std::byte{9};
    g.volumes = {{"data", 1ULL << 40, "/a/b.img"}, {"wal", 1, "/dev/x"}};
    const byte_vector bytes = encode_group_volumes(g);
    CHECK(*parse_group_volumes(bytes) == g);
    check_bits(bytes, parse_group_volumes);
    g.volumes.assign(limits::volumes_per_group_max + 1, {"v", 1, "p"});
    CHECK(is(parse_group_volumes(encode_group_volumes(g)).error(), errc::limit));
    g.volumes = {{std::string(limits::name_bytes_max + 1, 'n'), 1, "p"}};
    CHECK_FALSE(parse_group_volumes(encode_group_volumes(g)).has_value());
    g.volumes = {{"v", limits::volume_bytes_max + 1, "p"}};
    CHECK(is(parse_group_volumes(encode_group_volumes(g)).error(), errc::limit));
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
