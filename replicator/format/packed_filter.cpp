#include "replicator/format/packed_filter.hpp"

#include "replicator/format/endian.hpp"

#include <algorithm>

namespace farshore {
namespace {

constexpr std::uint64_t bits_per_row = 12;
constexpr std::uint64_t short_run_max = 16; ///< blocks that are put in one by one

struct filter_disk {
    le32 words;
    le32 reserved;
};
struct run_disk {
    le64 key;
    le64 count;
};
static_assert(sizeof(filter_disk) == 8 && sizeof(run_disk) == 16);

// MurmurHash3's finalizer.
std::uint64_t mix(std::uint64_t key) {
    key ^= key >> 33;
    key *= 0xff51afd7ed558ccdULL;
    key ^= key >> 33;
    key *= 0xc4ceb9fe1a85ec53ULL;
    return key ^ key >> 33;
}

std::uint64_t bits_of(std::uint64_t hash) {
    std::uint64_t bits = 0;
    for (unsigned shift = 0; shift < 24; shift += 6) {
        bits |= std::uint64_t{1} << (hash >> shift & 63);
    }
    return bits;
}

std::size_t word_of(std::uint64_t hash, std::size_t words) {
    return static_cast<std::size_t>((hash >> 32) * words >> 32);
}

} // namespace

packed_filter::packed_filter(std::uint64_t rows)
    : words_(static_cast<std::size_t>(
          std::clamp<std::uint64_t>(rows * bits_per_row / 64 + 1, 1, UINT32_MAX))) {}

void packed_filter::add(std::uint64_t key, std::uint64_t count) {
    if (count > short_run_max) {
        if (runs_.empty() || runs_.back().key != key) {
            runs_.push_back({key, count});
        }
        return;
    }
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t hash = mix(key + i);
        words_[word_of(hash, words_.size())] |= bits_of(hash);
    }
}

bool packed_filter::may_hold(std::uint64_t key) const {
    const std::uint64_t hash = mix(key);
    const std::uint64_t bits = bits_of(hash);
    if ((words_[word_of(hash, words_.size())] & bits) == bits) {
        return true;
    }
    const auto after = std::ranges::upper_bound(runs_, key, {}, &long_run::key);
    return after != runs_.begin() && key - std::prev(after)->key < std::prev(after)->count;
}

byte_vector packed_filter::encode() const {
    byte_vector out;
    append_struct(out, filter_disk{static_cast<std::uint32_t>(words_.size()), 0U});
    for (const std::uint64_t word : words_) {
        append_struct(out, le64(word));
    }
    for (const long_run &run : runs_) {
        append_struct(out, run_disk{run.key, run.count});
    }
    return out;
}

result<packed_filter> packed_filter::parse(bytes_view bytes) {
    byte_reader r(bytes);
    FS_TRY(disk, r.structure<filter_disk>());
    if (disk.words == 0 || disk.words > r.remaining() / sizeof(le64) || disk.reserved != 0) {
        return fail(errc::corrupt, "packed history: a filter out of range");
    }
    packed_filter filter(0);
    filter.words_.resize(disk.words);
    for (std::uint64_t &word : filter.words_) {
        FS_TRY(value, r.structure<le64>());
        word = value;
    }
    while (!r.at_end()) {
        FS_TRY(run, r.structure<run_disk>());
        if (!filter.runs_.empty() && run.key <= filter.runs_.back().key) {
            return fail(errc::corrupt, "packed history: a filter out of order");
        }
        filter.runs_.push_back({run.key, run.count});
    }
    return filter;
}

} // namespace farshore
