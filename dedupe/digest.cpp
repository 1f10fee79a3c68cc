#include "dedupe/digest.hpp"

#include "replicator/base/assert.hpp"

#include <openssl/evp.h>

#include <cstring>

namespace farshore::dedupe {

namespace {

/// Looked up once: fetching takes longer than hashing a block. Never freed.
const EVP_MD *sha256() {
    static EVP_MD *const algorithm = EVP_MD_fetch(nullptr, "SHA2-256", nullptr);
    REPL_ASSERT(algorithm != nullptr);
    return algorithm;
}

struct free_context {
    void operator()(EVP_MD_CTX *context) const { EVP_MD_CTX_free(context); }
};

} // namespace

struct digester::impl {
    digest_key key;
    std::unique_ptr<EVP_MD_CTX, free_context> context{EVP_MD_CTX_new()};
};

digester::digester(const digest_key &key) : impl_(std::make_unique<impl>(impl{key})) {
    REPL_ASSERT(impl_->context != nullptr);
}
digester::~digester() = default;
digester::digester(digester &&) noexcept = default;

range_digest digester::of(bytes_view bytes) {
    range_digest digest;
    if (is_zero(bytes)) {
        return digest;
    }
    EVP_MD_CTX *const context = impl_->context.get();
    std::array<std::byte, 32> full{};
    unsigned int length = 0;
    const bool done = EVP_DigestInit_ex2(context, sha256(), nullptr) == 1 &&
                      EVP_DigestUpdate(context, impl_->key.data(), impl_->key.size()) == 1 &&
                      EVP_DigestUpdate(context, bytes.data(), bytes.size()) == 1 &&
                      EVP_DigestFinal_ex(context, as_unsigned(bytes_span(full)), &length) == 1;
    REPL_ASSERT(done && length == full.size());
    std::memcpy(digest.bytes.data(), full.data(), digest.bytes.size());
    if (digest.is_zero_content()) {
        digest.bytes.back() = std::byte{1}; // the zero value is taken
    }
    return digest;
}

} // namespace farshore::dedupe
