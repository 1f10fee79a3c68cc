#include "replicator/capture/page_arena.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>
#include <sys/mman.h>

namespace farshore {
namespace {

void unmap(std::byte *chunk) { ::munmap(chunk, page_pool::chunk_bytes); }

} // namespace

page_pool::~page_pool() { std::ranges::for_each(kept_, unmap); }

std::byte *page_pool::take() {
    {
        const std::lock_guard lock(mutex_);
        if (!kept_.empty()) {
            std::byte *chunk = kept_.back();
            kept_.pop_back();
            lowest_kept_ = std::min(lowest_kept_, kept_.size());
            return chunk;
        }
    }
    void *at =
        ::mmap(nullptr, chunk_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REPL_ASSERT(at != MAP_FAILED);
    return static_cast<std::byte *>(at);
}

void page_pool::give(std::byte *chunk) {
    {
        const std::lock_guard lock(mutex_);
        if (kept_.size() < kept_chunks_max) {
            kept_.push_back(chunk);
            return;
        }
    }
    unmap(chunk);
}

void page_pool::trim() {
    std::vector<std::byte *> unused;
    {
        const std::lock_guard lock(mutex_);
        const std::size_t count = std::min(lowest_kept_, kept_.size());
        unused.assign(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(count));
        kept_.erase(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(count));
        lowest_kept_ = kept_.size();
    }
    std::ranges::for_each(unused, unmap);
}

std::size_t page_pool::kept_bytes() const {
    const std::lock_guard lock(mutex_);
    return kept_.size() * chunk_bytes;
}

page_arena::~page_arena() {
    for (std::byte *chunk : chunks_) {
        pool_->give(chunk);
    }
}

page_number page_arena::allocate(std::uint32_t count) {
    REPL_ASSERT(count >= 1 && count <= run_max);
    if (count == 1 && !free_.empty()) {
        const page_number page = free_.back();
        free_.pop_back();
        return page;
    }
    if (count > pages_per_chunk - used_) {
        const auto base = static_cast<page_number>(chunks_.size()) * pages_per_chunk;
        for (std::uint32_t i = used_; i < pages_per_chunk; ++i) {
            free_.push_back(base - pages_per_chunk + i);
        }
        chunks_.push_back(pool_->take());
        used_ = 0;
    }
    const auto base = static_cast<page_number>(chunks_.size() - 1) * pages_per_chunk;
    const page_number first = base + used_;
    used_ += count;
    return first;
}

void page_arena::free(page_number first, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
        free_.push_back(first + i);
    }
}

} // namespace farshore
