#pragma once
// Content of a simulated file: sparse 4 KiB pages, shared between copies until one writes (so a
// copy costs one pointer a file), and the changes made since the last sync. Part of
// sim_file_system.hpp.
//
// Threads: none; sim_file_system.hpp locks.

#include "replicator/base/bytes.hpp"
#include "replicator/base/types.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace farshore::sim {

constexpr std::uint64_t page_bytes = 4096;
constexpr std::uint64_t sector_bytes = 512;
constexpr std::uint64_t no_page = ~std::uint64_t{0};

/// splitmix64: the same numbers from a seed on every machine and library.
class random {
  public:
    explicit random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {
        state_ += 0x9e3779b97f4a7c15ULL;
        std::uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }
    std::uint64_t below(std::uint64_t n) { return next() % n; }
    bool percent(std::uint64_t p) { return below(100) < p; }

  private:
    std::uint64_t state_;
};

/// A set of page numbers as disjoint runs [first, last).
class page_set {
  public:
    void add(std::uint64_t first, std::uint64_t last) {
        if (first >= last) {
            return;
        }
        auto at = runs_.upper_bound(first);
        if (at != runs_.begin() && std::prev(at)->second >= first) {
            --at;
            first = at->first;
        }
        while (at != runs_.end() && at->first <= last) {
            last = std::max(last, at->second);
            count_ -= at->second - at->first;
            at = runs_.erase(at);
        }
        runs_.emplace(first, last);
        count_ += last - first;
    }
    void remove(std::uint64_t first, std::uint64_t last) {
        if (first >= last) {
            return;
        }
        auto at = runs_.upper_bound(first);
        if (at != runs_.begin() && std::prev(at)->second > first) {
            --at;
        }
        while (at != runs_.end() && at->first < last) {
            const auto [run_first, run_last] = *at;
            at = runs_.erase(at);
            count_ -= run_last - run_first;
            if (run_first < first) {
                runs_.emplace(run_first, first);
                count_ += first - run_first;
            }
            if (run_last > last) {
                at = runs_.emplace(last, run_last).first;
                count_ += run_last - last;
            }
        }
    }
    bool contains(std::uint64_t page) const {
        const auto at = runs_.upper_bound(page);
        return at != runs_.begin() && std::prev(at)->second > page;
    }
    /// How many of [first, last) are not in the set.
    std::uint64_t missing(std::uint64_t first, std::uint64_t last) const {
        std::uint64_t present = 0;
        each_run(first, last, [&](std::uint64_t a, std::uint64_t b) { present += b - a; });
        return last - first - present;
    }
    /// Calls f(first, last) for each run inside [first, last), cut to it.
    template <class F>
    void each_run(std::uint64_t first, std::uint64_t last, F f) const {
        auto at = runs_.upper_bound(first);
        if (at != runs_.begin() && std::prev(at)->second > first) {
            --at;
        }
        for (; at != runs_.end() && at->first < last; ++at) {
            f(std::max(at->first, first), std::min(at->second, last));
        }
    }
    std::uint64_t count() const { return count_; }
    void clear() { *this = page_set(); }

  private:
    std::map<std::uint64_t, std::uint64_t> runs_;
    std::uint64_t count_ = 0;
};

/// Bytes of a file at one moment: in the page cache, or on the disk.
class content {
  public:
    using page = std::array<std::byte, page_bytes>;
    using page_pointer = std::shared_ptr<page>;

    std::uint64_t size = 0;
    page_set allocated;

    void read(std::uint64_t offset, bytes_span out) const {
        while (!out.empty()) {
            const std::uint64_t in_page = offset % page_bytes;
            const std::size_t n = std::min<std::size_t>(out.size(), page_bytes - in_page);
            const auto found = pages_->find(offset / page_bytes);
            if (found == pages_->end()) {
                std::fill_n(out.begin(), n, std::byte{0});
            } else {
                std::copy_n(found->second->begin() + in_page, n, out.begin());
            }
            out = out.subspan(n);
            offset += n;
        }
    }
    /// Null: zeroes.
    const page *find(std::uint64_t index) const {
        const auto found = pages_->find(index);
        return found == pages_->end() ? nullptr : found->second.get();
    }
    void write(std::uint64_t offset, bytes_view data) {
        size = std::max(size, offset + data.size());
        while (!data.empty()) {
            const std::uint64_t in_page = offset % page_bytes;
            const std::size_t n = std::min<std::size_t>(data.size(), page_bytes - in_page);
            page &target = own(offset / page_bytes, n == page_bytes);
            std::copy_n(data.begin(), n, target.begin() + in_page);
            data = data.subspan(n);
            offset += n;
        }
    }
    /// Does not change the size.
    void zero(byte_range range, bool keep_allocated) {
        const std::uint64_t end = std::min(range.end(), size);
        if (range.offset >= end) {
            return;
        }
        const std::uint64_t first = (range.offset + page_bytes - 1) / page_bytes;
        const std::uint64_t last = end == size ? pages_of(size) : end / page_bytes;
        if (first >= last) {
            // Inside one page, or two rims without a whole page between them.
            clear(range.offset, end);
            return;
        }
        clear(range.offset, std::min(first * page_bytes, end));
        drop(first, last);
        if (!keep_allocated) {
            allocated.remove(first, last);
        }
        clear(std::min(last * page_bytes, end), end);
    }
    void truncate(std::uint64_t to) {
        if (to < size) {
            drop(pages_of(to), no_page);
            allocated.remove(pages_of(to), no_page);
            clear(to, pages_of(to) * page_bytes);
        }
        size = to;
    }
    void allocate(std::uint64_t to) {
        allocated.add(0, pages_of(to));
        size = std::max(size, to);
    }
    byte_range next_data(std::uint64_t offset) const {
        auto at = pages_->lower_bound(offset / page_bytes);
        if (offset >= size || at == pages_->end() || at->first * page_bytes >= size) {
            return {size, 0};
        }
        const std::uint64_t start = std::max(offset, at->first * page_bytes);
        std::uint64_t last = at->first;
        while (at != pages_->end() && at->first == last) {
            ++at;
            ++last;
        }
        return {start, std::min(last * page_bytes, size) - start};
    }
    /// Takes the pages [first, last), as they are, from `other`.
    void adopt(const content &other, std::uint64_t first, std::uint64_t last) {
        drop(first, last);
        allocated.remove(first, last);
        other.allocated.each_run(first, last,
                                 [&](std::uint64_t a, std::uint64_t b) { allocated.add(a, b); });
        const auto &source = *other.pages_;
        const auto begin = source.lower_bound(first);
        const auto end = source.lower_bound(last);
        if (begin != end) {
            mutable_pages().insert(begin, end);
        }
    }

    static std::uint64_t pages_of(std::uint64_t bytes) {
        return bytes / page_bytes + (bytes % page_bytes != 0);
    }

  private:
    using page_map = std::map<std::uint64_t, page_pointer>;

    page_map &mutable_pages() {
        if (pages_.use_count() > 1) {
            pages_ = std::make_shared<page_map>(*pages_);
        }
        return *pages_;
    }
    /// A page that no other content sees; `overwritten`: the caller writes all of it.
    page &own(std::uint64_t index, bool overwritten = false) {
        page_pointer &p = mutable_pages()[index];
        if (!p) {
            p = overwritten ? std::make_shared_for_overwrite<page>() : std::make_shared<page>();
            allocated.add(index, index + 1);
        } else if (p.use_count() > 1) {
            p = overwritten ? std::make_shared_for_overwrite<page>() : std::make_shared<page>(*p);
        }
        return *p;
    }
    /// Writes zeroes where pages are; [from, to) touches at most two pages.
    void clear(std::uint64_t from, std::uint64_t to) {
        while (from < to) {
            const std::uint64_t index = from / page_bytes;
            const std::uint64_t end = std::min(to, (index + 1) * page_bytes);
            if (pages_->contains(index)) {
                std::fill_n(own(index).begin() + from % page_bytes, end - from, std::byte{0});
            }
            from = end;
        }
    }
    void drop(std::uint64_t first, std::uint64_t last) {
        if (pages_->lower_bound(first) != pages_->lower_bound(last)) {
            page_map &p = mutable_pages();
            p.erase(p.lower_bound(first), p.lower_bound(last));
        }
    }

    std::shared_ptr<page_map> pages_ = std::make_shared<page_map>();
};

/// One change since the last sync.
struct change {
    enum class kind : std::uint8_t { write, mapped_page, zero, truncate, allocate };
    kind what = kind::write;
    std::uint64_t offset = 0; ///< the new size, for truncate and allocate
    std::uint64_t length = 0;
    bool keep_allocated = false;
    std::shared_ptr<const byte_vector> data = nullptr; ///< write and mapped_page
};

inline void perform(content &c, const change &one) {
    switch (one.what) {
    case change::kind::write:
    case change::kind::mapped_page:
        c.write(one.offset, *one.data);
        break;
    case change::kind::zero:
        c.zero({one.offset, one.length}, one.keep_allocated);
        break;
    case change::kind::truncate:
        c.truncate(one.offset);
        break;
    case change::kind::allocate:
        c.allocate(one.offset);
        break;
    }
}

/// What a power cut does with what was not synced, drawn from a seed.
class cut {
  public:
    /// Seed 0 keeps nothing, seed 1 everything; others differ in how much they keep.
    explicit cut(std::uint64_t seed)
        : random_(seed), keep_percent_(seed == 0   ? 0
                                       : seed == 1 ? 100
                                                   : 10 + random_.below(81)) {}

    bool keeps() { return random_.percent(keep_percent_); }
    /// Half of the seeds lose changes of names in order (as journaling file systems do), half each
    /// by itself.
    bool names_in_order() { return random_.percent(50); }
    std::size_t prefix_of(std::size_t count) {
        return keep_percent_ == 0     ? 0
               : keep_percent_ == 100 ? count
                                      : static_cast<std::size_t>(random_.below(count + 1));
    }

    /// Applies to the content of the disk what is left of one change.
    void settle(content &disk, const change &one) {
        if (keeps()) {
            perform(disk, one);
        } else if (one.what == change::kind::write && keep_percent_ != 0) {
            lose_write(disk, one);
        }
    }

  private:
    void lose_write(content &disk, const change &one) {
        const std::uint64_t end = one.offset + one.data->size();
        const std::uint64_t how = random_.below(3);
        if (how == 0) {
            const std::uint64_t first = (one.offset / sector_bytes + 1) * sector_bytes;
            if (first < end) {
                tear(disk, one, first, end);
            }
        } else if (how == 1) {
            disk.size = std::max(disk.size, end); // the length got there, the data did not
        }
    }
    void tear(content &disk, const change &one, std::uint64_t first, std::uint64_t end) {
        const std::uint64_t boundaries = (end - 1 - first) / sector_bytes + 1;
        const std::uint64_t at = first + random_.below(boundaries) * sector_bytes;
        const bytes_view data(*one.data);
        if (random_.percent(50)) {
            disk.write(one.offset, data.first(at - one.offset));
        } else {
            disk.write(at, data.subspan(at - one.offset));
        }
    }

    random random_;
    std::uint64_t keep_percent_;
};

} // namespace farshore::sim
