#include "replicator/receiver/receiver_loans.hpp"

#include "dedupe/digest.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farshore {
namespace {

constexpr std::size_t digest_bytes = 16;
constexpr std::size_t requests_max = limits::interval_entries_max / limits::loan_blocks_max + 64;
constexpr std::size_t looked_at_once = 1024; ///< blocks; one sync each
/// A lack of room is looked at again so often: commits make some.
constexpr duration room_pause = std::chrono::milliseconds(200);

/// Blocks.
void compare(replica_group &lender, dedupe::digester &digester, const wire::loan_run &run,
             std::size_t at, std::size_t number, loan_look &into) {
    const std::uint64_t block = run.block + at;
    if (run.volume >= lender.volumes().size()) {
        return;
    }
    const std::uint64_t size = lender.volumes()[run.volume].size;
    if (block >= block_count(size)) {
        return;
    }
    into.content.resize((into.equal.size() + 1) * block_bytes);
    const bytes_span page = bytes_span(into.content).last(block_bytes);
    const std::uint64_t length = bytes_in_block(block_index{block}, size);
    std::ranges::fill(page.subspan(length), std::byte{0});
    const volume_index volume{static_cast<std::uint16_t>(run.volume)};
    const bool readable =
        lender.read_replica(volume, {block * block_bytes, length}, page.first(length)).has_value();
    // The lender goes on meanwhile: it is the bytes in hand that count.
    if (readable &&
        std::ranges::equal(digester.of(page).bytes,
                           std::span(run.digests).subspan(at * digest_bytes, digest_bytes))) {
        into.equal.push_back(number);
    }
}

/// Blocks.
void look_into(replica_group &lender, loan_look &at) {
    dedupe::digester digester(at.key);
    std::size_t number = 0;
    for (const wire::loan_run &run : at.request->runs) {
        const std::size_t blocks = run.digests.size() / digest_bytes;
        for (std::size_t i = 0; i < blocks; ++i, ++number) {
            if (number >= at.first && number < at.first + at.count) {
                compare(lender, digester, run, i, number, at);
            }
        }
    }
    at.content.resize(at.equal.size() * block_bytes);
}

} // namespace

// ---- the lender's side
// ------------------------------------------------------------------------------

void loan_desk::look(std::shared_ptr<replica_group> copy, std::shared_ptr<loan_look> at) {
    tasks_.spawn(read(std::move(copy), std::move(at)));
}

bool loan_desk::hangs() const {
    return !begun_.empty() && run_.time->now() - begun_.front() >= loan_patience;
}

task<void> loan_desk::read(std::shared_ptr<replica_group> copy, std::shared_ptr<loan_look> at) {
    const auto mine = begun_.insert(begun_.end(), run_.time->now());
    co_await run_on(run_.disk, [copy, at] { look_into(*copy, *at); });
    begun_.erase(mine);
    at->done = true;
    at->answered.notify_all();
}

// ---- the borrower's side
// ----------------------------------------------------------------------------

lending::lending(session_host &host, runtime run, std::shared_ptr<replica_group> copy,
                 wire::key32 key)
    : host_(host), run_(std::move(run)), copy_(std::move(copy)), key_(key) {}

result<> lending::ask(wire::loan_request r) {
    if (requests_.size() >= requests_max) {
        return fail_peer(errc::limit,
                         fmt::format("more than {} loan requests without an answer", requests_max));
    }
    requests_.push_back(std::move(r));
    wanted_.notify_all();
    return {};
}

void lending::end() {
    ended_ = true;
    wanted_.notify_all();
    if (waits_for_) {
        waits_for_->answered.notify_all();
    }
}

task<void> lending::run(send reply) {
    while (!ended_) {
        if (requests_.empty()) {
            co_await wanted_.wait();
            continue;
        }
        wire::loan_request request = std::move(requests_.front());
        requests_.pop_front();
        wire::loan_reply found = co_await answer(std::move(request));
        if (!co_await reply(std::move(found))) {
            break;
        }
    }
    copy_.reset();
}

void lending::tell(const std::string &lender, const std::string &why) {
    const std::string text = fmt::format("nothing is lent by group {}: {}", lender, why);
    host_.tell(log::level::warning, text, text);
}

task<wire::loan_reply> lending::answer(wire::loan_request r) {
    const std::size_t blocks = r.blocks();
    wire::loan_reply nothing;
    nothing.id = r.id;
    nothing.slots = 1;
    nothing.granted.resize(ceil_div(blocks, std::size_t{8}));
    if (const loan_offer from = host_.lender(r.lender);
        !from.copy || from.desk->hangs() ||
        r.interval <= copy_->position().durable.interval.value) {
        co_return nothing;
    }
    const time_point until = run_.time->now() + loan_patience;
    const auto request = std::make_shared<const wire::loan_request>(std::move(r));
    wire::loan_reply reply = nothing;
    reply.slots = copy_->loan_slots();
    std::uint64_t granted = 0;
    for (std::size_t first = 0; first < blocks && !ended_; first += looked_at_once) {
        const auto at = std::make_shared<loan_look>();
        at->request = request;
        at->first = first;
        at->count = std::min(looked_at_once, blocks - first);
        at->key = key_;
        if (!co_await look(at, until)) {
            break;
        }
        auto kept = co_await keep(at, reply, granted, until);
        if (!kept) {
            tell(request->lender, kept.error().text());
            co_return nothing;
        }
        if (!*kept) {
            break;
        }
    }
    co_return reply;
}

/// False: it takes too long, the lender stops, or the session ends.
task<bool> lending::look(std::shared_ptr<loan_look> at, time_point until) {
    // Asked each time: nobody looks into a copy whose group has stopped.
    const loan_offer from = host_.lender(at->request->lender);
    if (!from.copy) {
        co_return false;
    }
    from.desk->look(from.copy, at);
    waits_for_ = at;
    while (!ended_ && !at->done && co_await at->answered.wait_until(*run_.time, until)) {
    }
    waits_for_.reset();
    if (!ended_ && !at->done) {
        tell(at->request->lender, "its disk does not answer");
    }
    co_return at->done;
}

/// False: no room.
task<result<bool>> lending::keep(std::shared_ptr<loan_look> found, wire::loan_reply &reply,
                                 std::uint64_t &granted, time_point until) {
    if (found->equal.empty()) {
        co_return true;
    }
    std::optional<std::uint64_t> slot;
    while (!slot) {
        FS_CO_TRY(kept, co_await run_on(run_.disk, [copy = copy_, found] {
                      return copy->keep_loan(interval_id{found->request->interval}, found->content);
                  }));
        if (copy_->loans_crowded()) {
            host_.commit_soon();
        }
        if (!kept && (ended_ || run_.time->now() >= until)) {
            co_return false;
        }
        slot = kept;
        if (!slot) {
            co_await wanted_.wait_until(*run_.time, run_.time->now() + room_pause);
        }
    }
    if (granted > 0 && *slot != (reply.first + granted) % reply.slots) {
        co_return true; // slots of one reply follow each other
    }
    if (granted == 0) {
        reply.first = *slot;
    }
    for (const std::size_t i : found->equal) {
        reply.granted[i / 8] |= std::byte{static_cast<std::uint8_t>(1U << (i % 8))};
    }
    granted += found->equal.size();
    co_return true;
}

} // namespace farshore
