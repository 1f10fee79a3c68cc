// Frame header and barrier payload; byte tables in frame.hpp and docs/formats.md.

#include "replicator/format/frame.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/endian.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

namespace farshore {
namespace {

constexpr std::array<char, 4> frame_magic = {'F', 'S', 'F', '1'};
constexpr std::uint16_t frame_version = 1;
constexpr std::uint8_t required_flags = 0x0f; ///< bits of features that must be known to read on

struct frame_header_disk {
    std::array<char, 4> magic;
    le16 version;
    std::uint8_t type;
    std::uint8_t flags;
    le32 payload_bytes;
    le32 raw_bytes;
    le64 stream;
    le64 interval;
    le32 index;
    le32 blocks;
    le64 payload_checksum;
    le64 arrival;
    le64 header_checksum;
};
static_assert(sizeof(frame_header_disk) == frame_header_bytes);
static_assert(wire_struct<frame_header_disk>);
static_assert(offsetof(frame_header_disk, type) == 6);
static_assert(offsetof(frame_header_disk, payload_bytes) == 8);
static_assert(offsetof(frame_header_disk, stream) == 16);
static_assert(offsetof(frame_header_disk, index) == 32);
static_assert(offsetof(frame_header_disk, payload_checksum) == 40);
static_assert(offsetof(frame_header_disk, header_checksum) == 56);

struct barrier_disk {
    le16 version;
    le16 flags;
    le32 data_frames;
    le64 time_ns;
    le64 blocks;
    le64 written_bytes;
    le64 heals;
    le64 frames_checksum;
    le32 verify_count;
    le32 label_bytes;
    std::array<std::byte, 8> reserved;
};
static_assert(sizeof(barrier_disk) == 64 && wire_struct<barrier_disk>);
static_assert(offsetof(barrier_disk, time_ns) == 8);
static_assert(offsetof(barrier_disk, frames_checksum) == 40);
static_assert(offsetof(barrier_disk, label_bytes) == 52);
static_assert(offsetof(barrier_disk, reserved) == 56);

/// 2200-01-01: later than any clock that is merely wrong says, and far from where nanoseconds end.
constexpr std::uint64_t barrier_time_ns_max =
    std::uint64_t{
        std::chrono::sys_days(std::chrono::year(2200) / 1 / 1).time_since_epoch().count()} *
        86'400 * 1'000'000'000 -
    1;
constexpr std::uint16_t barrier_version = 1;
constexpr std::uint16_t barrier_consistent = 1;
constexpr std::uint16_t barrier_requested = 2;
constexpr std::uint16_t barrier_labelled = 4;
constexpr std::uint16_t barrier_flags = barrier_consistent | barrier_requested | barrier_labelled;

struct verify_disk {
    le16 volume;
    le16 reserved;
    le32 length;
    le64 offset;
    std::array<std::byte, 16> digest;
};
static_assert(sizeof(verify_disk) == 32 && wire_struct<verify_disk>);
static_assert(offsetof(verify_disk, digest) == 16);

std::uint64_t header_checksum(const frame_header_disk &disk) {
    return checksum64(struct_bytes(disk).first(offsetof(frame_header_disk, header_checksum)));
}

result<> check_ranges(const frame_header_disk &disk) {
    const bool data = disk.type == static_cast<std::uint8_t>(frame_type::data);
    if (!data && disk.type != static_cast<std::uint8_t>(frame_type::barrier)) {
        return fail(errc::corrupt, fmt::format("frame of unknown type {}", disk.type));
    }
    if (disk.payload_bytes > limits::frame_payload_bytes_max ||
        disk.raw_bytes > limits::frame_raw_bytes_max) {
        return fail(
            errc::corrupt,
            fmt::format("frame with a payload of {} bytes that stands for {}; allowed is {} for {}",
                        disk.payload_bytes.get(), disk.raw_bytes.get(),
                        limits::frame_payload_bytes_max, limits::frame_raw_bytes_max));
    }
    const std::uint32_t index_max =
        static_cast<std::uint32_t>(limits::frames_per_interval_max) - (data ? 1 : 0);
    if (disk.index > index_max || disk.blocks > limits::interval_entries_max) {
        return fail(errc::corrupt,
                    fmt::format("frame with index {} and {} blocks; allowed is {} and {}",
                                disk.index.get(), disk.blocks.get(), index_max,
                                limits::interval_entries_max));
    }
    if (!data && (disk.blocks != 0 || disk.raw_bytes != 0)) {
        return fail(errc::corrupt, "barrier frame that claims blocks");
    }
    if (disk.interval > limits::interval_id_max) {
        return fail(errc::corrupt, fmt::format("frame of interval {}; allowed is 1 to 2^63-1",
                                               disk.interval.get()));
    }
    if (disk.stream == 0 || disk.interval == 0 || (data && disk.arrival != 0) ||
        disk.arrival > static_cast<std::uint64_t>(duration::max().count())) {
        return fail(errc::corrupt, "frame with a field that must not be zero, or must be");
    }
    return {};
}

result<verify_entry> parse_verify(const verify_disk &disk) {
    const std::uint64_t longest =
        is_zero(disk.digest) ? limits::verify_hole_bytes_max : limits::verify_bytes_max;
    if (disk.reserved != 0 || disk.length == 0 || disk.length > longest ||
        disk.offset > limits::volume_bytes_max - disk.length) {
        return fail(errc::corrupt, "verify range out of bounds");
    }
    verify_entry entry;
    entry.volume = volume_index{disk.volume};
    entry.range = {disk.offset, disk.length};
    entry.digest = disk.digest;
    return entry;
}

} // namespace

buffer make_frame(frame_header header, bytes_view payload) {
    REPL_ASSERT(payload.size() <= limits::frame_payload_bytes_max);
    frame_header_disk disk{};
    disk.magic = frame_magic;
    disk.version = frame_version;
    disk.type = static_cast<std::uint8_t>(header.type);
    disk.payload_bytes = static_cast<std::uint32_t>(payload.size());
    disk.raw_bytes = header.raw_bytes;
    disk.stream = header.stream.value;
    disk.interval = header.interval.value;
    disk.index = header.index;
    disk.blocks = header.blocks;
    disk.payload_checksum = checksum64(payload);
    disk.arrival = static_cast<std::uint64_t>(
        std::max(header.arrival, wall_time{}).time_since_epoch().count());
    disk.header_checksum = header_checksum(disk);
    REPL_ASSERT(check_ranges(disk).has_value());

    buffer frame(frame_header_bytes + payload.size());
    write_struct(frame.span(), disk);
    if (!payload.empty()) {
        std::memcpy(frame.data() + frame_header_bytes, payload.data(), payload.size());
    }
    return frame;
}

buffer with_arrival(bytes_view frame, wall_time arrival) {
    buffer stamped = buffer::copy_of(frame);
    auto disk = read_struct<frame_header_disk>(frame);
    REPL_ASSERT(disk.has_value() && disk->type == static_cast<std::uint8_t>(frame_type::barrier));
    disk->arrival =
        static_cast<std::uint64_t>(std::max(arrival, wall_time{}).time_since_epoch().count());
    disk->header_checksum = header_checksum(*disk);
    write_struct(stamped.span(), *disk);
    return stamped;
}

result<frame_header> parse_frame_header(bytes_view bytes) {
    FS_TRY(disk, read_struct<frame_header_disk>(bytes));
    if (disk.magic != frame_magic) {
        return fail(errc::corrupt, "no frame begins here");
    }
    // Every version keeps magic, version and header checksum in place, so that damage is never
    // taken for a newer version.
    if (disk.header_checksum != header_checksum(disk)) {
        return fail(errc::corrupt, "frame header fails its checksum");
    }
    if (disk.version != frame_version) {
        return fail(errc::unsupported, fmt::format("frame version {}", disk.version.get()));
    }
    if ((disk.flags & required_flags) != 0) {
        return fail(errc::unsupported, fmt::format("frame feature bits {:#x}", disk.flags));
    }
    FS_CHECK(check_ranges(disk));
    frame_header header;
    header.type = static_cast<frame_type>(disk.type);
    header.payload_bytes = disk.payload_bytes;
    header.raw_bytes = disk.raw_bytes;
    header.stream = stream_id{disk.stream};
    header.interval = interval_id{disk.interval};
    header.index = disk.index;
    header.blocks = disk.blocks;
    header.payload_checksum = disk.payload_checksum;
    header.arrival = wall_time(duration(static_cast<std::int64_t>(disk.arrival.get())));
    return header;
}

result<parsed_frame> parse_frame(bytes_view frame) {
    FS_TRY(header, parse_frame_header(frame));
    const bytes_view payload = frame.subspan(frame_header_bytes);
    if (payload.size() != header.payload_bytes) {
        return fail(errc::corrupt, "frame payload of another length than its header says");
    }
    if (checksum64(payload) != header.payload_checksum) {
        return fail(errc::corrupt, "frame payload fails its checksum");
    }
    return parsed_frame{header, payload};
}

byte_vector encode_barrier(const barrier &b) {
    REPL_ASSERT(b.verify.size() <= verify_entries_max);
    REPL_ASSERT(b.consistent || !b.label);
    const byte_vector label = b.label ? encode_label(*b.label) : byte_vector{};
    barrier_disk disk{};
    disk.version = barrier_version;
    disk.flags = static_cast<std::uint16_t>((b.consistent ? barrier_consistent : 0) |
                                            (b.requested ? barrier_requested : 0) |
                                            (b.label ? barrier_labelled : 0));
    disk.label_bytes = static_cast<std::uint32_t>(label.size());
    disk.data_frames = b.data_frames;
    disk.time_ns = static_cast<std::uint64_t>(b.time.time_since_epoch().count());
    disk.blocks = b.blocks;
    disk.written_bytes = b.written_bytes;
    disk.heals = b.heals;
    disk.frames_checksum = b.frames_checksum;
    disk.verify_count = static_cast<std::uint32_t>(b.verify.size());

    byte_vector out;
    out.reserve(sizeof(barrier_disk) + b.verify.size() * sizeof(verify_disk) + label.size());
    append_struct(out, disk);
    for (const verify_entry &entry : b.verify) {
        verify_disk v{};
        v.volume = entry.volume.value;
        v.length = static_cast<std::uint32_t>(entry.range.length);
        v.offset = entry.range.offset;
        v.digest = entry.digest;
        REPL_ASSERT(parse_verify(v).has_value());
        append_struct(out, v);
    }
    append_bytes(out, label);
    return out;
}

result<barrier> parse_barrier(bytes_view payload) {
    byte_reader in(payload);
    FS_TRY(disk, in.structure<barrier_disk>());
    if (disk.version != barrier_version) {
        return fail(errc::unsupported, fmt::format("barrier version {}", disk.version.get()));
    }
    if ((disk.flags & ~barrier_flags) != 0) {
        return fail(errc::unsupported, fmt::format("barrier flags {:#x}", disk.flags.get()));
    }
    if (!is_zero(disk.reserved)) {
        return fail(errc::corrupt, "barrier with reserved bytes set");
    }
    if (disk.data_frames > limits::frames_per_interval_max ||
        disk.verify_count > verify_entries_max) {
        return fail(errc::limit, "barrier with too many frames or verify ranges");
    }
    if (disk.time_ns > barrier_time_ns_max) {
        return fail(errc::limit, "barrier whose time is not in the years 1970 to 2199");
    }
    if (disk.heals > limits::interval_id_max) {
        return fail(errc::limit, fmt::format("barrier whose `heals` is {}; allowed is 0 to 2^63-1",
                                             disk.heals.get()));
    }
    barrier b;
    b.time = wall_time(duration(static_cast<std::int64_t>(disk.time_ns.get())));
    b.consistent = (disk.flags & barrier_consistent) != 0;
    b.requested = (disk.flags & barrier_requested) != 0;
    b.data_frames = disk.data_frames;
    b.blocks = disk.blocks;
    b.written_bytes = disk.written_bytes;
    b.heals = disk.heals;
    b.frames_checksum = disk.frames_checksum;
    if (in.remaining() != disk.verify_count * sizeof(verify_disk) + disk.label_bytes) {
        return fail(errc::corrupt, "barrier of another length than its verify ranges and label "
                                   "take");
    }
    b.verify.reserve(disk.verify_count);
    for (std::uint32_t i = 0; i < disk.verify_count; ++i) {
        FS_TRY(v, in.structure<verify_disk>());
        FS_TRY(entry, parse_verify(v));
        b.verify.push_back(entry);
    }
    const bool labelled = (disk.flags & barrier_labelled) != 0;
    if (labelled != (disk.label_bytes != 0) || (labelled && !b.consistent)) {
        return fail(errc::corrupt, "barrier with a label that its flags don't allow");
    }
    if (labelled) {
        FS_TRY(label, parse_label(in.rest()));
        b.label = std::move(label);
    }
    return b;
}

} // namespace farshore
