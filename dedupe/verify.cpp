#include "dedupe/verify.hpp"

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

result<> expect(bool good, const char *else_found) {
    return good ? result<>{}
                : result<>(fail(errc::mismatch, std::string("the payloads have ") + else_found));
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
    if (found == changes.end() || found->content.size() != out.size()) {
        return false;
    }
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

result<> verify_payloads(std::span<const block_change> changes,
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
            return expect(read_loan(changes, loans, block.value, out),
                          "a loan that was not granted");
        }
        return expect(read_before(changes, source, {volume, block}, out),
                      "a place that is not known");
    };
    const base_reader now = [&](volume_index volume, block_index block, bytes_span out) {
        const auto found = decoded.data.find({volume, block});
        if (found != decoded.data.end()) {
            std::ranges::copy(found->second, out.begin());
        }
        return expect(found != decoded.data.end(), "a place that is not there yet");
    };
    decoder check;
    for (const encoded_payload &payload : payloads) {
        auto outcome = check.decode(payload.bytes.view(), blocks, base, now, source_only);
        if (!outcome) {
            return fail(errc::mismatch, "a payload does not decode: " + outcome.error().text());
        }
        FS_CHECK(expect(outcome->bad.empty() && !outcome->changes.empty() &&
                            outcome->changes.size() == payload.blocks,
                        "a payload with wrong blocks"));
        for (const block_change &c : outcome->changes) {
            const bool fresh =
                c.kind == change_kind::zero
                    ? decoded.zeroed.emplace(place(c.volume, c.block), c.count).second
                    : decoded.data.emplace(place(c.volume, c.block), c.content).second;
            FS_CHECK(expect(fresh, "a block that is changed twice"));
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
            FS_CHECK(expect(zeroed(decoded, {change.volume, change.block}, change.count),
                            "a block that does not become zero"));
            zero_blocks += change.count;
        } else {
            const auto found = decoded.data.find({change.volume, change.block});
            FS_CHECK(expect(found != decoded.data.end() &&
                                std::ranges::equal(found->second, change.content),
                            "a block of other content"));
            ++data_blocks;
        }
    }
    FS_CHECK(expect(data_blocks == decoded.data.size(), "blocks that did not change"));
    for (const auto &[first, length] : decoded.zeroed) {
        zero_blocks -= length;
    }
    return expect(zero_blocks == 0, "zeroes that nobody wrote");
}

} // namespace farshore::dedupe
