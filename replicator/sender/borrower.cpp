#include "replicator/sender/borrower.hpp"

#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/sender/sender_session.hpp"

#include <algorithm>
#include <utility>

namespace farshore {
namespace {
/// How long an interval waits for the answer. Without one it is encoded as it is.
constexpr duration loan_wait_max = std::chrono::seconds(3);
/// A DR site that never answers is not asked for ever.
constexpr std::size_t loans_unanswered_max = 64;
} // namespace

borrower::borrower(std::shared_ptr<pair_index> index, bool borrows, runtime run,
                   capture_group &capture)
    : index_(std::move(index)), borrows_(borrows && index_), run_(std::move(run)),
      capture_(capture), tasks_(run_.home) {}

void borrower::join(const std::string &group) {
    if (!index_) {
        return;
    }
    std::vector<std::uint64_t> blocks;
    for (std::size_t i = 0; i < capture_.volume_count(); ++i) {
        blocks.push_back(
            block_count(capture_.volume_size(volume_index{static_cast<std::uint16_t>(i)})));
    }
    number_ = index_->add_group(group, blocks);
}

void borrower::set_peer(const std::optional<pinned_peer> &peer) {
    if (index_) {
        index_->set_peer(number_, peer);
    }
}

void borrower::end() {
    ending_ = true;
    answered_.notify_all();
}

// ---- the line ----------------------------------------------------------------------------------

void borrower::session_began(sender_session &session, const wire::key32 &key) {
    session_ = &session;
    key_ = key;
}

task<void> borrower::session_ended() {
    session_ = nullptr;
    answered_.notify_all();
    while (sending_) {
        co_await answered_.wait();
    }
}

void borrower::take(const wire::loan_reply &reply) {
    if (round_) {
        round_->take(reply);
    }
    answered_.notify_all();
}

// ---- borrowing ---------------------------------------------------------------------------------

void borrower::note(std::span<const dedupe::known_place> places) {
    if (!index_) {
        return;
    }
    for (const dedupe::known_place &p : places) {
        if (p.address % block_bytes == 0) {
            index_->note(number_, p.volume, block_index{p.address / block_bytes}, p.key);
        }
    }
}

// An interval far ahead of what the DR site has would keep its slots there for as long.
bool borrower::may_ask(interval_id interval) const {
    return session_ != nullptr && interval.value <= reached_.value + limits::loan_window &&
           session_->loans_unanswered() <= loans_unanswered_max;
}

task<std::vector<dedupe::loan>> borrower::borrow(std::shared_ptr<interval> taken, executor pool) {
    if (!borrows_) {
        co_return std::vector<dedupe::loan>{};
    }
    // Also without a session or patience: the index learns what the interval has.
    auto candidates = co_await run_on(pool, [this, taken, key = key_] {
        taken->wait_settled();
        return find_candidates(*index_, number_, taken->changes(), key);
    });
    if (candidates.empty() || !may_ask(taken->position().interval) || !patience_.worth_it()) {
        co_return std::vector<dedupe::loan>{};
    }
    co_return co_await ask(std::move(candidates), taken->position().interval);
}

task<std::vector<dedupe::loan>> borrower::ask(std::vector<loan_candidate> candidates,
                                              interval_id interval) {
    round_.emplace(std::move(candidates), interval, *index_, next_id_);
    const std::vector<wire::loan_request> requests = round_->requests();
    next_id_ += requests.size();
    sending_ = true;
    for (const wire::loan_request &r : requests) {
        if (session_ != nullptr) {
            co_await session_->ask(r);
        }
    }
    sending_ = false;
    answered_.notify_all();
    const time_point deadline = run_.time->now() + loan_wait_max;
    while (!round_->complete() && session_ != nullptr && !ending_ &&
           co_await answered_.wait_until(*run_.time, deadline)) {
    }
    auto granted = round_->granted();
    patience_.outcome(round_->asked_blocks(), granted.size());
    round_.reset();
    co_return granted;
}

// ---- offers ------------------------------------------------------------------------------------

void borrower::offer_soon(time_point until) {
    if (index_ && !ending_ && !std::exchange(offered_, true)) {
        offer_read_ = run_.time->now();
        tasks_.spawn(offer_content(until));
    }
}

bool borrower::offers() const {
    constexpr duration hangs_after = std::chrono::seconds(3);
    return offer_read_ && run_.time->now() - *offer_read_ < hangs_after;
}

// What is read may change at any time: the index only proposes.
task<void> borrower::offer_content(time_point until) {
    constexpr std::uint64_t piece_bytes = 4 * limits::MiB;
    std::uint64_t left = index_->offer_max();
    for (std::uint16_t i = 0; i < capture_.volume_count(); ++i) {
        const volume_index v{i};
        const std::uint64_t size = capture_.volume_size(v);
        for (std::uint64_t at = 0; at < size && left > 0 && !ending_ && run_.time->now() < until;
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
std::uint64_t borrower::offer_piece(volume_index v, byte_range piece) {
    const auto device = capture_.device(v);
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
            index_->note(number_, v, block_index{(piece.offset + at) / block_bytes},
                         checksum_128(block).high);
            ++noted;
        }
    }
    return noted;
}

} // namespace farshore
