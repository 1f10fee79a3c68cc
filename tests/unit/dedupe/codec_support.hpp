#pragma once
// What codec tests share: contents by name, sets of changes that own their bytes, and a volume
// image that payloads are applied to.

#include "dedupe/codec.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/format/codec_payload.hpp"

#include <array>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace farshore::codec_test {

using page = byte_vector; ///< 4096 bytes
using place = std::pair<std::uint16_t, std::uint64_t>;

inline page filled(int value) { return page(block_bytes, static_cast<std::byte>(value)); }

/// Random bytes that depend on nothing but the seed (also of golden files: never change it).
inline page noise(std::uint64_t seed) {
    page p(block_bytes);
    std::uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
    for (std::size_t i = 0; i < block_bytes; ++i) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        p[i] = static_cast<std::byte>(state >> 32);
    }
    return p;
}

/// Text-like, so that it does not look random: bytes of a small alphabet.
inline page letters(std::uint64_t seed) {
    page p = noise(seed);
    for (std::byte &b : p) {
        b = static_cast<std::byte>(97 + std::to_integer<int>(b) % 23);
    }
    return p;
}

inline page with(page p, std::size_t offset, std::initializer_list<int> bytes) {
    for (const int b : bytes) {
        p[offset++] = static_cast<std::byte>(b);
    }
    return p;
}

/// Changes with the bytes they point to.
class change_set {
  public:
    void data(int volume, std::uint64_t block, page content, std::optional<page> before = {}) {
        block_change c = at(volume, block);
        c.content = keep(std::move(content));
        if (before) {
            c.before = keep(std::move(*before));
        }
        list_.push_back(c);
    }
    void zero(int volume, std::uint64_t block, std::uint64_t count) {
        block_change c = at(volume, block);
        c.kind = change_kind::zero;
        c.count = count;
        list_.push_back(c);
    }
    std::span<const block_change> list() const { return list_; }

  private:
    static block_change at(int volume, std::uint64_t block) {
        block_change c;
        c.volume = volume_index{static_cast<std::uint16_t>(volume)};
        c.block = block_index{block};
        return c;
    }
    bytes_view keep(page p) {
        pages_.push_back(std::move(p));
        return pages_.back();
    }

    std::deque<page> pages_;
    std::vector<block_change> list_;
};

/// Blocks by place; what was never written is zero. Zero runs must be short here.
class image {
  public:
    page at(std::uint16_t volume, std::uint64_t block) const {
        const auto found = blocks_.find({volume, block});
        return found == blocks_.end() ? filled(0) : found->second;
    }
    void set(std::uint16_t volume, std::uint64_t block, page content) {
        if (is_zero(content)) {
            blocks_.erase({volume, block});
        } else {
            blocks_[{volume, block}] = std::move(content);
        }
    }
    void apply(std::span<const block_change> changes) {
        for (const block_change &c : changes) {
            if (c.kind == change_kind::data) {
                set(c.volume.value, c.block.value, page(c.content.begin(), c.content.end()));
                continue;
            }
            blocks_.erase(blocks_.lower_bound({c.volume.value, c.block.value}),
                          blocks_.lower_bound({c.volume.value, c.block.value + c.count}));
        }
    }
    dedupe::base_reader reader() const {
        return [this](volume_index v, block_index b, bytes_span out) {
            const page p = at(v.value, b.value);
            std::memcpy(out.data(), p.data(), out.size());
            return result<>{};
        };
    }
    bool operator==(const image &) const = default;

  private:
    std::map<place, page> blocks_;
};

inline dedupe::base_reader no_base() {
    return [](volume_index, block_index, bytes_span) -> result<> {
        return fail(errc::dead, "no base here");
    };
}

/// Volume sizes that are generous for tests.
inline const std::vector<std::uint64_t> &wide_volumes() {
    static const std::vector<std::uint64_t> blocks(4, 1ULL << 30);
    return blocks;
}

/// A payload put together byte by byte, apart from the product's writer, so that it can be wrong.
struct raw_payload {
    std::uint8_t magic = 0xFC;
    std::uint8_t version = codec_format::payload_version;
    std::uint16_t flags = 0;
    std::optional<std::uint32_t> structure; ///< default: computed
    checksum128 content;
    std::uint64_t history = 0;
    std::uint64_t operations = 1;
    std::uint64_t full_blocks = 0;
    std::uint64_t delta_blocks = 0;
    std::optional<std::uint64_t> command_bytes; ///< default: that of `commands`
    std::optional<std::uint64_t> literal_bytes; ///< default: that of `literals`
    std::vector<std::uint32_t> digests;
    byte_vector full;
    byte_vector commands;
    byte_vector literals;
    std::optional<byte_vector> stored; ///< body as stored; default: the three above

    byte_vector build() const {
        byte_vector out;
        byte_writer w(out);
        w.u8(magic);
        w.u8(version);
        w.structure(le16(flags));
        w.structure(le32(0));
        w.structure(le64(content.low));
        w.structure(le64(content.high));
        for (const std::uint64_t v :
             {history, operations, full_blocks, delta_blocks,
              command_bytes.value_or(commands.size()), literal_bytes.value_or(literals.size())}) {
            w.varint(v);
        }
        for (const std::uint32_t d : digests) {
            w.structure(le32(d));
        }
        const auto seed = read_struct<le32>(out).value();
        const le32 sum(structure.value_or(
            codec_format::structure_checksum(seed, bytes_view(out).subspan(24), commands)));
        write_struct(bytes_span(out).subspan(4), sum);
        if (stored) {
            w.bytes(*stored);
        } else {
            w.bytes(full);
            w.bytes(commands);
            w.bytes(literals);
        }
        return out;
    }
};

inline byte_vector varints(std::initializer_list<std::uint64_t> values) {
    byte_vector out;
    byte_writer w(out);
    for (const std::uint64_t v : values) {
        w.varint(v);
    }
    return out;
}

} // namespace farshore::codec_test
