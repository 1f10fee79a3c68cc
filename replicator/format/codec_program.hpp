#pragma once
// The program of a rebuilt block (codec payload, version 4): literal bytes and copies in turn,
// until 4096 bytes are there. One grammar, written and read only here.
//
//   program := { literals copy }        ends as soon as the block is full
//   literals := varint                  so many bytes of the payload's literals
//   copy := varint (length << 3 | source), length >= 1, then by source:
//     0      the block's own content at the previous barrier, same offset
//     1-4    a place with the same distance as one of the four most recent ones, 1 the most
//            recent; it becomes the most recent. length >= copy_bytes_min
//     5      a new place: varint (volume << 1 | now), then its byte address as 6 bytes, little-
//            endian. length >= copy_bytes_min. It becomes the most recent
//     6      as 1, and the literals before it (at least one) are differences: to each the byte at
//            the same distance is added, modulo 256. Records that were renumbered differ by the
//            same few values again and again (Percival, "Naive differences of executable code",
//            2003)
//     7      errc::unsupported
//
// A place is a byte address of a volume, inside it from first to last byte (with source 6 from the
// first difference on), read as of the previous barrier (now = 0) or with what this interval has
// changed so far, in the order of payloads and operations (now = 1). Distance: volume, `now`, and
// address minus the address being written. The recent ones are forgotten at the begin of each
// payload.

#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/endian.hpp"

#include <array>
#include <optional>
#include <span>
#include <vector>

namespace farshore::codec_format {

/// Shorter copies cost more than they save, and would let a payload ask for many reads.
constexpr std::size_t copy_bytes_min = 8;
constexpr std::size_t program_steps_max = block_bytes / copy_bytes_min + 2;
constexpr std::size_t address_bytes = 6;
constexpr std::uint64_t address_max = (1ULL << (8 * address_bytes)) - 1;

/// Bytes of the group as the receiver has them.
struct source_place {
    volume_index volume;
    bool now = false;
    std::uint64_t address = 0;
    bool operator==(const source_place &) const = default;
};

/// A step of a program: literals, then a copy (length 0: none, the block is full).
struct program_step {
    std::uint16_t literals = 0;
    std::uint16_t length = 0;
    bool own = false;     ///< of the block itself at the previous barrier
    bool differs = false; ///< the literals are differences to the bytes before `source`
    source_place source;  ///< unless own
};

/// The four most recent distances.
class recent_places {
  public:
    static constexpr std::size_t count = 4;

    /// Where the i-th distance leads from byte `address`; nullopt: nowhere.
    std::optional<source_place> from(std::size_t i, std::uint64_t address) const;
    /// Its number, if the distance between the place and `address` is a recent one.
    std::optional<std::size_t> find(const source_place &place, std::uint64_t address) const;
    void use(std::size_t i);
    void push(const source_place &place, std::uint64_t address);

  private:
    struct distance {
        volume_index volume;
        bool now = false;
        std::int64_t bytes = 0;
        bool used = false; ///< false: not set yet
        bool operator==(const distance &) const = default;
    };
    std::array<distance, count> recent_{};
};

/// Writes programs. A new place is at most address_max (asserted; farther ones can be reached at a
/// recent distance). `address`: where the step's copy goes, as a byte of the block's volume.
class program_writer {
  public:
    explicit program_writer(byte_vector &out) : out_(out) {}
    void literals(std::size_t n) { out_.varint(n); }
    void copy_own(std::size_t length) { out_.varint(length << 3); }
    void copy(const source_place &place, std::uint64_t address, std::size_t length,
              recent_places &recent);
    /// A copy at the most recent distance whose literals were written as differences.
    void copy_behind_differences(std::size_t length);

  private:
    byte_writer out_;
};

/// Reads one program, appending its steps. `block`: the one it makes. `volume_blocks`: how many
/// blocks each volume has; places are inside. At most program_steps_max steps. Errors:
/// errc::corrupt, errc::unsupported.
result<> read_program(byte_reader &reader, block_index block,
                      std::span<const std::uint64_t> volume_blocks, recent_places &recent,
                      std::vector<program_step> &steps);

} // namespace farshore::codec_format
