#include "replicator/base/hash.hpp"

#include "replicator/base/assert.hpp"

#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace farshore {

std::uint64_t checksum64(bytes_view bytes, std::uint64_t seed) {
    return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

checksum128 checksum_128(bytes_view bytes, std::uint64_t seed) {
    const XXH128_hash_t h = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
    return {h.low64, h.high64};
}

struct checksum_stream::state {
    XXH3_state_t *xxh;
};

checksum_stream::checksum_stream() : state_(new state{XXH3_createState()}) {
    REPL_ASSERT(state_->xxh != nullptr);
    XXH3_128bits_reset(state_->xxh);
}
checksum_stream::~checksum_stream() {
    if (state_ != nullptr) {
        XXH3_freeState(state_->xxh);
        delete state_;
    }
}
checksum_stream::checksum_stream(checksum_stream &&o) noexcept
    : state_(std::exchange(o.state_, nullptr)) {}
checksum_stream &checksum_stream::operator=(checksum_stream &&o) noexcept {
    std::swap(state_, o.state_);
    return *this;
}
void checksum_stream::update(bytes_view bytes) {
    XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size());
}
checksum128 checksum_stream::digest128() const {
    const XXH128_hash_t h = XXH3_128bits_digest(state_->xxh);
    return {h.low64, h.high64};
}
std::uint64_t checksum_stream::digest64() const { return digest128().low; }

} // namespace farshore
