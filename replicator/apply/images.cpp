#include "replicator/apply/images.hpp"

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

} // namespace

// An empty file is one that an earlier, interrupted create made: it has no content to keep.
result<> replica_images::create(file_system &files, std::span<const group_volume> volumes) {
    for (const group_volume &volume : volumes) {
        FS_TRY(present, files.exists(volume.path));
        if (!present) {
            FS_CHECK(files.make_directories(parent_path(volume.path)));
        }
        FS_TRY(disk, files.open(volume.path, present ? open_mode::read_write : open_mode::create));
        FS_CHECK(disk->lock());
        FS_TRY(size, disk->size());
        if (size == 0 && volume.size != 0 && !disk->block_special()) {
            FS_CHECK(disk->truncate(volume.size));
        }
        FS_CHECK(check_size(*disk, volume));
        FS_CHECK(disk->sync_data());
        FS_CHECK(files.sync_directory(parent_path(volume.path)));
    }
    return {};
}

result<std::unique_ptr<replica_images>>
replica_images::open(file_system &files, std::span<const group_volume> volumes) {
    auto all = std::make_unique<replica_images>();
    for (const group_volume &volume : volumes) {
        FS_TRY(disk, files.open(volume.path, open_mode::read_write));
        FS_CHECK(disk->lock());
        FS_CHECK(check_size(*disk, volume));
        disk->expect_scattered_use();
        all->images_.push_back({std::move(disk), volume.size, false});
        all->blocks_.push_back(block_count(volume.size));
    }
    return all;
}

result<> replica_images::read(volume_index volume, byte_range range, bytes_span out) const {
    const image &i = images_[volume.value];
    REPL_ASSERT(range.length == out.size() && range.offset <= i.size &&
                range.length <= i.size - range.offset);
    return i.disk->read_at(range.offset, out);
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
    return {};
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
    if (data.length == 0 || data.offset >= i.size) {
        return byte_range{i.size, 0};
    }
    data.length = std::min(data.length, i.size - data.offset);
    return data;
}

result<> replica_images::sync() {
    for (image &i : images_) {
        if (i.dirty) {
            FS_CHECK(i.disk->sync_data());
            i.dirty = false;
        }
    }
    return {};
}

} // namespace farshore
