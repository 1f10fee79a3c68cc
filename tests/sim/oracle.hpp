#pragma once
// What the group looked like after every prefix of its writes: the judge of the prefix promise.
//
// For each 4 KiB block the oracle keeps the history of its content as (sequence, checksum) pairs.
// An image of the whole group is a prefix k when every block has, in it, the content that it had
// after write k. Contents may repeat, so each block allows a set of ranges of k; the image is
// judged by intersecting them.

#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"

#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace farshore::sim {

class oracle {
  public:
    explicit oracle(std::vector<std::uint64_t> sizes)
        : content_(sizes.size()), history_(sizes.size()) {
        for (std::size_t v = 0; v < sizes.size(); ++v) {
            content_[v].resize(sizes[v]);
            history_[v].resize(block_count(sizes[v]));
            for (std::uint64_t b = 0; b < history_[v].size(); ++b) {
                history_[v][b].push_back({0, checksum_of(v, b)});
            }
        }
    }

    std::uint64_t sequence() const { return sequence_; }
    const byte_vector &content(std::size_t v) const { return content_[v]; }

    /// The next write of the group: the bytes are now there.
    void write(std::size_t v, std::uint64_t offset, bytes_view data) {
        ++sequence_;
        std::copy(data.begin(), data.end(),
                  content_[v].begin() + static_cast<std::ptrdiff_t>(offset));
        note(v, {offset, data.size()});
    }
    void zero(std::size_t v, byte_range range) {
        ++sequence_;
        std::fill_n(content_[v].begin() + static_cast<std::ptrdiff_t>(range.offset), range.length,
                    std::byte{});
        note(v, range);
    }
    /// The primary came back with other content than written (a power cut there, or a write that
    /// failed): one step of its own, over all volumes at once.
    void becomes(const std::vector<byte_vector> &images) {
        ++sequence_;
        for (std::size_t v = 0; v < images.size(); ++v) {
            content_[v] = images[v];
            note(v, {0, content_[v].size()});
        }
    }

    /// From here on the block may show any content: the primary could not read it for a time.
    void forget(std::size_t v, std::uint64_t block) { forgotten_.emplace(v, block); }

    /// The newest k, at most `until`, whose prefix these images are; nothing when there is none.
    std::optional<std::uint64_t>
    newest_prefix(const std::vector<byte_vector> &images,
                  std::uint64_t until = std::numeric_limits<std::uint64_t>::max()) const {
        std::vector<std::int64_t> change(sequence_ + 2, 0);
        std::int64_t blocks = 0;
        for (std::size_t v = 0; v < images.size(); ++v) {
            for (std::uint64_t b = 0; b < history_[v].size(); ++b) {
                if (forgotten_.contains({v, b})) {
                    continue;
                }
                ++blocks;
                const std::uint64_t sum = checksum64(block_of(images[v], b));
                const auto &h = history_[v][b];
                for (std::size_t i = 0; i < h.size(); ++i) {
                    if (h[i].checksum == sum) {
                        ++change[h[i].from];
                        --change[i + 1 < h.size() ? h[i + 1].from : sequence_ + 1];
                    }
                }
            }
        }
        std::optional<std::uint64_t> best;
        std::int64_t fitting = 0;
        for (std::uint64_t k = 0; k <= sequence_; ++k) {
            fitting += change[k];
            if (fitting == blocks && k <= until) {
                best = k;
            }
        }
        return best;
    }

  private:
    struct version {
        std::uint64_t from = 0;
        std::uint64_t checksum = 0;
    };
    static bytes_view block_of(const byte_vector &image, std::uint64_t b) {
        const std::uint64_t at = b * block_bytes;
        return bytes_view(image).subspan(at,
                                         std::min<std::uint64_t>(block_bytes, image.size() - at));
    }
    std::uint64_t checksum_of(std::size_t v, std::uint64_t b) const {
        return checksum64(block_of(content_[v], b));
    }
    void note(std::size_t v, byte_range range) {
        const index_range blocks = blocks_of(range);
        for (std::uint64_t b = blocks.first; b < blocks.last; ++b) {
            const std::uint64_t sum = checksum_of(v, b);
            if (history_[v][b].back().checksum != sum) {
                history_[v][b].push_back({sequence_, sum});
            }
        }
    }

    std::vector<byte_vector> content_;
    std::vector<std::vector<std::vector<version>>> history_;
    std::set<std::pair<std::size_t, std::uint64_t>> forgotten_;
    std::uint64_t sequence_ = 0;
};

} // namespace farshore::sim
