// Loans, the receiver's side: blocks of another group's replica are compared with the digests that
// the sender gives, and those that are equal are kept for the interval that will refer to them.
// docs/protocol.md "Loans".

#include "dedupe/digest.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "replicator/receiver/receiver_session.hpp"
#include "replicator/session/peer_claims.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

constexpr std::size_t digest_bytes = 16;
constexpr std::size_t requests_max = limits::interval_entries_max / limits::loan_blocks_max + 64;
constexpr std::size_t kept_at_once = 1024; ///< blocks; one sync each
/// How often and how long a lack of room is waited for: commits make some.
constexpr int room_attempts = 10;
constexpr duration room_pause = std::chrono::milliseconds(200);

/// Goes through the blocks of a request and keeps those that are what the sender says.
class lending {
  public:
    lending(replica_group &lender, replica_group &copy, const wire::loan_request &request,
            std::size_t blocks, const wire::key32 &key)
        : lender_(lender), copy_(copy), request_(request), digester_(key) {
        reply_.id = request.id;
        reply_.slots = copy.loan_slots();
        reply_.granted.resize(ceil_div(blocks, std::size_t{8}));
    }

    /// False: no room for the rest now.
    result<bool> go_on() {
        for (; run_ < request_.runs.size(); ++run_, at_ = 0) {
            const std::size_t count = request_.runs[run_].digests.size() / digest_bytes;
            for (; at_ < count; ++at_, ++index_) {
                if (matching_.size() == kept_at_once) {
                    FS_TRY(kept, keep());
                    if (!kept) {
                        return false;
                    }
                }
                compare(request_.runs[run_]);
            }
        }
        return keep();
    }
    wire::loan_reply take_reply() { return std::move(reply_); }

  private:
    void compare(const wire::loan_run &run) {
        const std::uint64_t block = run.block + at_;
        if (run.volume >= lender_.volumes().size()) {
            return;
        }
        const std::uint64_t size = lender_.volumes()[run.volume].size;
        if (block >= block_count(size)) {
            return;
        }
        content_.resize((matching_.size() + 1) * block_bytes);
        const bytes_span page = bytes_span(content_).last(block_bytes);
        const std::uint64_t length = bytes_in_block(block_index{block}, size);
        std::ranges::fill(page.subspan(length), std::byte{0});
        const volume_index volume{static_cast<std::uint16_t>(run.volume)};
        const bool readable =
            lender_.read_replica(volume, {block * block_bytes, length}, page.first(length))
                .has_value();
        // The lender goes on meanwhile: it is the bytes in hand that count.
        if (readable &&
            std::ranges::equal(digester_.of(page).bytes,
                               std::span(run.digests).subspan(at_ * digest_bytes, digest_bytes))) {
            matching_.push_back(index_);
        }
    }

    result<bool> keep() {
        if (matching_.empty()) {
            return true;
        }
        const auto blocks = bytes_view(content_).first(matching_.size() * block_bytes);
        FS_TRY(slot, copy_.keep_loan(interval_id{request_.interval}, blocks));
        if (!slot) {
            return false;
        }
        if (granted_ > 0 && *slot != (reply_.first + granted_) % reply_.slots) {
            matching_.clear(); // slots of one reply follow each other
            return true;
        }
        if (granted_ == 0) {
            reply_.first = *slot;
        }
        for (const std::size_t i : matching_) {
            reply_.granted[i / 8] |= std::byte{static_cast<std::uint8_t>(1U << (i % 8))};
        }
        granted_ += matching_.size();
        matching_.clear();
        return true;
    }

    replica_group &lender_;
    replica_group &copy_;
    const wire::loan_request &request_;
    dedupe::digester digester_;
    wire::loan_reply reply_;
    std::size_t run_ = 0;               ///< of the request
    std::size_t at_ = 0;                ///< block of the run
    std::size_t index_ = 0;             ///< block of the request
    std::vector<std::size_t> matching_; ///< compared equal, not kept yet
    byte_vector content_;               ///< theirs
    std::uint64_t granted_ = 0;
};

} // namespace

task<result<wire::loan_reply>> receiver_session::lend(wire::loan_request r) {
    const std::size_t blocks = r.blocks();
    const auto copy = over_.copy;
    const auto lender = host_.lender(r.lender);
    wire::loan_reply nothing;
    nothing.id = r.id;
    nothing.slots = 1;
    nothing.granted.resize(ceil_div(blocks, std::size_t{8}));
    if (!lender || r.interval <= copy->position().durable.interval.value) {
        co_return nothing;
    }
    const auto request = std::make_shared<wire::loan_request>(std::move(r));
    const auto work = std::make_shared<lending>(*lender, *copy, *request, blocks, over_.digest_key);
    for (int attempt = 0; attempt < room_attempts && live(); ++attempt) {
        auto done =
            co_await run_on(run_.disk, [work, request, copy, lender] { return work->go_on(); });
        if (!done) {
            const std::string text = fmt::format("nothing is lent by group {}: {}", request->lender,
                                                 done.error().text());
            host_.tell(log::level::warning, text, text);
            co_return nothing;
        }
        if (copy->loans_crowded()) {
            host_.commit_soon();
        }
        if (*done) {
            break;
        }
        co_await loans_wanted_.wait_until(*run_.time, run_.time->now() + room_pause);
    }
    co_return work->take_reply();
}

result<> receiver_session::take(wire::loan_request r) {
    if (loans_.size() >= requests_max) {
        return fail_peer(errc::limit,
                         fmt::format("more than {} loan requests without an answer", requests_max));
    }
    FS_CHECK(check_loan_request(r, assembly_.next_interval()));
    loans_.push_back(std::move(r));
    loans_wanted_.notify_all();
    return {};
}

task<void> receiver_session::loan_loop() {
    while (live()) {
        if (loans_.empty()) {
            co_await loans_wanted_.wait();
            continue;
        }
        wire::loan_request request = std::move(loans_.front());
        loans_.pop_front();
        auto reply = co_await lend(std::move(request));
        if (!reply) {
            react(reply.error());
            break;
        }
        if (!co_await send(std::move(*reply))) {
            break;
        }
    }
}

} // namespace farshore
