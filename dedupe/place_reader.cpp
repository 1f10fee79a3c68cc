#include "dedupe/place_reader.hpp"

#include "replicator/base/geometry.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace farshore::dedupe {

void place_reader::begin(const base_reader &base, const base_reader &now,
                         const std::vector<block_change> &done) {
    base_ = &base;
    now_ = &now;
    done_ = &done;
    cache_.fill({});
    next_ = 0;
}

result<> place_reader::read_own(volume_index volume, block_index block, bytes_span page) {
    return (*base_)(volume, block, page);
}

result<> place_reader::read(codec_format::source_place place, bytes_span out) {
    while (!out.empty()) {
        const block_index block{place.address / block_bytes};
        const std::size_t offset = place.address % block_bytes;
        const std::size_t part = std::min(out.size(), block_bytes - offset);
        FS_TRY(content, block_at(place.volume, block, place.now));
        std::memcpy(out.data(), content.data() + offset, part);
        out = out.subspan(part);
        place.address += part;
    }
    return {};
}

result<bytes_view> place_reader::block_at(volume_index volume, block_index block, bool now) {
    if (now) {
        // Never cached: the block may be a later operation's.
        if (const block_change *change = done_here(volume, block)) {
            return change->content;
        }
    }
    if (pages_.empty()) {
        pages_ = buffer(cached_blocks * block_bytes);
    }
    for (std::size_t i = 0; i < cached_blocks; ++i) {
        const cached &c = cache_[i];
        if (c.used && c.now == now && c.volume == volume && c.block == block) {
            return pages_.view().subspan(i * block_bytes, block_bytes);
        }
    }
    const std::size_t at = std::exchange(next_, (next_ + 1) % cached_blocks);
    const bytes_span page = pages_.span().subspan(at * block_bytes, block_bytes);
    cache_[at].used = false;
    FS_CHECK((now ? *now_ : *base_)(volume, block, page));
    cache_[at] = {true, now, volume, block};
    return bytes_view(page);
}

/// Among the data blocks of this payload; zero runs are not looked into, nothing refers to them.
const block_change *place_reader::done_here(volume_index volume, block_index block) const {
    const auto at =
        std::ranges::lower_bound(*done_, std::pair(volume, block), {}, [](const block_change &c) {
            return std::pair(c.volume, c.block);
        });
    const bool found = at != done_->end() && at->volume == volume && at->block == block &&
                       at->kind == change_kind::data;
    return found ? &*at : nullptr;
}

} // namespace farshore::dedupe
