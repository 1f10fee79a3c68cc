#include "replicator/capture/activity_log.hpp"

#include <algorithm>

namespace farshore {
namespace {

// A writer that moves into a new extent from an active one is probably sequential.
constexpr std::uint64_t ahead_sequential = 8;
constexpr std::uint64_t ahead_random = 1;

} // namespace

activity_log::activity_log(file &map_file, const map_layout &layout, paged_bitmap active)
    : file_(map_file), offset_(layout.activity_offset), extents_(extent_count(layout.volume_bytes)),
      active_(std::move(active)), wanted_(extents_), used_(extents_) {}

void activity_log::want(index_range extents) {
    std::uint64_t e = active_.next_clear(extents.first, extents.last);
    while (e < extents.last) {
        const std::uint64_t end = active_.next_set(e, extents.last).value_or(extents.last);
        wanted_.set_range(e, end);
        want_first_ = wants() ? std::min(want_first_, e) : e;
        want_last_ = std::max(want_last_, end);
        e = active_.next_clear(end, extents.last);
    }
}

index_range activity_log::with_next(index_range extents) const {
    const bool sequential = extents.first > 0 && active(extents.first - 1);
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
        const std::uint64_t word = sector * activity_words + i;
        if (word * 64 < extents_) {
            out.bits[i] = active_.word(word) | wanted_.word(word);
        }
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
        const std::uint64_t first = s * extents_per_sector;
        const std::uint64_t last = std::min(first + extents_per_sector, extents_);
        if (wanted_.any_in(first, last)) {
            images.push_back(image_of(s));
            wanted_.clear_range(first, last);
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
            active_.set_word(i.sector * activity_words + w, i.bits[w]);
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
        active_.clear_word(e / 64, 1ULL << (e % 64));
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
