#include "replicator/capture/paged_bitmap.hpp"

#include "replicator/base/geometry.hpp"

#include <algorithm>
#include <bit>

namespace farshore {

constexpr paged_bitmap::page paged_bitmap::make_full() {
    page p;
    p.words.fill(~0ULL);
    p.set = bits_per_page;
    return p;
}

constinit paged_bitmap::page paged_bitmap::full_page = make_full();

paged_bitmap::paged_bitmap(std::uint64_t bits)
    : pages_(ceil_div(ceil_div(bits, 64), words_per_page)) {}

void paged_bitmap::fill_page(std::uint64_t number) {
    auto &page = pages_[number];
    count_ += bits_per_page - (page ? page->set : 0);
    page.reset(&full_page);
}

void paged_bitmap::drop_page(std::uint64_t number) {
    auto &page = pages_[number];
    count_ -= page ? page->set : 0;
    page.reset();
}

void paged_bitmap::set_word(std::uint64_t index, std::uint64_t mask) {
    if (mask == 0) {
        return;
    }
    auto &page = pages_[index / words_per_page];
    if (page.get() == &full_page) {
        return;
    }
    if (!page) {
        page.reset(new paged_bitmap::page);
    }
    std::uint64_t &word = page->words[index % words_per_page];
    const auto added = static_cast<std::uint64_t>(std::popcount(mask & ~word));
    word |= mask;
    page->set += added;
    count_ += added;
    if (page->set == bits_per_page) {
        page.reset(&full_page);
    }
}

void paged_bitmap::clear_word(std::uint64_t index, std::uint64_t mask) {
    if (mask == 0 || !pages_[index / words_per_page]) {
        return;
    }
    auto &page = pages_[index / words_per_page];
    if (page.get() == &full_page) {
        page.reset(new paged_bitmap::page(full_page));
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
    while (first < last) {
        const std::uint64_t number = first / bits_per_page;
        const std::uint64_t end = std::min(last, (number + 1) * bits_per_page);
        if (end - first == bits_per_page) {
            fill_page(number);
        } else {
            for (std::uint64_t i = first / 64; i * 64 < end; ++i) {
                set_word(i, word_mask(i, first, end));
            }
        }
        first = end;
    }
}

void paged_bitmap::clear_range(std::uint64_t first, std::uint64_t last) {
    while (first < last) {
        const std::uint64_t number = first / bits_per_page;
        const std::uint64_t end = std::min(last, (number + 1) * bits_per_page);
        if (end - first == bits_per_page) {
            drop_page(number);
        } else if (pages_[number]) {
            for (std::uint64_t i = first / 64; i * 64 < end; ++i) {
                clear_word(i, word_mask(i, first, end));
            }
        }
        first = end;
    }
}

void paged_bitmap::add_from(const paged_bitmap &other, std::uint64_t first, std::uint64_t last) {
    while (first < last) {
        const std::uint64_t number = first / bits_per_page;
        const std::uint64_t end = std::min(last, (number + 1) * bits_per_page);
        if (other.page_full(number)) {
            set_range(first, end);
        } else if (other.page_in_use(number)) {
            for (std::uint64_t i = first / 64; i * 64 < end; ++i) {
                set_word(i, other.word(i) & word_mask(i, first, end));
            }
        }
        first = end;
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
    std::uint64_t i = from / 64;
    while (i * 64 < limit) {
        if (page_full(i / words_per_page)) {
            i = (i / words_per_page + 1) * words_per_page;
            continue;
        }
        const std::uint64_t found = ~word(i) & word_mask(i, from, limit);
        if (found != 0) {
            return i * 64 + static_cast<std::uint64_t>(std::countr_zero(found));
        }
        ++i;
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
    const auto used =
        std::ranges::count_if(pages_, [](const auto &p) { return p && p.get() != &full_page; });
    return pages_.size() * sizeof(pages_[0]) + static_cast<std::uint64_t>(used) * sizeof(page);
}

} // namespace farshore
