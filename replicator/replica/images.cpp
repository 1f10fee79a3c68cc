#include "replicator/replica/images.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace farshore {
namespace {

result<> check_size(file &disk, const group_volume &volume) {
    FS_TRY(size, disk.size());
    const bool fits = disk.block_special() ? size >= volume.size : size == volume.size;
    if (!fits) {
        return fail(errc::mismatch, fmt::format("{} has {} bytes, volume {} has {}", volume.path,
                                                size, volume.name, volume.size));
    }
    return {};
}

bool is_own(const group_volume &volume, const std::string &own_directory) {
    return !own_directory.empty() &&
           parent_path(volume.path) == parent_path(join_path(own_directory, "x"));
}

} // namespace

// An empty file is one that an earlier, interrupted create made: it has no content to keep.
result<> replica_images::create(file_system &files, std::span<const group_volume> volumes,
                                const std::string &own_directory) {
    for (const group_volume &volume : volumes) {
        FS_TRY(present, files.exists(volume.path));
        if (!present) {
            FS_CHECK(files.make_directories(parent_path(volume.path)));
        }
        const bool own = is_own(volume, own_directory);
        const open_mode fresh = own ? open_mode::create_no_link : open_mode::create;
        const open_mode known = own ? open_mode::read_write_no_link : open_mode::read_write;
        FS_TRY(disk, files.open(volume.path, present ? known : fresh));
        FS_CHECK(disk->lock());
        FS_TRY(size, disk->size());
        if (size == 0 && volume.size != 0 && !disk->block_special()) {
            FS_CHECK(disk->truncate(volume.size));
        }
        FS_CHECK(check_size(*disk, volume));
        FS_CHECK(disk->sync_all());
        FS_CHECK(files.sync_directory(parent_path(volume.path)));
    }
    return {};
}

result<std::unique_ptr<replica_images>> replica_images::open(file_system &files,
                                                             std::span<const group_volume> volumes,
                                                             const std::string &own_directory) {
    auto all = std::make_unique<replica_images>();
    for (const group_volume &volume : volumes) {
        FS_TRY(disk,
               files.open(volume.path, is_own(volume, own_directory) ? open_mode::read_write_no_link
                                                                     : open_mode::read_write));
        FS_CHECK(disk->lock());
        FS_CHECK(check_size(*disk, volume));
        disk->expect_scattered_use();
        all->images_.push_back({std::move(disk), volume.size});
        all->blocks_.push_back(block_count(volume.size));
    }
    return all;
}

result<> replica_images::check_kept(volume_index volume) const {
    if (lost_.load(std::memory_order_acquire)) {
        return fail(errc::dead, path(volume) +
                                    " is not read any more since a sync failed: what was written "
                                    "before it may be lost. The group is opened again, and writes "
                                    "it once more from its journal");
    }
    return {};
}

// Looked at after each read: the sync may fail, and its pages go, while one is under way.
result<> replica_images::read(volume_index volume, byte_range range, bytes_span out) const {
    const image &i = images_[volume.value];
    REPL_ASSERT(range.length == out.size() && range.offset <= i.size &&
                range.length <= i.size - range.offset);
    FS_CHECK(i.disk->read_at(range.offset, out));
    return check_kept(volume);
}

result<> replica_images::read_blocks(volume_index volume, std::uint64_t block,
                                     bytes_span out) const {
    const image &i = images_[volume.value];
    const std::uint64_t offset = block * block_bytes;
    REPL_ASSERT(out.size() % block_bytes == 0 && offset < i.size);
    const auto inside =
        static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), i.size - offset));
    FS_CHECK(i.disk->read_at(offset, out.first(inside)));
    std::ranges::fill(out.subspan(inside), std::byte{0});
    return check_kept(volume);
}

result<bool> replica_images::try_read_blocks(volume_index volume, std::uint64_t block,
                                             bytes_span out) const {
    const image &i = images_[volume.value];
    const std::uint64_t offset = block * block_bytes;
    if (offset > i.size || out.size() > i.size - offset) {
        return false;
    }
    FS_TRY(done, i.disk->read_at_cached(offset, out));
    FS_CHECK(check_kept(volume));
    return done;
}

result<> replica_images::write_blocks(volume_index volume, std::uint64_t block,
                                      bytes_view content) {
    image &i = images_[volume.value];
    const std::uint64_t offset = block * block_bytes;
    REPL_ASSERT(offset < i.size);
    i.dirty = true;
    return i.disk->write_at(offset, content.first(static_cast<std::size_t>(
                                        std::min<std::uint64_t>(content.size(), i.size - offset))));
}

result<> replica_images::zero_blocks(volume_index volume, std::uint64_t block,
                                     std::uint64_t count) {
    image &i = images_[volume.value];
    const std::uint64_t offset = block * block_bytes;
    REPL_ASSERT(offset < i.size);
    i.dirty = true;
    return i.disk->zero({offset, std::min(count * block_bytes, i.size - offset)}, false, false);
}

result<byte_range> replica_images::next_data(volume_index volume, std::uint64_t offset) const {
    const image &i = images_[volume.value];
    if (offset >= i.size) {
        return byte_range{i.size, 0};
    }
    FS_TRY(data, i.disk->next_data(offset));
    FS_CHECK(check_kept(volume));
    if (data.length == 0 || data.offset >= i.size) {
        return byte_range{i.size, 0};
    }
    data.length = std::min(data.length, i.size - data.offset);
    return data;
}

result<> replica_images::sync() {
    for (image &i : images_) {
        if (i.dirty) {
            if (auto synced = i.disk->sync_all(); !synced) {
                lost_.store(true, std::memory_order_release);
                return synced;
            }
            i.dirty = false;
        }
    }
    return {};
}

result<> replica_images::renew_times() {
    for (image &i : images_) {
        i.dirty = true;
        FS_CHECK(i.disk->renew_times());
    }
    return {};
}

result<> replica_images::check_named() const {
    for (const image &i : images_) {
        FS_TRY(named, i.disk->named());
        if (!named) {
            return fail(
                errc::not_found,
                i.disk->path() +
                    " is not the image that is open here any more: it was deleted, renamed or "
                    "replaced. Put it back; nothing more is acknowledged until then");
        }
    }
    return {};
}

result<std::vector<image_stamp>> replica_images::stamps() const {
    std::vector<image_stamp> all;
    for (const image &i : images_) {
        if (i.disk->block_special()) {
            all.push_back({0, i.size, 0, 0});
            continue;
        }
        FS_TRY(id, i.disk->identity());
        all.push_back({id.inode, id.size, id.modified, id.changed});
    }
    return all;
}

} // namespace farshore
