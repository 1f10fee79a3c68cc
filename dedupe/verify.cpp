#include "dedupe/verify.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/format/codec_payload.hpp"

#include <algorithm>

namespace farshore::dedupe {

namespace {

bool stands_before(const block_change &change, volume_index volume, block_index block) {
    return change.volume != volume ? change.volume < volume : change.block < block;
}

/// `before` of exactly this block; the encoder makes a delta only where there is one.
bytes_view base_of(std::span<const block_change> changes, volume_index volume, block_index block) {
    const auto found = std::ranges::lower_bound(changes, 0, {}, [&](const block_change &c) {
        return stands_before(c, volume, block) ? -1 : 0;
    });
    REPL_ASSERT(found != changes.end() && found->volume == volume && found->block == block);
    REPL_ASSERT(found->before.size() == block_bytes);
    return found->before;
}

bool changes_nothing(const block_change &change) {
    if (change.before.empty()) {
        return false;
    }
    return change.kind == change_kind::zero ? change.count == 1 && is_zero(change.before)
                                            : std::ranges::equal(change.before, change.content);
}

/// Walks over decoded changes, giving back zero runs piece by piece.
class decoded_walk {
  public:
    explicit decoded_walk(std::span<const decoded_payload> decoded) : decoded_(decoded) {}

    void expect_zero(volume_index volume, block_index block, std::uint64_t count) {
        const block_change &now = current();
        REPL_ASSERT(now.kind == change_kind::zero && now.volume == volume);
        REPL_ASSERT(now.block.value + used_ == block.value && count <= now.count - used_);
        used_ += count;
        if (used_ == now.count) {
            advance();
        }
    }
    void expect_data(const block_change &change) {
        const block_change &now = current();
        REPL_ASSERT(now.kind == change_kind::data && now.volume == change.volume &&
                    now.block == change.block);
        REPL_ASSERT(std::ranges::equal(now.content, change.content));
        advance();
    }
    bool at_end() const { return payload_ == decoded_.size(); }

  private:
    const block_change &current() const {
        REPL_ASSERT(!at_end());
        return decoded_[payload_].changes[change_];
    }
    void advance() {
        used_ = 0;
        if (++change_ == decoded_[payload_].changes.size()) {
            change_ = 0;
            ++payload_;
        }
    }

    std::span<const decoded_payload> decoded_;
    std::size_t payload_ = 0;
    std::size_t change_ = 0;
    std::uint64_t used_ = 0; ///< blocks of the current zero run
};

} // namespace

void verify_payloads(std::span<const block_change> changes,
                     std::span<const encoded_payload> payloads) {
    const std::size_t volumes = changes.empty() ? 0 : changes.back().volume.value + std::size_t{1};
    const std::vector<std::uint64_t> volume_blocks(volumes, codec_format::blocks_per_volume_max);
    const base_reader base = [&](volume_index volume, block_index block, bytes_span out) {
        std::ranges::copy(base_of(changes, volume, block), out.begin());
        return result<>{};
    };
    decoder check;
    std::vector<decoded_payload> decoded;
    for (const encoded_payload &payload : payloads) {
        auto outcome = check.decode(payload.bytes.view(), volume_blocks, base);
        REPL_ASSERT(outcome.has_value() && outcome->bad.empty() && !outcome->changes.empty());
        REPL_ASSERT(outcome->changes.size() == payload.blocks);
        decoded.push_back(std::move(*outcome));
    }
    decoded_walk walk(decoded);
    for (const block_change &change : changes) {
        if (changes_nothing(change)) {
            continue;
        }
        if (change.kind == change_kind::zero || is_zero(change.content)) {
            walk.expect_zero(change.volume, change.block, change.count);
        } else {
            walk.expect_data(change);
        }
    }
    REPL_ASSERT(walk.at_end());
}

} // namespace farshore::dedupe
