#include "replicator/replica/step_images.hpp"

#include "replicator/base/geometry.hpp"

#include <algorithm>

namespace farshore {

step_images::step_images(replica_images &images, std::size_t kept_bytes_max)
    : images_(images), data_(images.volume_blocks().size()), kept_(kept_bytes_max) {}

// Within a step the images don't change, so an answer holds for all offsets from where it was asked
// up to the end of the data it found.
result<byte_range> step_images::next_data(volume_index volume, std::uint64_t offset) {
    std::optional<known_data> &known = data_[volume.value];
    if (!known || offset < known->from ||
        (known->data.length != 0 && offset >= known->data.end())) {
        FS_TRY(data, images_.next_data(volume, offset));
        known = known_data{offset, data};
    }
    return known->data;
}

result<> step_images::read(volume_index volume, std::uint64_t block, bytes_span out) {
    const std::uint64_t count = out.size() / block_bytes;
    const auto part = [&](std::uint64_t first, std::uint64_t end) {
        return out.subspan(static_cast<std::size_t>(first * block_bytes),
                           static_cast<std::size_t>((end - first) * block_bytes));
    };
    std::uint64_t missing = 0; // the first block of a run of such
    for (std::uint64_t i = 0; i <= count; ++i) {
        const bool known = i == count || kept_.find(volume, block_index{block + i}, part(i, i + 1));
        if (known && i > missing) {
            FS_CHECK(images_.read_blocks(volume, block + missing, part(missing, i)));
        }
        missing = known ? i + 1 : missing;
    }
    return {};
}

result<> step_images::read_and_keep(volume_index volume, std::uint64_t block, bytes_span out) {
    if (!kept_.find(volume, block_index{block}, out)) {
        FS_CHECK(images_.read_blocks(volume, block, out));
        kept_.put(volume, block_index{block}, out);
    }
    return {};
}

void step_images::changed() {
    std::ranges::fill(data_, std::nullopt);
    kept_.clear();
}

} // namespace farshore
