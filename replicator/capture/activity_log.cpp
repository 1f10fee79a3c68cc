#include "replicator/capture/activity_log.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>
#include <bit>

namespace farshore {
namespace {

// A writer that moves into a new extent from an active one is probably sequential.
constexpr std::uint64_t ahead_sequential = 8;
constexpr std::uint64_t ahead_random = 1;

} // namespace

activity_log::activity_log(file &map_file, const map_layout &layout,
                           std::vector<std::uint64_t> active)
    : file_(map_file), offset_(layout.activity_offset), extents_(extent_count(layout.volume_bytes)),
      active_(std::move(active)) {
    const std::size_t words = layout.sectors() * activity_words;
    REPL_ASSERT(active_.size() == words);
    wanted_.resize(words);
    used_.resize(words);
    for (const std::uint64_t w : active_) {
        active_count_ += static_cast<std::uint64_t>(std::popcount(w));
    }
}

bool activity_log::all_active(index_range extents) const {
    for (std::uint64_t e = extents.first; e < extents.last; ++e) {
        if (!bit(active_, e)) {
            return false;
        }
    }
    return true;
}

void activity_log::want(index_range extents) {
    for (std::uint64_t e = extents.first; e < extents.last; ++e) {
        if (!bit(active_, e) && !bit(wanted_, e)) {
            wanted_[e / 64] |= 1ULL << (e % 64);
            want_first_ = wants() ? std::min(want_first_, e) : e;
            want_last_ = std::max(want_last_, e + 1);
        }
    }
}

index_range activity_log::with_next(index_range extents) const {
    const bool sequential = extents.first > 0 && bit(active_, extents.first - 1);
    const std::uint64_t ahead = sequential ? ahead_sequential : ahead_random;
    return {extents.first, std::min(extents_, extents.last + ahead)};
}

void activity_log::wait_turn(std::unique_lock<std::mutex> &lock) {
    idle_.wait(lock, [&] { return !busy_; });
}

result<> activity_log::activate(std::unique_lock<std::mutex> &lock, index_range extents) {
    if (all_active(extents)) {
        return {};
    }
    want(with_next(extents));
    while (!all_active(extents)) {
        // Another's commit may have taken what we want with it, or not: ask again after it.
        wait_turn(lock);
        if (all_active(extents)) {
            break;
        }
        want(extents);
        FS_CHECK(lead(lock));
    }
    return {};
}

result<> activity_log::commit(std::unique_lock<std::mutex> &lock) {
    wait_turn(lock);
    return wants() ? lead(lock) : result<>();
}

activity_log::image activity_log::image_of(std::uint64_t sector) const {
    image out{static_cast<std::uint32_t>(sector), {}};
    for (std::size_t i = 0; i < activity_words; ++i) {
        out.bits[i] = active_[sector * activity_words + i] | wanted_[sector * activity_words + i];
    }
    return out;
}

result<> activity_log::lead(std::unique_lock<std::mutex> &lock) {
    if (failed_) {
        return std::unexpected(*failed_);
    }
    std::vector<image> images;
    for (std::uint64_t s = want_first_ / extents_per_sector; s * extents_per_sector < want_last_;
         ++s) {
        const auto words = std::span(wanted_).subspan(s * activity_words, activity_words);
        if (std::ranges::any_of(words, [](std::uint64_t w) { return w != 0; })) {
            images.push_back(image_of(s));
            std::ranges::fill(words, 0);
        }
    }
    want_first_ = want_last_ = 0;
    busy_ = true;
    lock.unlock();
    result<> done = write(images);
    if (done) {
        done = file_.sync_data();
    }
    lock.lock();
    busy_ = false;
    idle_.notify_all();
    if (!done) {
        failed_ = done.error();
        return done;
    }
    for (const image &i : images) {
        for (std::size_t w = 0; w < activity_words; ++w) {
            std::uint64_t &word = active_[i.sector * activity_words + w];
            active_count_ += static_cast<std::uint64_t>(std::popcount(i.bits[w] & ~word));
            word |= i.bits[w];
        }
    }
    return {};
}

result<> activity_log::write_retired(std::unique_lock<std::mutex> &lock,
                                     const std::vector<std::uint64_t> &retired) {
    if (retired.empty()) {
        return {};
    }
    if (failed_) {
        return std::unexpected(*failed_);
    }
    std::vector<image> images;
    for (const std::uint64_t e : retired) {
        active_[e / 64] &= ~(1ULL << (e % 64));
        --active_count_;
    }
    for (const std::uint64_t e : retired) {
        const std::uint64_t sector = e / extents_per_sector;
        if (images.empty() || images.back().sector != sector) {
            images.push_back(image_of(sector));
        }
    }
    busy_ = true;
    lock.unlock();
    const result<> done = write(images);
    lock.lock();
    busy_ = false;
    idle_.notify_all();
    if (!done) {
        failed_ = done.error();
    }
    return done;
}

result<> activity_log::write(const std::vector<image> &images) {
    std::array<std::byte, activity_sector_bytes> sector;
    for (const image &i : images) {
        encode_activity(sector, i.sector, i.bits);
        FS_CHECK(file_.write_at(offset_ + std::uint64_t{i.sector} * activity_sector_bytes, sector));
    }
    return {};
}

} // namespace farshore
