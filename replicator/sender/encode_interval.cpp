#include "replicator/sender/encode_interval.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/format/endian.hpp"

#include <utility>

namespace farshore {

result<encoded_interval> encode_interval(dedupe::encoder &encoder, const interval &closed,
                                         std::uint64_t heals, const dedupe::source_reader &source,
                                         std::span<const dedupe::loan> loans,
                                         std::optional<point_label> label) {
    encoded_interval out;
    const stream_position position = closed.position();
    barrier commit = closed.commit();
    commit.heals = heals;
    commit.label = std::move(label);
    checksum_stream checksums;
    std::uint32_t index = 0;
    const auto add = [&](frame_header header, bytes_view payload) {
        header.stream = position.stream;
        header.interval = position.interval;
        header.index = index++;
        out.frames.push_back(make_frame(header, payload));
        out.what.bytes += out.frames.back().size();
    };
    const std::vector<block_change> changes = closed.changes();
    for (const dedupe::encoded_payload &p : encoder.encode(changes, source, loans)) {
        frame_header header;
        header.type = frame_type::data;
        header.raw_bytes = p.raw_bytes;
        header.blocks = p.blocks;
        add(header, p.bytes.view());
        commit.blocks += p.blocks;
        const le64 sum = checksum64(p.bytes.view());
        checksums.update(struct_bytes(sum));
    }
    FS_CHECK(encoder.self_check());
    commit.data_frames = index;
    commit.frames_checksum = checksums.digest64();
    for (const block_change &c : changes) {
        out.folded_bytes += c.kind == change_kind::data ? block_bytes : 0;
    }
    frame_header header;
    header.type = frame_type::barrier;
    add(header, encode_barrier(commit));
    out.what.position = position;
    out.what.commit = std::move(commit);
    out.what.frames = index;
    out.what.first_write = closed.first_write().value_or(closed.closed_at());
    return out;
}

} // namespace farshore
