#include "dedupe/content_cache.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>
#include <bit>

namespace farshore::dedupe {

namespace {

std::uint64_t key_of(volume_index volume, std::uint64_t block) {
    return (std::uint64_t{volume.value} << 40 | block) + 1;
}

std::size_t sets_in(std::size_t bytes) {
    const std::size_t sets = bytes / (2 * block_bytes);
    return sets == 0 ? 0 : std::bit_floor(sets);
}

} // namespace

content_cache::content_cache(std::size_t bytes)
    : sets_(sets_in(bytes)), pages_(std::max<std::size_t>(sets_.size() * ways, 1)) {}

content_cache::set &content_cache::set_of(std::uint64_t key) {
    const std::uint64_t scattered = key * 0x9E3779B97F4A7C15ULL;
    return sets_[(scattered >> 32) & (sets_.size() - 1)];
}

std::size_t content_cache::way_of(const set &s, std::uint64_t key) {
    return static_cast<std::size_t>(std::ranges::find(s.keys, key) - s.keys.begin());
}

content_cache::page &content_cache::page_of(const set &s, std::size_t way) {
    return pages_.data()[static_cast<std::size_t>(&s - sets_.data()) * ways + way];
}

bool content_cache::find(volume_index volume, block_index block, bytes_span out) {
    if (sets_.empty()) {
        return false;
    }
    const std::uint64_t key = key_of(volume, block.value);
    set &s = set_of(key);
    const std::size_t way = way_of(s, key);
    if (way == ways) {
        return false;
    }
    s.newest = way;
    std::ranges::copy(page_of(s, way).bytes, out.begin());
    return true;
}

void content_cache::put(volume_index volume, block_index block, bytes_view content) {
    REPL_ASSERT(content.size() == block_bytes);
    if (sets_.empty()) {
        return;
    }
    const std::uint64_t key = key_of(volume, block.value);
    set &s = set_of(key);
    std::size_t way = way_of(s, key);
    if (way == ways) {
        way = 1 - s.newest;
        s.keys[way] = key;
    }
    s.newest = way;
    std::ranges::copy(content, page_of(s, way).bytes.begin());
}

void content_cache::drop(volume_index volume, block_index first, std::uint64_t count) {
    const std::uint64_t from = key_of(volume, first.value);
    if (count < sets_.size()) {
        for (std::uint64_t key = from; key < from + count; ++key) {
            std::ranges::replace(set_of(key).keys, key, std::uint64_t{0});
        }
        return;
    }
    for (set &s : sets_) {
        std::ranges::replace_if(
            s.keys, [&](std::uint64_t key) { return from <= key && key < from + count; },
            std::uint64_t{0});
    }
}

void content_cache::clear() { std::ranges::fill(sets_, set{}); }

} // namespace farshore::dedupe
