#include "dedupe/verify.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/format/codec_payload.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace farshore::dedupe {

namespace {

using place = std::pair<volume_index, block_index>;

bool changes_nothing(const block_change &change) {
    if (change.before.empty()) {
        return false;
    }
    return change.kind == change_kind::zero ? change.count == 1 && is_zero(change.before)
                                            : std::ranges::equal(change.before, change.content);
}

bool is_zeroing(const block_change &change) {
    return change.kind == change_kind::zero || is_zero(change.content);
}

/// What the payloads made of the interval: data blocks by place, zero runs cut into blocks' ranges.
struct decoded_interval {
    std::vector<decoded_payload> payloads; ///< own the bytes
    std::map<place, bytes_view> data;
    std::map<place, std::uint64_t> zeroed; ///< first block of a run and its length
};

bool zeroed(const decoded_interval &decoded, place at, std::uint64_t count) {
    const auto after = decoded.zeroed.upper_bound(at);
    if (after == decoded.zeroed.begin()) {
        return false;
    }
    const auto &[first, length] = *std::prev(after);
    return first.first == at.first && at.second.value + count <= first.second.value + length;
}

/// A block's content at the previous barrier, as the encoder knew it.
bool read_before(std::span<const block_change> changes, const source_reader &source, place at,
                 bytes_span out) {
    const auto found = std::ranges::lower_bound(
        changes, at, {}, [](const block_change &c) { return place(c.volume, c.block); });
    if (found != changes.end() && place(found->volume, found->block) == at &&
        found->kind == change_kind::data) {
        std::ranges::copy(found->before, out.begin());
        return !found->before.empty();
    }
    return source && source(at.first, at.second, out);
}

/// A loan is a block of the interval itself.
bool read_loan(std::span<const block_change> changes, std::span<const loan> loans,
               std::uint64_t slot, bytes_span out) {
    const auto lent = std::ranges::find(loans, slot, &loan::slot);
    if (lent == loans.end()) {
        return false;
    }
    const auto found =
        std::ranges::lower_bound(changes, place(lent->volume, lent->block), {},
                                 [](const block_change &c) { return place(c.volume, c.block); });
    REPL_ASSERT(found != changes.end() && found->content.size() == out.size());
    std::ranges::copy(found->content, out.begin());
    return true;
}

} // namespace

remembering_source::remembering_source(const source_reader &source) {
    ask_ = [this, &source](volume_index volume, block_index block, bytes_span out) {
        const bool known = source && source(volume, block, out);
        if (known) {
            seen_.insert_or_assign({volume, block}, buffer::copy_of(out));
        }
        return known;
    };
    recall_ = [this](volume_index volume, block_index block, bytes_span out) {
        const auto found = seen_.find({volume, block});
        if (found != seen_.end()) {
            std::ranges::copy(found->second.view(), out.begin());
        }
        return found != seen_.end();
    };
}

void verify_payloads(std::span<const block_change> changes,
                     std::span<const std::uint64_t> volume_blocks, const source_reader &source,
                     std::span<const loan> loans, std::span<const encoded_payload> payloads) {
    std::vector<std::uint64_t> blocks(volume_blocks.begin(), volume_blocks.end());
    if (!changes.empty() && blocks.size() <= changes.back().volume.value) {
        blocks.resize(changes.back().volume.value + std::size_t{1},
                      codec_format::blocks_per_volume_max);
    }
    const std::size_t source_only = loans.empty() ? 0 : 1;
    if (source_only > 0) {
        blocks.push_back(codec_format::blocks_per_volume_max);
    }
    decoded_interval decoded;
    const base_reader base = [&](volume_index volume, block_index block, bytes_span out) {
        if (source_only > 0 && volume.value + std::size_t{1} == blocks.size()) {
            REPL_ASSERT(read_loan(changes, loans, block.value, out));
            return result<>{};
        }
        REPL_ASSERT(read_before(changes, source, {volume, block}, out));
        return result<>{};
    };
    const base_reader now = [&](volume_index volume, block_index block, bytes_span out) {
        const auto found = decoded.data.find({volume, block});
        REPL_ASSERT(found != decoded.data.end());
        std::ranges::copy(found->second, out.begin());
        return result<>{};
    };
    decoder check;
    for (const encoded_payload &payload : payloads) {
        auto outcome = check.decode(payload.bytes.view(), blocks, base, now, source_only);
        REPL_ASSERT(outcome.has_value() && outcome->bad.empty() && !outcome->changes.empty());
        REPL_ASSERT(outcome->changes.size() == payload.blocks);
        for (const block_change &c : outcome->changes) {
            const bool fresh =
                c.kind == change_kind::zero
                    ? decoded.zeroed.emplace(place(c.volume, c.block), c.count).second
                    : decoded.data.emplace(place(c.volume, c.block), c.content).second;
            REPL_ASSERT(fresh);
        }
        decoded.payloads.push_back(std::move(*outcome));
    }
    std::size_t data_blocks = 0;
    std::uint64_t zero_blocks = 0;
    for (const block_change &change : changes) {
        if (changes_nothing(change)) {
            continue;
        }
        if (is_zeroing(change)) {
            REPL_ASSERT(zeroed(decoded, {change.volume, change.block}, change.count));
            zero_blocks += change.count;
        } else {
            const auto found = decoded.data.find({change.volume, change.block});
            REPL_ASSERT(found != decoded.data.end() &&
                        std::ranges::equal(found->second, change.content));
            ++data_blocks;
        }
    }
    REPL_ASSERT(data_blocks == decoded.data.size());
    for (const auto &[first, length] : decoded.zeroed) {
        zero_blocks -= length;
    }
    REPL_ASSERT(zero_blocks == 0);
}

} // namespace farshore::dedupe
