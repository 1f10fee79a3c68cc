#include "dedupe/source_space.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/format/codec_payload.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace farshore::dedupe {

namespace {

constexpr std::uint64_t linear_max = (1ULL << 48) - 2;

std::size_t equal_at_front(const std::byte *a, const std::byte *b, std::size_t n) {
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        std::uint64_t x = 0;
        std::uint64_t y = 0;
        std::memcpy(&x, a + i, 8);
        std::memcpy(&y, b + i, 8);
        if (x != y) {
            return i + static_cast<std::size_t>(std::countr_zero(x ^ y)) / 8;
        }
    }
    while (i < n && a[i] == b[i]) {
        ++i;
    }
    return i;
}

std::uint64_t scattered(std::uint64_t key) {
    key *= 0x9E3779B97F4A7C15ULL;
    return key ^ (key >> 32);
}

} // namespace

static_assert(codec_format::blocks_per_volume_max <= 1ULL << 40, "key_of");
static_assert(std::endian::native == std::endian::little, "equal_at_front: first byte = low bits");

source_space::source_space(std::vector<std::uint64_t> volume_blocks)
    : volume_blocks_(std::move(volume_blocks)), first_{0} {
    for (const std::uint64_t blocks : volume_blocks_) {
        first_.push_back(first_.back() + blocks * block_bytes);
    }
}

void source_space::begin(std::span<const block_change> changes, const source_reader &source) {
    changes_ = changes;
    source_ = &source;
    cache_.fill({});
    last_key_ = 0;
    zero_runs_.clear();
    slots_.assign(std::bit_ceil(std::max<std::size_t>(changes.size() * 2, 2)), {});
    for (std::size_t i = 0; i < changes.size(); ++i) {
        const block_change &c = changes[i];
        const std::uint64_t key = key_of(c.volume, c.block.value);
        if (c.kind == change_kind::zero) {
            zero_runs_.push_back({key, key + c.count - 1});
        } else {
            slot_of(key) = {key, static_cast<std::uint32_t>(i), false};
        }
    }
}

source_space::slot &source_space::slot_of(std::uint64_t key) {
    std::size_t at = scattered(key) & (slots_.size() - 1);
    while (slots_[at].key != 0 && slots_[at].key != key) {
        at = (at + 1) & (slots_.size() - 1);
    }
    return slots_[at];
}

const source_space::slot *source_space::find(std::uint64_t key) const {
    std::size_t at = scattered(key) & (slots_.size() - 1);
    for (; slots_[at].key != 0; at = (at + 1) & (slots_.size() - 1)) {
        if (slots_[at].key == key) {
            return &slots_[at];
        }
    }
    return nullptr;
}

void source_space::emitted(const block_change &change) {
    slot &s = slot_of(key_of(change.volume, change.block.value));
    REPL_ASSERT(s.key != 0);
    s.emitted = true;
    last_key_ = 0;
}

bool source_space::changed_now(volume_index volume, std::uint64_t block) const {
    const slot *s = find(key_of(volume, block));
    return s != nullptr && s->emitted;
}

bool source_space::zeroed(std::uint64_t key) const {
    const auto after = std::ranges::upper_bound(zero_runs_, key, {}, &zero_run::first);
    return after != zero_runs_.begin() && key <= std::prev(after)->last;
}

bytes_view source_space::content(volume_index volume, std::uint64_t block, bool now) {
    const std::uint64_t key = key_of(volume, block);
    if (key == last_key_ && now == last_now_) {
        return last_;
    }
    bytes_view found;
    if (const slot *s = find(key)) {
        const block_change &change = changes_[s->change];
        found = !now ? change.before : s->emitted ? change.content : bytes_view{};
    } else if (!now && !zeroed(key)) {
        found = read_block(volume, block, key);
    }
    last_key_ = key;
    last_now_ = now;
    last_ = found;
    return found;
}

bytes_view source_space::read_block(volume_index volume, std::uint64_t block, std::uint64_t key) {
    if (!*source_ || volume.value >= volume_blocks_.size() ||
        block >= volume_blocks_[volume.value]) {
        return {};
    }
    if (pages_.empty()) {
        pages_ = buffer(cached_blocks * block_bytes);
    }
    const std::size_t at = scattered(key) % cached_blocks;
    const bytes_span page = pages_.span().subspan(at * block_bytes, block_bytes);
    if (cache_[at].key != key) {
        cache_[at] = {key, (*source_)(volume, block_index{block}, page)};
    }
    return cache_[at].known ? bytes_view(page) : bytes_view{};
}

std::size_t source_space::match_forward(codec_format::source_place place, bytes_view bytes) {
    std::size_t matched = 0;
    while (matched < bytes.size()) {
        const std::uint64_t at = place.address + matched;
        const bytes_view source = content(place.volume, at / block_bytes, place.now);
        if (source.empty()) {
            break;
        }
        const std::size_t offset = at % block_bytes;
        const std::size_t part = std::min(bytes.size() - matched, block_bytes - offset);
        const std::size_t equal =
            equal_at_front(source.data() + offset, bytes.data() + matched, part);
        matched += equal;
        if (equal < part) {
            break;
        }
    }
    return matched;
}

bool source_space::read(codec_format::source_place place, bytes_span out) {
    while (!out.empty()) {
        const bytes_view source = content(place.volume, place.address / block_bytes, place.now);
        if (source.empty()) {
            return false;
        }
        const bytes_view rest = source.subspan(place.address % block_bytes);
        const std::size_t part = std::min(out.size(), rest.size());
        std::memcpy(out.data(), rest.data(), part);
        out = out.subspan(part);
        place.address += part;
    }
    return true;
}

std::size_t source_space::match_backward(codec_format::source_place place, bytes_view bytes) {
    std::size_t matched = 0;
    while (matched < bytes.size() && matched < place.address) {
        const std::uint64_t at = place.address - matched - 1;
        const bytes_view source = content(place.volume, at / block_bytes, place.now);
        if (source.empty() || source[at % block_bytes] != bytes[bytes.size() - matched - 1]) {
            break;
        }
        ++matched;
    }
    return matched;
}

std::optional<std::uint64_t> source_space::linear(volume_index volume,
                                                  std::uint64_t address) const {
    if (volume.value >= volume_blocks_.size() || first_[volume.value] + address > linear_max) {
        return std::nullopt;
    }
    return first_[volume.value] + address;
}

std::optional<codec_format::source_place> source_space::place_of(std::uint64_t linear) const {
    if (linear >= first_.back()) {
        return std::nullopt;
    }
    const auto after = std::ranges::upper_bound(first_, linear);
    const auto volume = static_cast<std::uint16_t>(after - first_.begin() - 1);
    return codec_format::source_place{volume_index{volume}, false, linear - first_[volume]};
}

} // namespace farshore::dedupe
