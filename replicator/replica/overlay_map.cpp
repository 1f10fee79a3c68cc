#include "replicator/replica/overlay_map.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/format/endian.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace farshore {
namespace {

constexpr std::uint64_t word_blocks = 64;

/// Calls f(number of the word, its bits) for the words of [first, first + count).
template <class F>
void each_word(std::uint64_t first, std::uint64_t count, F f) {
    while (count > 0) {
        const std::uint64_t inside = first % word_blocks;
        const std::uint64_t some = std::min(count, word_blocks - inside);
        const std::uint64_t ones = some == word_blocks ? ~0ULL : (1ULL << some) - 1;
        f(first / word_blocks, ones << inside);
        first += some;
        count -= some;
    }
}

std::uint64_t pick(overlay_map::state what, std::uint64_t in, std::uint64_t zero) {
    return what == overlay_map::state::below  ? ~in
           : what == overlay_map::state::data ? in & ~zero
                                              : zero;
}

} // namespace

const overlay_map::page *overlay_map::find(std::uint64_t block) const {
    const auto at = pages_.find(block / page_blocks);
    return at == pages_.end() ? nullptr : at->second.get();
}

overlay_map::state overlay_map::state_of(std::uint64_t block) const {
    const page *p = find(block);
    const std::uint64_t word = block % page_blocks / word_blocks;
    const std::uint64_t bit = 1ULL << block % word_blocks;
    if (p == nullptr || (p->in[word] & bit) == 0) {
        return state::below;
    }
    return (p->zero[word] & bit) != 0 ? state::zero : state::data;
}

overlay_map::run overlay_map::look(std::uint64_t first, std::uint64_t count) const {
    REPL_ASSERT(count > 0);
    run found{state_of(first), 0};
    const std::uint64_t end = first + count;
    std::uint64_t at = first;
    while (at < end) {
        const page *p = find(at);
        if (p == nullptr) { // a page at a time
            if (found.what != state::below) {
                break;
            }
            at = std::min(end, (at / page_blocks + 1) * page_blocks);
            continue;
        }
        const std::uint64_t word = at % page_blocks / word_blocks;
        const std::uint64_t same = pick(found.what, p->in[word], p->zero[word]) >> at % word_blocks;
        const auto run_here = std::min<std::uint64_t>(
            static_cast<std::uint64_t>(std::countr_one(same)), word_blocks - at % word_blocks);
        at = std::min(end, at + run_here);
        if (run_here == 0 || at % word_blocks != 0) {
            break;
        }
    }
    found.count = at - first;
    return found;
}

std::uint64_t overlay_map::count_of(state what, std::uint64_t first, std::uint64_t count) const {
    std::uint64_t sum = 0;
    each_word(first, count, [&](std::uint64_t number, std::uint64_t mask) {
        const page *p = find(number * word_blocks);
        const std::uint64_t word = number % words;
        const std::uint64_t bits =
            p == nullptr ? pick(what, 0, 0) : pick(what, p->in[word], p->zero[word]);
        sum += static_cast<std::uint64_t>(std::popcount(bits & mask));
    });
    return sum;
}

std::uint64_t overlay_map::missing_pages(std::uint64_t first, std::uint64_t count) const {
    if (count == 0) {
        return 0;
    }
    std::uint64_t missing = 0;
    for (std::uint64_t n = first / page_blocks; n <= (first + count - 1) / page_blocks; ++n) {
        missing += pages_.contains(n) ? 0 : 1;
    }
    return missing;
}

void overlay_map::set(std::uint64_t first, std::uint64_t count, state what) {
    REPL_ASSERT(what != state::below);
    each_word(first, count, [&](std::uint64_t number, std::uint64_t mask) {
        auto &p = pages_[number / words];
        if (!p) {
            p = std::make_unique<page>();
        }
        const std::uint64_t word = number % words;
        p->fresh = p->fresh || (mask & ~p->in[word]) != 0;
        p->in[word] |= mask;
        p->zero[word] = what == state::zero ? p->zero[word] | mask : p->zero[word] & ~mask;
    });
}

void overlay_map::note_hole(std::uint64_t first, std::uint64_t count) {
    each_word(first, count, [&](std::uint64_t number, std::uint64_t mask) {
        const auto at = pages_.find(number / words);
        if (at != pages_.end()) {
            page &p = *at->second;
            p.zero[number % words] |= mask & p.in[number % words];
        }
    });
}

std::vector<overlay_map::page_image> overlay_map::take_fresh() {
    std::vector<page_image> out;
    for (auto &[number, p] : pages_) {
        if (!std::exchange(p->fresh, false)) {
            continue;
        }
        std::array<le64, words> bits;
        std::ranges::copy(p->in, bits.begin());
        page_image image{number, {}};
        std::memcpy(image.bytes.data(), bits.data(), page_bytes);
        out.push_back(image);
    }
    return out;
}

result<std::uint64_t> overlay_map::load(std::uint64_t number, bytes_view bytes,
                                        std::uint64_t blocks_end) {
    REPL_ASSERT(bytes.size() == page_bytes);
    if (is_zero(bytes)) {
        return 0;
    }
    std::array<le64, words> bits;
    std::memcpy(bits.data(), bytes.data(), page_bytes);
    auto p = std::make_unique<page>();
    std::uint64_t count = 0;
    for (std::size_t w = 0; w < words; ++w) {
        const std::uint64_t first = number * page_blocks + w * word_blocks;
        const std::uint64_t inside =
            first >= blocks_end ? 0 : std::min(blocks_end - first, word_blocks);
        const std::uint64_t valid = inside == word_blocks ? ~0ULL : (1ULL << inside) - 1;
        if ((bits[w] & ~valid) != 0) {
            return fail(errc::corrupt, fmt::format("its page {} has blocks behind the end of the "
                                                   "volume, block {}",
                                                   number, blocks_end));
        }
        p->in[w] = bits[w];
        count += static_cast<std::uint64_t>(std::popcount(p->in[w]));
    }
    pages_[number] = std::move(p);
    return count;
}

} // namespace farshore
