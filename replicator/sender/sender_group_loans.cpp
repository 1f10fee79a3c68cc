// Loans of a group at the primary: before an interval is encoded, the DR site is asked to copy what
// other groups of the pair have there already.

#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/sender/sender_group.hpp"

#include <algorithm>

namespace farshore {
namespace {
/// How long an interval waits for the answer. Without one it is encoded as it is.
constexpr duration loan_wait_max = std::chrono::seconds(3);
constexpr std::size_t loans_unanswered_max =
    64; ///< a DR site that never answers is not asked for ever
} // namespace

// The hints of whole blocks, which begin at a block's first byte, serve other groups too.
void sender_group::learn(dedupe::encoder &encoder) {
    const std::vector<dedupe::known_place> places = known_.take();
    encoder.learn(places);
    if (!options_.shared) {
        return;
    }
    for (const dedupe::known_place &p : places) {
        if (p.address % block_bytes == 0) {
            options_.shared->note(number_, p.volume, block_index{p.address / block_bytes}, p.key);
        }
    }
}

void sender_group::offer_soon(time_point until) {
    if (options_.shared && !stopping_ && !std::exchange(offered_, true)) {
        offer_read_ = run_.time->now();
        tasks_.spawn(offer_content(until));
    }
}

bool sender_group::offers() const {
    constexpr duration hangs_after = std::chrono::seconds(3);
    return offer_read_ && run_.time->now() - *offer_read_ < hangs_after;
}

// What is read may change at any time: the index only proposes.
task<void> sender_group::offer_content(time_point until) {
    constexpr std::uint64_t piece_bytes = 4 * limits::MiB;
    std::uint64_t left = options_.shared->offer_max();
    for (std::uint16_t i = 0; i < capture_->volume_count(); ++i) {
        const volume_index v{i};
        const std::uint64_t size = capture_->volume_size(v);
        for (std::uint64_t at = 0; at < size && left > 0 && !stopping_ && run_.time->now() < until;
             at += piece_bytes) {
            const byte_range piece{at, std::min(piece_bytes, size - at)};
            offer_read_ = run_.time->now();
            left -= std::min(left, co_await run_on(run_.disk, [this, v, piece] {
                                 return offer_piece(v, piece);
                             }));
        }
    }
    offer_read_.reset();
}

// Returns how many blocks it put into the index.
std::uint64_t sender_group::offer_piece(volume_index v, byte_range piece) {
    const auto device = capture_->device(v);
    const auto extents = device->status(piece, status_context::allocation, 1);
    constexpr std::uint32_t hole = 1;
    const bool empty =
        extents && extents->front().length >= piece.length && (extents->front().flags & hole) != 0;
    buffer content(ceil_div(piece.length, block_bytes) * block_bytes);
    std::ranges::fill(content.span(), std::byte{0});
    if (empty || !device->read(piece.offset, content.span().first(piece.length))) {
        return 0;
    }
    std::uint64_t noted = 0;
    for (std::uint64_t at = 0; at < content.size(); at += block_bytes) {
        const bytes_view block = content.view().subspan(at, block_bytes);
        if (!is_zero(block)) {
            options_.shared->note(number_, v, block_index{(piece.offset + at) / block_bytes},
                                  checksum_128(block).high);
            ++noted;
        }
    }
    return noted;
}

task<std::vector<dedupe::loan>> sender_group::borrow(std::shared_ptr<interval> taken,
                                                     executor pool) {
    if (!options_.shared || options_.memory.index_bytes == 0) {
        co_return std::vector<dedupe::loan>{};
    }
    // Also without a session or patience: the index learns what the interval has.
    auto candidates = co_await run_on(pool, [this, taken, key = digest_key_] {
        taken->wait_settled();
        return find_candidates(*options_.shared, number_, taken->changes(), key);
    });
    // An interval far ahead of what the DR site has would keep its slots for as long.
    const std::uint64_t horizon =
        std::max(ledger_.durable().interval, ledger_.first()).value + limits::loan_window;
    const bool too_early = taken->position().interval.value > horizon;
    if (candidates.empty() || !session_up_ || too_early ||
        session_->loans_unanswered() > loans_unanswered_max || !loan_patience_.worth_it()) {
        co_return std::vector<dedupe::loan>{};
    }
    co_return co_await ask_for_loans(std::move(candidates), taken->position().interval);
}

task<std::vector<dedupe::loan>> sender_group::ask_for_loans(std::vector<loan_candidate> candidates,
                                                            interval_id interval) {
    loans_.emplace(std::move(candidates), interval, *options_.shared, next_loan_id_);
    const std::vector<wire::loan_request> requests = loans_->requests();
    next_loan_id_ += requests.size();
    loan_sending_ = true;
    for (const wire::loan_request &r : requests) {
        if (session_up_) {
            co_await session_->ask(r);
        }
    }
    loan_sending_ = false;
    loans_answered_.notify_all();
    const time_point deadline = run_.time->now() + loan_wait_max;
    while (!loans_->complete() && session_up_ && !stopping_ &&
           co_await loans_answered_.wait_until(*run_.time, deadline)) {
    }
    auto granted = loans_->granted();
    loan_patience_.outcome(loans_->asked_blocks(), granted.size());
    loans_.reset();
    co_return granted;
}

} // namespace farshore
