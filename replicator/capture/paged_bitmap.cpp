#include "replicator/capture/paged_bitmap.hpp"

#include "replicator/base/geometry.hpp"

#include <algorithm>
#include <bit>

namespace farshore {

paged_bitmap::paged_bitmap(std::uint64_t bits)
    : pages_(ceil_div(ceil_div(bits, 64), words_per_page)) {}

void paged_bitmap::set_word(std::uint64_t index, std::uint64_t mask) {
    if (mask == 0) {
        return;
    }
    auto &page = pages_[index / words_per_page];
    if (!page) {
        page = std::make_unique<paged_bitmap::page>();
    }
    std::uint64_t &word = page->words[index % words_per_page];
    const auto added = static_cast<std::uint64_t>(std::popcount(mask & ~word));
    word |= mask;
    page->set += added;
    count_ += added;
}

void paged_bitmap::clear_word(std::uint64_t index, std::uint64_t mask) {
    auto &page = pages_[index / words_per_page];
    if (!page) {
        return;
    }
    std::uint64_t &word = page->words[index % words_per_page];
    const auto removed = static_cast<std::uint64_t>(std::popcount(mask & word));
    word &= ~mask;
    page->set -= removed;
    count_ -= removed;
    if (page->set == 0) {
        page.reset();
    }
}

void paged_bitmap::set_range(std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t i = first / 64; i * 64 < last; ++i) {
        set_word(i, word_mask(i, first, last));
    }
}

void paged_bitmap::clear_range(std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t i = first / 64; i * 64 < last; ++i) {
        clear_word(i, word_mask(i, first, last));
    }
}

bool paged_bitmap::any_in(std::uint64_t first, std::uint64_t last) const {
    return count_ != 0 && next_set(first, last).has_value();
}

std::optional<std::uint64_t> paged_bitmap::next_set(std::uint64_t from, std::uint64_t limit) const {
    std::uint64_t i = from / 64;
    while (i * 64 < limit) {
        if (!pages_[i / words_per_page]) {
            i = (i / words_per_page + 1) * words_per_page;
            continue;
        }
        const std::uint64_t found = word(i) & word_mask(i, from, limit);
        if (found != 0) {
            return i * 64 + static_cast<std::uint64_t>(std::countr_zero(found));
        }
        ++i;
    }
    return std::nullopt;
}

std::uint64_t paged_bitmap::next_clear(std::uint64_t from, std::uint64_t limit) const {
    for (std::uint64_t i = from / 64; i * 64 < limit; ++i) {
        const std::uint64_t found = ~word(i) & word_mask(i, from, limit);
        if (found != 0) {
            return i * 64 + static_cast<std::uint64_t>(std::countr_zero(found));
        }
    }
    return limit;
}

void paged_bitmap::reset() {
    for (auto &page : pages_) {
        page.reset();
    }
    count_ = 0;
}

std::uint64_t paged_bitmap::memory_bytes() const {
    const auto used = std::ranges::count_if(pages_, [](const auto &p) { return p != nullptr; });
    return pages_.size() * sizeof(pages_[0]) + static_cast<std::uint64_t>(used) * sizeof(page);
}

} // namespace farshore
