#include "replicator/replica/point_overlay.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/format/overlay_header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace farshore {
namespace {

constexpr std::uint32_t hole_and_zero = 3; // NBD_STATE_HOLE | NBD_STATE_ZERO

std::uint64_t map_file_bytes(std::uint64_t volume_bytes) {
    return overlay_header_bytes +
           ceil_div(block_count(volume_bytes), overlay_map::page_blocks) * overlay_map::page_bytes;
}

/// Whole blocks inside a range; the volume's last one counts as whole when the range reaches its
/// end.
index_range whole_blocks(byte_range range, std::uint64_t size) {
    const std::uint64_t first = ceil_div(range.offset, block_bytes);
    const std::uint64_t last = range.end() == size ? block_count(size) : range.end() / block_bytes;
    return {first, std::max(first, last)};
}

void append(std::vector<status_extent> &extents, std::uint64_t length, std::uint32_t flags) {
    if (!extents.empty() && extents.back().flags == flags) {
        extents.back().length += length;
    } else {
        extents.push_back({length, flags});
    }
}

} // namespace

// ---- life
// -------------------------------------------------------------------------------------------

result<> point_overlay::create(file_system &files, const place &where, std::uint64_t volume_bytes) {
    FS_TRY(data, files.open(where.data, open_mode::create_new));
    FS_CHECK(data->truncate(block_count(volume_bytes) * block_bytes));
    FS_CHECK(data->sync_data());
    FS_TRY(map, files.open(where.map, open_mode::create_new));
    FS_CHECK(map->truncate(map_file_bytes(volume_bytes)));
    FS_CHECK(map->write_at(0, encode_overlay_header({where.point, volume_bytes})));
    return map->sync_data();
}

result<std::unique_ptr<point_overlay>> point_overlay::open(file_system &files, const place &where,
                                                           std::shared_ptr<block_device> below,
                                                           std::shared_ptr<overlay_space> space) {
    const auto wrong = [&](const std::string &why) {
        return fail(errc::corrupt, fmt::format("{}: {}; what was written to this opened point "
                                               "can't be used, close it and open the point anew",
                                               where.map, why));
    };
    const std::uint64_t size = below->size();
    FS_TRY(data, files.open(where.data, open_mode::read_write_no_link));
    FS_TRY(map, files.open(where.map, open_mode::read_write_no_link));
    FS_TRY(data_bytes, data->size());
    FS_TRY(map_bytes, map->size());
    if (map_bytes != map_file_bytes(size) || data_bytes != block_count(size) * block_bytes) {
        return wrong("the overlay's files have not the volume's size");
    }
    byte_vector head(overlay_header_bytes);
    FS_CHECK(map->read_at(0, head));
    const auto header = parse_overlay_header(head);
    if (!header) {
        return wrong(header.error().context);
    }
    if (*header != overlay_header{where.point, size}) {
        return wrong(fmt::format("it is of point {} and {} bytes, not of point {} and {} bytes",
                                 header->point.value, header->volume_bytes, where.point.value,
                                 size));
    }
    std::unique_ptr<point_overlay> overlay(
        new point_overlay(std::move(data), std::move(map), std::move(below), std::move(space)));
    overlay->data_->expect_scattered_use();
    if (auto loaded = overlay->load(); !loaded) {
        return is(loaded.error(), errc::corrupt)
                   ? result<std::unique_ptr<point_overlay>>(wrong(loaded.error().context))
                   : std::unexpected(loaded.error());
    }
    return overlay;
}

point_overlay::~point_overlay() { space_->give_back(taken_blocks_, map_.pages()); }

result<> point_overlay::load() {
    // A killed process may have left the map in the page cache only: what is read from it now is
    // shown, so a flush promises it.
    FS_CHECK(data_->sync_data());
    FS_CHECK(map_file_->sync_data());
    const std::uint64_t end = map_file_bytes(size_);
    byte_vector bytes(overlay_map::page_bytes);
    std::uint64_t at = overlay_header_bytes;
    while (at < end) { // a map of a large volume is mostly holes
        FS_TRY(data, map_file_->next_data(at));
        if (data.length == 0) {
            break;
        }
        at = std::max(at, data.offset / overlay_map::page_bytes * overlay_map::page_bytes);
        const std::uint64_t stop = std::min(data.end(), end);
        for (; at < stop; at += overlay_map::page_bytes) {
            FS_CHECK(map_file_->read_at(at, bytes));
            FS_CHECK(map_.load((at - overlay_header_bytes) / overlay_map::page_bytes, bytes,
                               block_count(size_)));
        }
    }
    FS_CHECK(find_holes());
    taken_blocks_ = map_.count_of(overlay_map::state::data, 0, block_count(size_));
    space_->adopt(taken_blocks_, map_.pages());
    return {};
}

result<> point_overlay::find_holes() {
    const std::uint64_t blocks = block_count(size_);
    std::uint64_t at = 0;
    while (at < blocks) {
        const auto run = map_.look(at, blocks - at);
        if (run.what == overlay_map::state::below) {
            at += run.count;
            continue;
        }
        FS_TRY(data, data_->next_data(at * block_bytes));
        const std::uint64_t data_at = data.length == 0 ? blocks : data.offset / block_bytes;
        if (data_at > at) {
            map_.note_hole(at, data_at - at);
            at = data_at;
        } else {
            at = std::max(at + 1, ceil_div(data.end(), block_bytes));
        }
    }
    return {};
}

// ---- reading
// ----------------------------------------------------------------------------------------

overlay_map::run point_overlay::look(std::uint64_t block, std::uint64_t count) const {
    const std::lock_guard lock(mutex_);
    return map_.look(block, count);
}

// A block that comes into the overlay meanwhile was read as the point has it: as before the write,
// which has not returned.
result<> point_overlay::read(std::uint64_t offset, bytes_span out) {
    REPL_ASSERT(offset <= size_ && out.size() <= size_ - offset);
    while (!out.empty()) {
        const index_range blocks = blocks_of({offset, out.size()});
        const auto run = look(blocks.first, blocks.count());
        const std::size_t some = static_cast<std::size_t>(
            std::min<std::uint64_t>(out.size(), (blocks.first + run.count) * block_bytes - offset));
        const bytes_span part = out.first(some);
        FS_CHECK(run.what == overlay_map::state::below ? below_->read(offset, part)
                                                       : data_->read_at(offset, part));
        offset += some;
        out = out.subspan(some);
    }
    return {};
}

result<bool> point_overlay::try_read(std::uint64_t offset, bytes_span out) {
    REPL_ASSERT(offset <= size_ && out.size() <= size_ - offset);
    const index_range blocks = blocks_of({offset, out.size()});
    const auto run = look(blocks.first, blocks.count());
    if (run.count < blocks.count()) {
        return false;
    }
    return run.what == overlay_map::state::below ? below_->try_read(offset, out)
                                                 : data_->read_at_cached(offset, out);
}

result<std::vector<status_extent>> point_overlay::status(byte_range range, status_context context,
                                                         std::size_t max) {
    REPL_ASSERT(max > 0 && range.length > 0 && range.offset <= size_ &&
                range.length <= size_ - range.offset);
    std::vector<status_extent> extents;
    if (context == status_context::dirty) {
        extents.push_back({range.length, 0});
        return extents;
    }
    std::uint64_t at = range.offset;
    while (at < range.end() && extents.size() <= max) {
        const index_range blocks = blocks_of({at, range.end() - at});
        const auto run = look(blocks.first, blocks.count());
        const std::uint64_t stop = std::min(range.end(), (blocks.first + run.count) * block_bytes);
        if (run.what == overlay_map::state::below) {
            FS_TRY(told, below_->status({at, stop - at}, context, max));
            for (const status_extent &e : told) {
                append(extents, e.length, e.flags);
                at += e.length;
            }
        } else {
            append(extents, stop - at, run.what == overlay_map::state::zero ? hole_and_zero : 0);
            at = stop;
        }
    }
    if (extents.size() > max) {
        extents.resize(max);
    }
    return extents;
}

// ---- writing
// ----------------------------------------------------------------------------------------

/// The writer's turn on all MiBs of a range.
class point_overlay::turn {
  public:
    turn(point_overlay &overlay, byte_range range) : overlay_(overlay) {
        const index_range all = units_of(range, stripe_bytes);
        for (std::size_t s = 0; s < stripes; ++s) { // always in this order: nobody waits in a ring
            const std::uint64_t first = all.first + (s + stripes - all.first % stripes) % stripes;
            held_[s] = first < all.last;
            if (held_[s]) {
                overlay_.turns_[s].lock();
            }
        }
    }
    ~turn() {
        for (std::size_t s = 0; s < stripes; ++s) {
            if (held_[s]) {
                overlay_.turns_[s].unlock();
            }
        }
    }
    turn(const turn &) = delete;
    turn &operator=(const turn &) = delete;

  private:
    point_overlay &overlay_;
    std::array<bool, stripes> held_{};
};

result<> point_overlay::check_alive() const {
    return dead_ ? fail(errc::dead, fmt::format("{}: an earlier sync failed, nobody knows what of "
                                                "it is on the disk; close this opened point",
                                                data_->path()))
                 : result<>{};
}

result<point_overlay::taking> point_overlay::take(index_range blocks, bool content) {
    taking taken{blocks, 0, 0};
    {
        const std::lock_guard lock(mutex_);
        if (content) {
            taken.fresh = blocks.count() -
                          map_.count_of(overlay_map::state::data, blocks.first, blocks.count());
        }
        taken.pages = map_.missing_pages(blocks.first, blocks.count());
    }
    FS_CHECK(space_->take(taken.fresh, taken.pages));
    return taken;
}

void point_overlay::keep(const taking &taken, overlay_map::state what) {
    std::uint64_t freed = 0;
    std::uint64_t unused = 0;
    {
        const std::lock_guard lock(mutex_);
        const std::uint64_t first = taken.blocks.first;
        const std::uint64_t count = taken.blocks.count();
        if (what == overlay_map::state::zero) {
            freed = map_.count_of(overlay_map::state::data, first, count);
        }
        const std::uint64_t before = map_.pages();
        map_.set(first, count, what);
        unused = taken.pages - (map_.pages() - before); // another writer made one of them
        taken_blocks_ += taken.fresh;
        taken_blocks_ -= freed;
    }
    space_->give_back(freed, unused);
}

// What a failed write left in blocks that the map doesn't have is never read; its space goes back.
// A block that was a hole may hold something now.
void point_overlay::undo(const taking &taken) {
    std::uint64_t at = taken.blocks.first;
    std::uint64_t unused = taken.fresh;
    while (at < taken.blocks.last) {
        const auto run = look(at, taken.blocks.last - at);
        if (run.what == overlay_map::state::below) {
            static_cast<void>(
                data_->zero({at * block_bytes, run.count * block_bytes}, false, true));
        } else if (run.what == overlay_map::state::zero && taken.fresh > 0) {
            const std::lock_guard lock(mutex_);
            map_.set(at, run.count, overlay_map::state::data);
            taken_blocks_ += run.count;
            unused -= run.count;
        }
        at += run.count;
    }
    space_->give_back(unused, taken.pages);
}

result<> point_overlay::write(std::uint64_t offset, bytes_view data, bool fua) {
    REPL_ASSERT(offset <= size_ && data.size() <= size_ - offset);
    {
        const turn mine(*this, {offset, data.size()});
        FS_CHECK(write_here(offset, data));
    }
    return fua ? flush() : result<>{};
}

/// In the writer's turn.
result<> point_overlay::write_here(std::uint64_t offset, bytes_view data) {
    if (data.empty()) {
        return {};
    }
    FS_CHECK(check_alive());
    FS_TRY(taken, take(blocks_of({offset, data.size()}), true));
    if (auto done = put(offset, data); !done) {
        undo(taken);
        return done;
    }
    keep(taken, overlay_map::state::data);
    return {};
}

result<> point_overlay::put(std::uint64_t offset, bytes_view data) {
    while (!data.empty()) {
        const std::uint64_t inside = offset % block_bytes;
        std::size_t some = 0;
        if (inside == 0 && data.size() >= block_bytes) {
            some = data.size() / block_bytes * block_bytes;
            FS_CHECK(data_->write_at(offset, data.first(some)));
        } else {
            some = std::min(data.size(), static_cast<std::size_t>(block_bytes - inside));
            FS_CHECK(put_part(offset, data.first(some)));
        }
        offset += some;
        data = data.subspan(some);
    }
    return {};
}

result<> point_overlay::put_part(std::uint64_t offset, bytes_view part) {
    const block_index block{offset / block_bytes};
    if (look(block.value, 1).what != overlay_map::state::below) {
        return data_->write_at(offset, part);
    }
    buffer whole(static_cast<std::size_t>(block_bytes));
    std::ranges::fill(whole.span(), std::byte{0});
    const std::uint64_t start = block.value * block_bytes;
    FS_CHECK(below_->read(
        start, whole.span().first(static_cast<std::size_t>(bytes_in_block(block, size_)))));
    std::memcpy(whole.data() + (offset - start), part.data(), part.size());
    return data_->write_at(start, whole.view());
}

result<> point_overlay::trim(byte_range range, bool fua) {
    return write_zeroes(range, {.fua = fua});
}

result<> point_overlay::write_zeroes(byte_range range, zero_options options) {
    REPL_ASSERT(range.offset <= size_ && range.length <= size_ - range.offset);
    if (range.length > 0) {
        const turn mine(*this, range);
        const index_range whole = whole_blocks(range, size_);
        if (whole.count() > 0) { // first: only it may fail for being slow
            FS_CHECK(zero_whole(whole, options));
        }
        const std::uint64_t middle = std::min(whole.first * block_bytes, range.end());
        const std::uint64_t rest =
            std::max(middle, std::min(whole.last * block_bytes, range.end()));
        static constexpr std::array<std::byte, block_bytes> zeroes{};
        const bytes_view source(zeroes);
        FS_CHECK(write_here(range.offset, source.first(middle - range.offset)));
        FS_CHECK(write_here(rest, source.first(range.end() - rest)));
    }
    return options.fua ? flush() : result<>{};
}

result<> point_overlay::zero_whole(index_range blocks, zero_options options) {
    FS_CHECK(check_alive());
    FS_TRY(taken, take(blocks, options.keep_allocated));
    const byte_range bytes{blocks.first * block_bytes, blocks.count() * block_bytes};
    if (auto done = data_->zero(bytes, options.keep_allocated, options.only_if_fast); !done) {
        undo(taken);
        return done;
    }
    keep(taken, options.keep_allocated ? overlay_map::state::data : overlay_map::state::zero);
    return {};
}

result<> point_overlay::flush() {
    const std::lock_guard one(flushing_);
    FS_CHECK(check_alive());
    std::vector<overlay_map::page_image> fresh;
    { // first, so that it names no block whose content is not synced
        const std::lock_guard lock(mutex_);
        fresh = map_.take_fresh();
    }
    FS_CHECK(final(data_->sync_data()));
    for (const overlay_map::page_image &image : fresh) {
        const std::uint64_t at = overlay_header_bytes + image.number * overlay_map::page_bytes;
        if (auto written = map_file_->write_at(at, image.bytes); !written) {
            const std::lock_guard lock(mutex_); // no space, for instance: another flush tries again
            for (const overlay_map::page_image &page : fresh) {
                map_.renew(page.number);
            }
            return written;
        }
    }
    return fresh.empty() ? result<>{} : final(map_file_->sync_data());
}

result<> point_overlay::final(result<> synced) {
    dead_ = dead_ || !synced;
    return synced;
}

} // namespace farshore
