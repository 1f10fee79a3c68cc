#pragma once
// A sparse set of region numbers: bits in pages that cost memory only while they hold some bits and
// lack others. A page has 512 words of 64 regions: 2 GiB of a volume. An empty page and a full one
// cost their place in the page table only (4 KiB a terabyte), so "everything" is as cheap as
// "nothing", and ranges are set, cleared and looked through by whole pages.
//
// Threads: none of its own; the owner's lock.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace farshore {

class paged_bitmap {
  public:
    static constexpr std::uint64_t words_per_page = 512;
    static constexpr std::uint64_t bits_per_page = words_per_page * 64;

    explicit paged_bitmap(std::uint64_t bits = 0);

    std::uint64_t count() const { return count_; }
    bool empty() const { return count_ == 0; }
    bool test(std::uint64_t bit) const { return (word(bit / 64) >> (bit % 64) & 1) != 0; }

    std::uint64_t word(std::uint64_t index) const {
        const auto &page = pages_[index / words_per_page];
        return page ? page->words[index % words_per_page] : 0;
    }
    void set_word(std::uint64_t index, std::uint64_t mask);   ///< ORs the mask in
    void clear_word(std::uint64_t index, std::uint64_t mask); ///< takes the mask's bits out
    void set_range(std::uint64_t first, std::uint64_t last);  ///< [first, last)
    void clear_range(std::uint64_t first, std::uint64_t last);
    /// Adds what `other`, of the same size, has in [first, last).
    void add_from(const paged_bitmap &other, std::uint64_t first, std::uint64_t last);
    bool any_in(std::uint64_t first, std::uint64_t last) const;
    bool all_in(std::uint64_t first, std::uint64_t last) const {
        return next_clear(first, last) == last;
    }
    /// First set bit in [from, limit).
    std::optional<std::uint64_t> next_set(std::uint64_t from, std::uint64_t limit) const;
    /// First clear bit in [from, limit), or limit.
    std::uint64_t next_clear(std::uint64_t from, std::uint64_t limit) const;

    std::uint64_t page_count() const { return pages_.size(); }
    bool page_in_use(std::uint64_t page) const { return pages_[page] != nullptr; }
    /// Every bit of it is set. The last page is full only when it is a whole one.
    bool page_full(std::uint64_t page) const { return pages_[page].get() == &full_page; }
    void reset(); ///< empty, all pages given back
    std::uint64_t memory_bytes() const;

  private:
    struct page {
        std::array<std::uint64_t, words_per_page> words{};
        std::uint64_t set = 0;
    };
    static page full_page; ///< stands for all full ones; never changed
    struct give_back {
        void operator()(page *p) const {
            if (p != &full_page) {
                delete p;
            }
        }
    };
    static constexpr page make_full();
    void fill_page(std::uint64_t number);
    void drop_page(std::uint64_t number);

    std::vector<std::unique_ptr<page, give_back>> pages_;
    std::uint64_t count_ = 0;
};

/// Bits of word `index` that lie in [first, last).
constexpr std::uint64_t word_mask(std::uint64_t index, std::uint64_t first, std::uint64_t last) {
    const std::uint64_t start = index * 64;
    const std::uint64_t low = first > start ? first - start : 0;
    const std::uint64_t high = last < start + 64 ? (last > start ? last - start : 0) : 64;
    if (low >= high) {
        return 0;
    }
    const std::uint64_t below_high = high == 64 ? ~0ULL : (1ULL << high) - 1;
    return below_high & ~((1ULL << low) - 1);
}

} // namespace farshore
