#include "replicator/format/codec_program.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>

namespace farshore::codec_format {

namespace {

constexpr std::uint64_t source_mask = 7;
constexpr std::uint64_t source_own = 0;
constexpr std::uint64_t source_new = recent_places::count + 1;
constexpr std::uint64_t source_behind_differences = source_new + 1;

std::unexpected<error> damaged(const char *what) {
    return fail(errc::corrupt, std::string("codec payload: ") + what);
}

/// Volumes are at most 2^50 bytes long, so distances fit.
std::int64_t bytes_between(std::uint64_t place, std::uint64_t address) {
    return static_cast<std::int64_t>(place) - static_cast<std::int64_t>(address);
}

result<source_place> read_place(byte_reader &reader) {
    std::uint64_t head = 0;
    bytes_view address;
    if (!reader.try_varint(head) || !reader.try_bytes(address_bytes, address)) {
        return damaged("place cut short");
    }
    if (head >> 1 > limits::volumes_per_group_max) { // behind the last of them: the loans
        return damaged("place in no volume");
    }
    source_place place{volume_index{static_cast<std::uint16_t>(head >> 1)}, (head & 1) != 0, 0};
    for (std::size_t i = 0; i < address_bytes; ++i) {
        place.address |= std::to_integer<std::uint64_t>(address[i]) << (8 * i);
    }
    return place;
}

result<source_place> read_source(byte_reader &reader, std::uint64_t source, std::uint64_t address,
                                 recent_places &recent) {
    if (source == source_new) {
        FS_TRY(place, read_place(reader));
        recent.push(place, address);
        return place;
    }
    const auto place = recent.from(source - 1, address);
    if (!place) {
        return damaged("no such recent place");
    }
    recent.use(source - 1);
    return *place;
}

} // namespace

std::optional<source_place> recent_places::from(std::size_t i, std::uint64_t address) const {
    const distance &d = recent_[i];
    const std::int64_t place = static_cast<std::int64_t>(address) + d.bytes;
    if (!d.used || place < 0) {
        return std::nullopt;
    }
    return source_place{d.volume, d.now, static_cast<std::uint64_t>(place)};
}

std::optional<std::size_t> recent_places::find(const source_place &place,
                                               std::uint64_t address) const {
    const distance wanted{place.volume, place.now, bytes_between(place.address, address), true};
    const auto at = std::ranges::find(recent_, wanted);
    if (at == recent_.end()) {
        return std::nullopt;
    }
    return static_cast<std::size_t>(at - recent_.begin());
}

void recent_places::use(std::size_t i) {
    std::rotate(recent_.begin(), recent_.begin() + static_cast<std::ptrdiff_t>(i),
                recent_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
}

void recent_places::push(const source_place &place, std::uint64_t address) {
    std::ranges::rotate(recent_, recent_.end() - 1);
    recent_.front() = {place.volume, place.now, bytes_between(place.address, address), true};
}

void program_writer::copy(const source_place &place, std::uint64_t address, std::size_t length,
                          recent_places &recent) {
    REPL_ASSERT(length >= copy_bytes_min);
    if (const auto known = recent.find(place, address)) {
        out_.varint(std::uint64_t{length} << 3 | (*known + 1));
        recent.use(*known);
        return;
    }
    REPL_ASSERT(place.address <= address_max);
    out_.varint(std::uint64_t{length} << 3 | source_new);
    out_.varint(std::uint64_t{place.volume.value} << 1 | (place.now ? 1U : 0U));
    for (std::size_t i = 0; i < address_bytes; ++i) {
        out_.u8(static_cast<std::uint8_t>(place.address >> (8 * i)));
    }
    recent.push(place, address);
}

void program_writer::copy_behind_differences(std::size_t length) {
    REPL_ASSERT(length >= copy_bytes_min);
    out_.varint(std::uint64_t{length} << 3 | source_behind_differences);
}

namespace {

/// `step.literals` and `step.length` are known; `address`: where the copy goes.
result<> read_copy(byte_reader &reader, std::uint64_t source, std::uint64_t address,
                   std::span<const std::uint64_t> volume_blocks, recent_places &recent,
                   program_step &step) {
    if (source > source_behind_differences) {
        return fail(errc::unsupported, "codec payload: source " + std::to_string(source));
    }
    step.own = source == source_own;
    if (step.own) {
        return {};
    }
    if (step.length < copy_bytes_min) {
        return damaged("copy too short");
    }
    step.differs = source == source_behind_differences;
    FS_TRY(place, read_source(reader, step.differs ? 1 : source, address, recent));
    step.source = place;
    if (place.volume.value >= volume_blocks.size() ||
        place.address + step.length > volume_blocks[place.volume.value] * block_bytes) {
        return damaged("place outside its volume");
    }
    if (step.differs && (step.literals == 0 || place.address < step.literals)) {
        return damaged("differences to nothing");
    }
    return {};
}

} // namespace

result<> read_program(byte_reader &reader, block_index block,
                      std::span<const std::uint64_t> volume_blocks, recent_places &recent,
                      std::vector<program_step> &steps) {
    std::uint64_t at = 0;
    for (std::size_t count = 0; at < block_bytes; ++count) {
        if (count == program_steps_max) {
            return damaged("program too long");
        }
        program_step step;
        std::uint64_t literals = 0;
        if (!reader.try_varint(literals) || literals > block_bytes - at) {
            return damaged("literals outside their block");
        }
        step.literals = static_cast<std::uint16_t>(literals);
        at += literals;
        if (at == block_bytes) {
            steps.push_back(step);
            break;
        }
        std::uint64_t head = 0;
        if (!reader.try_varint(head) || head >> 3 == 0 || head >> 3 > block_bytes - at) {
            return damaged("copy outside its block");
        }
        step.length = static_cast<std::uint16_t>(head >> 3);
        FS_CHECK(read_copy(reader, head & source_mask, block.value * block_bytes + at,
                           volume_blocks, recent, step));
        at += step.length;
        steps.push_back(step);
    }
    return {};
}

} // namespace farshore::codec_format
