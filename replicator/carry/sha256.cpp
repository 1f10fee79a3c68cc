#include "replicator/carry/sha256.hpp"

#include "replicator/base/assert.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <csignal>

namespace farshore::carry {
namespace {

constexpr std::size_t zeroes_at_once = 64 * 1024;

class digest {
  public:
    digest() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
        REPL_ASSERT(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
    }
    void add(bytes_view bytes) {
        REPL_ASSERT(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
    }
    void add_zeroes(std::uint64_t count) {
        static constexpr std::array<std::byte, zeroes_at_once> zeroes{};
        while (count > 0) {
            const auto now =
                static_cast<std::size_t>(std::min<std::uint64_t>(count, zeroes.size()));
            add(bytes_view(zeroes).first(now));
            count -= now;
        }
    }
    std::string hex() {
        std::array<unsigned char, EVP_MAX_MD_SIZE> raw{};
        unsigned length = 0;
        REPL_ASSERT(EVP_DigestFinal_ex(context_.get(), raw.data(), &length) == 1);
        constexpr const char *digits = "0123456789abcdef";
        std::string out;
        for (unsigned i = 0; i < length; ++i) {
            out += digits[raw[i] >> 4];
            out += digits[raw[i] & 15];
        }
        return out;
    }

  private:
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

} // namespace

std::string sha256_of(bytes_view bytes) {
    digest d;
    d.add(bytes);
    return d.hex();
}

// Signals belong to the thread that works: one that came here would not wake it.
sha256_thread::sha256_thread() {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

sha256_thread::~sha256_thread() {
    {
        const std::lock_guard held(lock_);
        queue_.clear();
        ended_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) {
        thread_.join();
    }
}

void sha256_thread::add(shared_bytes bytes, std::uint64_t length) {
    std::unique_lock held(lock_);
    REPL_ASSERT(!ended_ && (!bytes || length <= bytes->size()));
    changed_.wait(held, [&] { return queue_.size() < sha256_queue_max; });
    queue_.push_back({std::move(bytes), length});
    held.unlock();
    changed_.notify_all();
}

void sha256_thread::add_copy(bytes_view bytes) {
    add(std::make_shared<const byte_vector>(bytes.begin(), bytes.end()), bytes.size());
}

std::string sha256_thread::finish() {
    {
        const std::lock_guard held(lock_);
        ended_ = true;
    }
    changed_.notify_all();
    thread_.join();
    return digest_;
}

void sha256_thread::run() {
    digest d;
    std::unique_lock held(lock_);
    for (;;) {
        changed_.wait(held, [&] { return ended_ || !queue_.empty(); });
        if (queue_.empty()) {
            digest_ = d.hex();
            return;
        }
        piece next = std::move(queue_.front());
        queue_.pop_front();
        held.unlock();
        changed_.notify_all();
        if (next.bytes) {
            d.add(bytes_view(*next.bytes).first(static_cast<std::size_t>(next.length)));
        } else {
            d.add_zeroes(next.length);
        }
        next.bytes.reset(); // whoever recycles it may look for that
        held.lock();
    }
}

} // namespace farshore::carry
