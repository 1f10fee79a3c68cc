#pragma once
// Collects operations into a payload and closes it when one of its limits is reached.
//
// Streams: full blocks, commands and literal bytes are collected apart and compressed as one unit,
// in that order; digests stay outside, since they don't compress and would disturb what does. Full
// blocks are copied straight to where the compressor reads them. What was measured and rejected
// stands in docs/formats-codec.md.

#include "dedupe/block_digest.hpp"
#include "dedupe/codec.hpp"
#include "dedupe/compress.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/format/codec_payload.hpp"

#include <functional>
#include <vector>

namespace farshore::dedupe {

/// A data block of which all is known; `digest`: with its position.
struct ready_block {
    const block_change &change;
    checksum128 digest;
};

class payload_builder {
  public:
    payload_builder(int level, std::size_t body_bytes);
    void set_level(int level) {
        stored_ = level == encoder_options::stored;
        packer_.set_level(level);
    }

    /// Positions grow within a payload. Each may close the payload before it.
    void zero(volume_index volume, block_index block, std::uint64_t count);
    void full(const ready_block &block);
    void delta(const ready_block &block, std::span<const codec_format::delta_run> runs,
               bytes_view literals);
    void rebuilt(const ready_block &block, bytes_view program, bytes_view literals);

    /// Closes the payload if the next data block doesn't fit it. To be called before a program is
    /// made, whose recent places are the payload's own.
    void make_room();
    void close();
    /// What is closed next is stored as it is: its blocks look random.
    void store_only(bool yes) { store_only_ = yes; }
    /// Of the payload that the next operation goes to, unless it closes it.
    std::uint64_t number() const { return number_; }
    std::vector<encoded_payload> take() { return std::exchange(payloads_, {}); }

  private:
    void add_digest(const checksum128 &digest);
    std::size_t assemble_body();

    const std::size_t body_bytes_max_;
    compressor packer_;
    bool store_only_ = false; ///< the next payload
    bool stored_ = false;     ///< every payload
    std::uint64_t number_ = 1;

    buffer body_;   ///< full blocks at its front while collecting, then the whole raw body
    buffer packed_; ///< compressed body
    codec_format::payload_header header_;
    byte_vector commands_;
    codec_format::command_writer writer_{commands_};
    byte_vector literals_;
    std::vector<le32> short_digests_;
    std::vector<wire_digest> full_digests_;
    byte_vector head_;
    std::vector<encoded_payload> payloads_;
};

} // namespace farshore::dedupe
