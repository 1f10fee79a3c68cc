#pragma once
// A primary in miniature for tests of the replica: volumes as vectors, random writes, intervals
// made by the real encoder, and what each volume held at every barrier.

#include "dedupe/codec.hpp"
#include "dedupe/digest.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/replica/replica_group.hpp"
#include "tests/support/intervals.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace farshore::test {

using image_set = std::vector<byte_vector>;

class primary_model {
  public:
    primary_model(std::uint64_t seed, std::vector<std::uint64_t> sizes)
        : random_(seed), dedupe_(dedupe::encoder_options{}) {
        for (const std::uint64_t size : sizes) {
            images_.emplace_back(size);
        }
        states_[0] = images_;
    }

    std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : random_() % bound; }
    const image_set &now() const { return images_; }
    /// What the volumes held after interval `id`.
    const image_set &at(interval_id id) const { return states_.at(id.value); }
    stream_position position() const { return position_; }
    stream_id stream() const { return stream_id{stream_}; } ///< of the next interval
    void forget_before(std::uint64_t id) {
        states_.erase(states_.begin(), states_.lower_bound(id));
    }
    /// The states between these two go; a model of a long story is large.
    void forget_between(std::uint64_t first, std::uint64_t last) {
        states_.erase(states_.upper_bound(first), states_.lower_bound(last));
    }
    /// A new stream, as after a catch-up.
    void begin_stream() { ++stream_; }

    /// Writes at random and returns the frames of the interval.
    std::vector<buffer> interval(std::size_t writes, barrier commit) {
        const image_set before = images_;
        std::set<std::pair<std::uint16_t, std::uint64_t>> touched;
        for (std::size_t i = 0; i < writes; ++i) {
            write(touched);
        }
        return frames_of(before, touched, std::move(commit));
    }
    /// The same for chosen writes: `change` alters images() and names the blocks.
    template <class F>
    std::vector<buffer> interval_by(F change, barrier commit) {
        const image_set before = images_;
        std::set<std::pair<std::uint16_t, std::uint64_t>> touched;
        change(images_, touched);
        return frames_of(before, touched, std::move(commit));
    }
    /// All blocks of the volumes as they are, without bases: a full catch-up.
    std::vector<buffer> everything(barrier commit) {
        begin_stream();
        std::set<std::pair<std::uint16_t, std::uint64_t>> all;
        for (std::uint16_t v = 0; v < images_.size(); ++v) {
            for (std::uint64_t b = 0; b < block_count(images_[v].size()); ++b) {
                all.emplace(v, b);
            }
        }
        return frames_of({}, all, std::move(commit));
    }

    static barrier plain(bool consistent = true) {
        barrier b;
        b.consistent = consistent;
        return b;
    }

  private:
    using block_set = std::set<std::pair<std::uint16_t, std::uint64_t>>;

    void write(block_set &touched) {
        const auto v = static_cast<std::uint16_t>(below(images_.size()));
        byte_vector &image = images_[v];
        const std::uint64_t blocks = block_count(image.size());
        const std::uint64_t first = below(blocks);
        const std::uint64_t kind = below(10);
        const std::uint64_t count =
            std::min(blocks - first, kind < 2 ? below(40) + 1 : below(4) + 1);
        for (std::uint64_t b = first; b < first + count; ++b) {
            const std::uint64_t bytes = bytes_in_block(block_index{b}, image.size());
            std::byte *block = image.data() + b * block_bytes;
            touched.emplace(v, b);
            if (kind < 2) {
                std::fill_n(block, bytes, std::byte{0});
            } else if (kind < 6) {
                for (int n = 0; n < 20; ++n) { // a few bytes: a delta
                    block[below(bytes)] = static_cast<std::byte>(random_());
                }
            } else {
                std::generate_n(block, bytes, [&] { return static_cast<std::byte>(random_()); });
            }
        }
    }

    std::vector<buffer> frames_of(const image_set &before, const block_set &touched,
                                  barrier commit) {
        std::vector<buffer> contents;
        std::vector<block_change> changes;
        const auto padded = [&](const image_set &images, std::uint16_t v, std::uint64_t b) {
            buffer block(static_cast<std::size_t>(block_bytes));
            std::ranges::fill(block.span(), std::byte{0});
            std::copy_n(images[v].data() + b * block_bytes,
                        bytes_in_block(block_index{b}, images[v].size()), block.data());
            contents.push_back(std::move(block));
            return contents.back().view();
        };
        for (const auto &[v, b] : touched) {
            block_change c;
            c.volume = volume_index{v};
            c.block = block_index{b};
            const bytes_view content = padded(images_, v, b);
            if (is_zero(content)) {
                c.kind = change_kind::zero;
                if (!changes.empty() && changes.back().kind == change_kind::zero &&
                    changes.back().volume == c.volume &&
                    changes.back().block.value + changes.back().count == b) {
                    ++changes.back().count;
                    continue;
                }
            } else {
                c.content = content;
                if (!before.empty() && below(4) != 0) { // the sender does not always have it
                    c.before = padded(before, v, b);
                }
            }
            changes.push_back(c);
        }
        std::vector<data_payload> payloads;
        for (dedupe::encoded_payload &p : dedupe_.encode(changes)) {
            payloads.push_back(
                {{p.bytes.view().begin(), p.bytes.view().end()}, p.blocks, p.raw_bytes});
        }
        position_ = {stream_id{stream_}, next(position_.interval)};
        commit.time = wall_time(std::chrono::seconds(1'000'000 + position_.interval.value));
        states_[position_.interval.value] = images_;
        return make_interval(position_, payloads, std::move(commit));
    }

    std::mt19937_64 random_;
    dedupe::encoder dedupe_;
    image_set images_;
    std::map<std::uint64_t, image_set> states_;
    std::uint64_t stream_ = 1;
    stream_position position_;
};

/// The replica's images through the group.
inline result<image_set> read_images(replica_group &group) {
    image_set images;
    for (std::uint16_t v = 0; v < group.volumes().size(); ++v) {
        byte_vector bytes(group.volumes()[v].size);
        FS_CHECK(group.read_replica(volume_index{v}, {0, bytes.size()}, bytes));
        images.push_back(std::move(bytes));
    }
    return images;
}

/// All volumes of an open point.
inline result<image_set> read_point(const open_replica_point &point) {
    image_set images;
    for (const auto &device : point.devices) {
        byte_vector bytes(device->size());
        FS_CHECK(device->read(0, bytes));
        images.push_back(std::move(bytes));
    }
    return images;
}

inline result<> append_all(replica_group &group, const std::vector<buffer> &frames) {
    for (const buffer &frame : frames) {
        FS_CHECK(group.append(frame.view()));
    }
    return {};
}

/// Applies until nothing is left.
inline result<apply_outcome> apply_all(replica_group &group) {
    apply_outcome sum;
    for (;;) {
        FS_TRY(one, group.apply());
        if (one.intervals == 0) {
            return sum;
        }
        sum.intervals += one.intervals;
        sum.applied = one.applied;
        sum.bytes_written += one.bytes_written;
        sum.damaged.insert(sum.damaged.end(), one.damaged.begin(), one.damaged.end());
        sum.verified.insert(sum.verified.end(), one.verified.begin(), one.verified.end());
    }
}

inline std::vector<replica_volume> volumes_of(const std::vector<std::uint64_t> &sizes,
                                              const std::string &directory = "/images") {
    std::vector<replica_volume> volumes;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        const std::string name = "vol" + std::to_string(i);
        volumes.push_back({name, sizes[i], directory + "/" + name + ".img"});
    }
    return volumes;
}

} // namespace farshore::test
