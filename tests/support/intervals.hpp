#pragma once
// Frames of made-up intervals for tests of logs and the replica.

#include "replicator/base/hash.hpp"
#include "replicator/format/endian.hpp"
#include "replicator/format/frame.hpp"

#include <vector>

namespace farshore::test {

struct data_payload {
    byte_vector bytes;
    std::uint32_t blocks = 0;
    std::uint32_t raw_bytes = 0;
};

/// All frames of one interval: the payloads' data frames and the barrier, its counts filled in.
inline std::vector<buffer>
make_interval(stream_position position, const std::vector<data_payload> &payloads, barrier commit) {
    std::vector<buffer> frames;
    checksum_stream checksums;
    frame_header header;
    header.stream = position.stream;
    header.interval = position.interval;
    commit.blocks = 0;
    for (const data_payload &payload : payloads) {
        header.blocks = payload.blocks;
        header.raw_bytes = payload.raw_bytes;
        frames.push_back(make_frame(header, payload.bytes));
        const le64 sum(checksum64(payload.bytes));
        checksums.update(struct_bytes(sum));
        commit.blocks += payload.blocks;
        ++header.index;
    }
    commit.data_frames = header.index;
    commit.frames_checksum = checksums.digest64();
    header.type = frame_type::barrier;
    header.blocks = 0;
    header.raw_bytes = 0;
    frames.push_back(make_frame(header, encode_barrier(commit)));
    return frames;
}

/// An interval of `count` data frames of `size` bytes that follow from the id alone.
inline std::vector<buffer> plain_interval(std::uint64_t id, std::size_t count, std::size_t size,
                                          std::uint64_t stream = 7) {
    std::vector<data_payload> payloads(count);
    std::uint64_t x = id;
    for (data_payload &p : payloads) {
        p.bytes.resize(size);
        for (std::byte &b : p.bytes) {
            x = x * 6364136223846793005U + 1442695040888963407U;
            b = static_cast<std::byte>(x >> 56);
        }
        p.blocks = 1;
        p.raw_bytes = 4096;
    }
    barrier commit;
    commit.consistent = true;
    commit.time = wall_time(std::chrono::seconds(id));
    return make_interval({stream_id{stream}, interval_id{id}}, payloads, commit);
}

} // namespace farshore::test
