// The encoder's stage of a group: takes the oldest closed interval, borrows, encodes it on a pool,
// puts it into the spool.

#include "replicator/base/geometry.hpp"
#include "replicator/sender/encode_interval.hpp"
#include "replicator/sender/pipeline.hpp"

#include <fmt/format.h>

#include <utility>

namespace farshore {
namespace {

// In a catch-up, for blocks of a volume that a new one resembles and that are not in the page
// cache: a read that takes as long as the line does for the block is worth it. Beyond this, full
// blocks are sent: an interval has at most 16 MiB.
constexpr duration cold_reads_each_interval = std::chrono::seconds(1);

// Before entropy coding: a frame takes at most 90 ms on a 100 Mbit/s line, a database's 15 ms; with
// half of it there would be 1 to 2 % more bytes.
constexpr std::size_t payload_body_bytes = limits::MiB;

} // namespace

// One for the life of the group: payloads depend on no earlier ones, and what its index knows stays
// useful.
std::shared_ptr<dedupe::encoder> pipeline::make_encoder() const {
    dedupe::encoder_options o;
    o.payload_body_bytes = payload_body_bytes;
    o.index_bytes = options_.history.index_bytes;
    o.content_bytes = options_.history.content_bytes;
    o.verify = options_.verify_encoding;
    for (std::size_t i = 0; i < capture_->volume_count(); ++i) {
        const std::uint64_t size =
            capture_->volume_size(volume_index{static_cast<std::uint16_t>(i)});
        o.volume_blocks.push_back(ceil_div(size, block_bytes));
    }
    return std::make_shared<dedupe::encoder>(std::move(o));
}

void pipeline::learn(dedupe::encoder &encoder) {
    const std::vector<dedupe::known_place> places = known_.take();
    encoder.learn(places);
    loans_.note(places);
}

encoder_load pipeline::load_of(const interval &taken) const {
    encoder_load load;
    load.waiting = closed_.size();
    load.age = taken.first_write() ? run_.time->now() - *taken.first_write() : options_.interval;
    load.filled_in = taken.closed_at() - taken.first_write().value_or(taken.closed_at());
    load.late_by = load.age - options_.interval;
    load.busy = busy_.value();
    load.in_sync = host_.in_sync();
    load.awaited = host_.awaited();
    load.bytes = taken.memory_bytes();
    load.memory_used = capture_->counts().open_bytes + closed_bytes();
    load.memory_max = options_.share->stages().open_bytes_max + closed_room();
    return load;
}

task<void> pipeline::encode_loop() {
    while (!ending_) {
        if (!closed_.empty()) {
            co_await encode_next();
        } else if (encoder_ && known_.many()) {
            co_await run_on(run_.cpu, [this, encoder = encoder_] {
                learn(*encoder);
                return true;
            });
        } else {
            co_await work_.wait();
        }
    }
}

// What hooks answer is not known before they are released, and the barrier says it.
task<std::optional<point_label>> pipeline::label_of(interval_id id, std::uint64_t epoch) {
    const auto awaited = [&] {
        const auto at = labels_.waiting.find(id);
        return at != labels_.waiting.end() && !at->second;
    };
    while (!ending_ && epoch == ledger_.epoch() && awaited()) {
        co_await work_.wait();
    }
    std::optional<point_label> label;
    if (const auto at = labels_.waiting.find(id);
        epoch == ledger_.epoch() && at != labels_.waiting.end()) {
        label = std::move(at->second);
        labels_.waiting.erase(at);
    }
    co_return label;
}

task<void> pipeline::encode_next() {
    const std::shared_ptr<interval> taken = std::move(closed_.front());
    closed_.pop_front();
    const std::uint64_t epoch = ledger_.epoch();
    encoding_ = {taken->memory_bytes(), taken->first_write()};
    const std::optional<point_label> label = co_await label_of(taken->position().interval, epoch);
    const encoder_load load = load_of(*taken);
    const int level = level_.next(load);
    encoder_->set_level(level);
    const executor pool = level_policy::urgent(load) ? run_.cpu_urgent : run_.cpu;
    const std::vector<dedupe::loan> loans = co_await loans_.borrow(taken, pool);
    if (std::exchange(encoded_stream_, taken->position().stream) != taken->position().stream) {
        encoder_->forget_contents();
    }
    const time_point began = run_.time->now();
    const auto encoded = std::make_shared<result<encoded_interval>>(
        co_await run_on(pool, [this, encoder = encoder_, taken, heals = heals_,
                               patient = !host_.in_sync(), &loans, &label] {
            taken->wait_settled();
            learn(*encoder);
            duration left = patient ? cold_reads_each_interval : duration{};
            const auto source = [&](volume_index volume, block_index block, bytes_span out) {
                const time_point reads = run_.time->now();
                const bool found = capture_->read_unchanged(volume, block, taken->position(), out,
                                                            left > duration{} ? cold_reads::wait
                                                                              : cold_reads::refuse);
                left -= run_.time->now() - reads;
                return found;
            };
            return encode_interval(*encoder, *taken, heals, source, loans, label);
        }));
    busy_.add(began, run_.time->now());
    level_.took(level, load.bytes, run_.time->now() - began);
    co_await spool_encoded(encoded, epoch);
    encoding_ = {};
    work_.notify_all();
    host_.spooled();
}

task<void> pipeline::spool_encoded(std::shared_ptr<result<encoded_interval>> encoded,
                                   std::uint64_t epoch) {
    if (!*encoded) { // a bug or bad memory: not one byte of it leaves, clients go on, a catch-up
                     // compares
        ++totals_.encoder_faults;
        encoder_ = make_encoder();
        if (epoch == ledger_.epoch()) {
            lose_order(fmt::format(
                "the encoder's self-check failed ({}); look at this host's memory, and report it",
                encoded->error().context));
        }
        co_return;
    }
    if (epoch != ledger_.epoch()) {
        co_return; // of a stream that ended
    }
    totals_.folded_bytes += (*encoded)->folded_bytes;
    totals_.encoded_bytes += (*encoded)->what.bytes;
    const auto pushed = co_await run_on(run_.disk, [this, encoded] {
        return spool_->push((*encoded)->what, std::move((*encoded)->frames));
    });
    if (epoch != ledger_.epoch()) { // only this loop adds, so nothing newer is in it
        spool_->clear();
        tidy_soon();
    } else if (!pushed) {
        lose_order(fmt::format("{}; from here on only which blocks change is kept",
                               pushed.error().text()));
    }
}

} // namespace farshore
