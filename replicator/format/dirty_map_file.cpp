#include "replicator/format/dirty_map_file.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/endian.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>

namespace farshore {
namespace {

using magic4 = std::array<char, 4>;
constexpr magic4 header_magic = {'F', 'S', 'D', 'M'};
constexpr magic4 slot_magic = {'F', 'S', 'M', 'S'};
constexpr magic4 activity_magic = {'F', 'S', 'A', 'C'};
constexpr magic4 record_magic = {'F', 'S', 'C', 'S'};
constexpr std::uint16_t map_version = 2;
constexpr std::uint16_t format_version = 2; ///< of capture.state
constexpr std::uint32_t flag_clean = 1;
constexpr std::uint32_t flag_sync_failed = 2;
constexpr std::uint32_t flag_shared = 4;
constexpr std::uint64_t record_offsets[2] = {0, 512};

using boot_text = std::array<char, boot_id_bytes_max>;

struct header_disk {
    magic4 magic{};
    le16 version;
    le16 flags;
    le64 volume_bytes;
    le64 fine_offset;
    le64 fine_bytes;
    le64 activity_offset;
    le64 activity_bytes;
    le64 reserved;
    le64 checksum;
};
static_assert(sizeof(header_disk) == 64 && alignof(header_disk) == 1);
static_assert(offsetof(header_disk, volume_bytes) == 8 && offsetof(header_disk, fine_bytes) == 24);
static_assert(offsetof(header_disk, activity_bytes) == 40 && offsetof(header_disk, checksum) == 56);

struct identity_disk {
    le64 device;
    le64 inode;
    le64 born_ns;
    le64 instance;
};
struct times_disk {
    le64 modified_ns;
    le64 changed_ns;
};

struct slot_disk {
    magic4 magic{};
    le32 flags;
    le64 sequence;
    boot_text boot_id{};
    identity_disk map;
    identity_disk volume;
    times_disk left;
    times_disk durable;
    le64 fine_checksum;
    std::array<std::byte, 88> reserved{};
    le64 checksum;
};
static_assert(sizeof(slot_disk) == map_slot_bytes && alignof(slot_disk) == 1);
static_assert(offsetof(slot_disk, sequence) == 8 && offsetof(slot_disk, boot_id) == 16);
static_assert(offsetof(slot_disk, map) == 56 && offsetof(slot_disk, volume) == 88);
static_assert(offsetof(slot_disk, left) == 120 && offsetof(slot_disk, durable) == 136);
static_assert(offsetof(slot_disk, fine_checksum) == 152 && offsetof(slot_disk, reserved) == 160);
static_assert(offsetof(slot_disk, checksum) == 248);

struct activity_disk {
    magic4 magic{};
    le32 index;
    le64 reserved;
    std::array<le64, activity_words> bits{};
    le64 checksum;
};
static_assert(sizeof(activity_disk) == activity_sector_bytes && alignof(activity_disk) == 1);
static_assert(offsetof(activity_disk, bits) == 16 && offsetof(activity_disk, checksum) == 504);

struct record_disk {
    magic4 magic{};
    le16 version;
    le16 flags;
    le64 sequence;
    le64 last_interval;
    le64 reserved_interval;
    le64 stream;
    le64 common;
    std::array<std::byte, 16> receiver{};
    boot_text boot_id{};
    le64 begun;
    le64 reserved;
    le64 checksum;
};
static_assert(sizeof(record_disk) == 128 && alignof(record_disk) == 1);
static_assert(offsetof(record_disk, sequence) == 8 && offsetof(record_disk, stream) == 32);
static_assert(offsetof(record_disk, receiver) == 48 && offsetof(record_disk, boot_id) == 64);
static_assert(offsetof(record_disk, begun) == 104 && offsetof(record_disk, reserved) == 112 &&
              offsetof(record_disk, checksum) == 120);

/// The checksum is the last field of every struct here.
template <class Disk>
std::uint64_t checksum_of(const Disk &disk) {
    return checksum64(struct_bytes(disk).first(sizeof(Disk) - sizeof(le64)));
}

boot_text to_disk(const std::string &boot_id) {
    REPL_ASSERT(boot_id.size() <= boot_id_bytes_max);
    boot_text text{};
    std::ranges::copy(boot_id, text.begin());
    return text;
}

std::string from_disk(const boot_text &text) {
    return {text.begin(), std::ranges::find(text, '\0')};
}

identity_disk to_disk(const file_mark &id) {
    identity_disk disk;
    disk.device = id.device;
    disk.inode = id.inode;
    disk.born_ns = static_cast<std::uint64_t>(id.born_ns);
    disk.instance = id.instance;
    return disk;
}
file_mark from_disk(const identity_disk &disk) {
    return {disk.device, disk.inode, static_cast<std::int64_t>(disk.born_ns.get()), disk.instance};
}
times_disk to_disk(const file_times &times) {
    times_disk disk;
    disk.modified_ns = static_cast<std::uint64_t>(times.modified_ns);
    disk.changed_ns = static_cast<std::uint64_t>(times.changed_ns);
    return disk;
}
file_times from_disk(const times_disk &disk) {
    return {static_cast<std::int64_t>(disk.modified_ns.get()),
            static_cast<std::int64_t>(disk.changed_ns.get())};
}

/// Stores a slot into shared memory, word by word. A kill in between leaves a slot whose checksum
/// is wrong, and the other one.
template <class Disk>
void store_slot(bytes_span place, Disk disk) {
    static_assert(sizeof(Disk) % sizeof(std::uint64_t) == 0);
    disk.checksum = checksum_of(disk);
    std::array<std::uint64_t, sizeof(Disk) / sizeof(std::uint64_t)> words;
    write_struct(std::as_writable_bytes(std::span(words)), disk);
    void *at = place.data();
    REPL_ASSERT(std::bit_cast<std::uintptr_t>(at) % alignof(std::uint64_t) == 0);
    const std::span shared(static_cast<std::uint64_t *>(at), words.size());
    for (std::size_t i = 0; i < words.size(); ++i) {
        std::atomic_ref(shared[i]).store(words[i], std::memory_order_relaxed);
    }
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

result<map_state> parse_slot(bytes_view bytes) {
    FS_TRY(disk, read_struct<slot_disk>(bytes));
    if (disk.magic != slot_magic || disk.checksum != checksum_of(disk)) {
        return fail(errc::corrupt, "state slot is not valid");
    }
    if ((disk.flags & ~(flag_clean | flag_sync_failed | flag_shared)) != 0 ||
        !is_zero(disk.reserved)) {
        return fail(errc::corrupt, "state slot has unknown flags");
    }
    map_state state;
    state.sequence = disk.sequence;
    state.clean = (disk.flags & flag_clean) != 0;
    state.boot_id = from_disk(disk.boot_id);
    state.sync_failed = (disk.flags & flag_sync_failed) != 0;
    state.shared = (disk.flags & flag_shared) != 0;
    state.map = from_disk(disk.map);
    state.volume = from_disk(disk.volume);
    state.left = from_disk(disk.left);
    state.durable = from_disk(disk.durable);
    state.fine_checksum = disk.fine_checksum;
    return state;
}

result<capture_record> parse_record(bytes_view bytes) {
    FS_TRY(disk, read_struct<record_disk>(bytes));
    if (disk.magic != record_magic || disk.checksum != checksum_of(disk)) {
        return fail(errc::corrupt, "capture state slot is not valid");
    }
    if (disk.version != format_version) {
        return fail(errc::unsupported,
                    "capture state of version " + std::to_string(disk.version.get()));
    }
    if (disk.flags != 0 || disk.reserved != 0) {
        return fail(errc::corrupt, "capture state slot has reserved bits set");
    }
    // Ids that no honest peer can have brought about: the position is asked from the DR site
    // instead.
    if (std::max({disk.last_interval.get(), disk.reserved_interval.get(), disk.common.get()}) >
        limits::interval_id_max) {
        return fail(errc::corrupt, "capture state slot with interval ids beyond 2^63-1");
    }
    capture_record record;
    record.sequence = disk.sequence;
    record.last_interval = interval_id{disk.last_interval};
    record.reserved_interval = interval_id{disk.reserved_interval};
    record.acknowledged = {stream_id{disk.stream}, interval_id{disk.common}};
    record.receiver = disk.receiver;
    record.boot_id = from_disk(disk.boot_id);
    record.begun = stream_id{disk.begun};
    return record;
}

} // namespace

map_layout map_layout::of(std::uint64_t volume_bytes) {
    map_layout layout;
    layout.volume_bytes = volume_bytes;
    const std::uint64_t pages = ceil_div(region_count(volume_bytes), regions_per_map_page);
    layout.fine_offset = map_page_bytes + ceil_div(pages, map_page_bytes) * map_page_bytes;
    layout.fine_bytes = pages * map_page_bytes;
    layout.activity_offset = layout.fine_offset + layout.fine_bytes;
    layout.activity_bytes =
        ceil_div(extent_count(volume_bytes), extents_per_sector) * activity_sector_bytes;
    return layout;
}

void encode_map_header(bytes_span page, const map_layout &layout) {
    REPL_ASSERT(page.size() == map_page_bytes);
    header_disk disk;
    disk.magic = header_magic;
    disk.version = map_version;
    disk.volume_bytes = layout.volume_bytes;
    disk.fine_offset = layout.fine_offset;
    disk.fine_bytes = layout.fine_bytes;
    disk.activity_offset = layout.activity_offset;
    disk.activity_bytes = layout.activity_bytes;
    disk.checksum = checksum_of(disk);
    std::ranges::fill(page, std::byte{0});
    write_struct(page, disk);
}

result<map_layout> parse_map_header(bytes_view page) {
    FS_TRY(disk, read_struct<header_disk>(page));
    if (disk.magic != header_magic || disk.checksum != checksum_of(disk)) {
        return fail(errc::corrupt, "map header is not valid");
    }
    if (disk.version != map_version) {
        return fail(errc::unsupported, "map of version " + std::to_string(disk.version.get()));
    }
    if (disk.flags != 0 || disk.reserved != 0) {
        return fail(errc::corrupt, "map header has reserved bits set");
    }
    if (disk.volume_bytes == 0 || disk.volume_bytes > limits::volume_bytes_max) {
        return fail(errc::corrupt, "map header has a volume size out of range");
    }
    const map_layout layout{disk.volume_bytes, disk.fine_offset, disk.fine_bytes,
                            disk.activity_offset, disk.activity_bytes};
    if (layout != map_layout::of(layout.volume_bytes)) {
        return fail(errc::corrupt, "map header contradicts itself");
    }
    return layout;
}

result<map_state> parse_map_state(bytes_view page) {
    if (page.size() < map_page_bytes) {
        return fail(errc::corrupt, "map header page cut short");
    }
    auto first = parse_slot(page.subspan(map_slot_offsets[0], map_slot_bytes));
    auto second = parse_slot(page.subspan(map_slot_offsets[1], map_slot_bytes));
    if (first && second) {
        return first->sequence > second->sequence ? first : second;
    }
    return first ? first : second;
}

void store_map_state(bytes_span page, const map_state &state) {
    slot_disk disk;
    disk.magic = slot_magic;
    disk.flags = (state.clean ? flag_clean : 0) | (state.sync_failed ? flag_sync_failed : 0) |
                 (state.shared ? flag_shared : 0);
    disk.sequence = state.sequence;
    disk.boot_id = to_disk(state.boot_id);
    disk.map = to_disk(state.map);
    disk.volume = to_disk(state.volume);
    disk.left = to_disk(state.left);
    disk.durable = to_disk(state.durable);
    disk.fine_checksum = state.fine_checksum;
    store_slot(page.subspan(map_slot_offsets[state.sequence % 2], map_slot_bytes), disk);
}

std::span<std::uint8_t> map_page_states(bytes_span mapped, const map_layout &layout) {
    void *at = mapped.data() + map_page_bytes;
    return {static_cast<std::uint8_t *>(at), layout.pages()};
}

std::span<std::uint64_t> map_words(bytes_span mapped, const map_layout &layout) {
    static_assert(std::endian::native == std::endian::little,
                  "the fine bits are shared with the file as they stand in memory");
    const bytes_span fine = mapped.subspan(layout.fine_offset, layout.fine_bytes);
    void *at = fine.data();
    REPL_ASSERT(std::bit_cast<std::uintptr_t>(at) % alignof(std::uint64_t) == 0);
    return {static_cast<std::uint64_t *>(at), extent_count(layout.volume_bytes)};
}

std::uint64_t checksum_fine(bytes_view mapped, const map_layout &layout) {
    checksum_stream sum;
    const bytes_view states = mapped.subspan(map_page_bytes, layout.pages());
    sum.update(states);
    for (std::uint64_t page = 0; page < layout.pages(); ++page) {
        if (states[page] == static_cast<std::byte>(map_page_state::mixed)) {
            sum.update(mapped.subspan(layout.fine_offset + page * map_page_bytes, map_page_bytes));
        }
    }
    return sum.digest64();
}

void encode_activity(bytes_span sector, std::uint32_t index, const activity_bits &bits) {
    activity_disk disk;
    disk.magic = activity_magic;
    disk.index = index;
    std::ranges::copy(bits, disk.bits.begin());
    disk.checksum = checksum_of(disk);
    write_struct(sector, disk);
}

result<activity_bits> parse_activity(bytes_view sector, std::uint32_t index) {
    FS_TRY(disk, read_struct<activity_disk>(sector));
    if (disk.magic != activity_magic || disk.checksum != checksum_of(disk) || disk.index != index ||
        disk.reserved != 0) {
        return fail(errc::corrupt, "activity sector is not valid");
    }
    activity_bits bits;
    std::ranges::transform(disk.bits, bits.begin(), [](le64 word) { return word.get(); });
    return bits;
}

result<capture_record> parse_capture_state(bytes_view file) {
    if (file.size() < capture_state_bytes) {
        return fail(errc::corrupt, "capture state cut short");
    }
    auto first = parse_record(file.subspan(record_offsets[0], sizeof(record_disk)));
    auto second = parse_record(file.subspan(record_offsets[1], sizeof(record_disk)));
    if (!first && is(first.error(), errc::unsupported)) {
        return first;
    }
    if (!second && is(second.error(), errc::unsupported)) {
        return second;
    }
    if (first && second) {
        return first->sequence > second->sequence ? first : second;
    }
    return first ? first : second;
}

void store_capture_state(bytes_span file, const capture_record &record) {
    record_disk disk;
    disk.magic = record_magic;
    disk.version = format_version;
    disk.sequence = record.sequence;
    disk.last_interval = record.last_interval.value;
    disk.reserved_interval = record.reserved_interval.value;
    disk.stream = record.acknowledged.stream.value;
    disk.common = record.acknowledged.interval.value;
    disk.receiver = record.receiver;
    disk.boot_id = to_disk(record.boot_id);
    disk.begun = record.begun.value;
    store_slot(file.subspan(record_offsets[record.sequence % 2], sizeof(record_disk)), disk);
}

} // namespace farshore
