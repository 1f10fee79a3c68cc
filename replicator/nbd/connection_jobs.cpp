// A connection's memory (nbd_admission.hpp) and its jobs on the disk executor.

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/base/log.hpp"
#include "replicator/nbd/connection.hpp"

#include <algorithm>

namespace farshore::nbd {

namespace {

constexpr std::size_t lane_writes_per_turn = 4;
constexpr duration watch_every = std::chrono::seconds(5);
/// Two answers to BLOCK_STATUS of status_extents_max each, while they are put together.
constexpr std::size_t status_memory = 256 * limits::KiB;
constexpr std::size_t job_memory_min = 512; ///< what a job without data costs

} // namespace

// Memory

std::size_t connection::held_memory() const {
    return stream_.held_bytes() + job_memory_ +
           (incoming_ ? allocated_bytes(incoming_->payload.size()) : 0);
}

/// What is allocated until it is answered and the answer taken: its data, and a chunk in which
/// answers gather.
std::size_t connection::memory_of(const request &r, bool moves_data) const {
    if (r.type == command_block_status) {
        return allocated_bytes(chunk_bytes) + status_memory;
    }
    const bool own_buffer = moves_data && (r.type == command_write || r.length > inline_bytes_max);
    const std::size_t data = r.length + sizeof(data_chunk_prefix);
    return allocated_bytes(chunk_bytes) +
           (own_buffer ? allocated_bytes(std::max(data, chunk_bytes)) : job_memory_min);
}

bool connection::admitted() {
    if (credit_.waits()) {
        return false;
    }
    const std::size_t held = held_memory();
    const std::size_t needed = held + memory_wanted_;
    const bool in_flight = held > 0 || jobs_ > 0;
    switch (admit(credit_.ensure(needed), in_flight, lean_wanted_)) {
    case admission::ample:
        stream_.set_lean(false);
        return true;
    case admission::lean:
        credit_.release(0);
        stream_.set_lean(true);
        return true;
    case admission::wait_own:
        return false;
    case admission::queue:
        queue_for_credit(needed);
        return false; // when it was served at once, changed_ is notified
    }
    return false;
}

void connection::queue_for_credit(std::size_t bytes) {
    stream_.set_lean(true);
    credit_.wait(bytes, [weak = weak_from_this(), loop = loop_] {
        asio::post(loop, [weak] {
            if (const auto self = weak.lock()) {
                self->changed_.notify_all();
            }
        });
    });
}

/// When nothing is in flight: others may need it.
void connection::rest_credit() {
    if (at_rest() && !waits_for_room_) {
        credit_.release_if_tight(0);
    }
}

/// Every watch_every while there is something to look after.
void connection::watch() {
    if (std::exchange(watched_, true)) {
        return;
    }
    deadline_.expires_after(watch_every);
    deadline_.async_wait([weak = weak_from_this()](asio::error_code ec) {
        const auto self = weak.lock();
        if (ec || !self) {
            return;
        }
        self->watched_ = false;
        self->look_after(self->clock_.now());
        if (!self->at_rest() || self->credit_.bytes() > 0 || self->stream_.unsent_bytes() > 0) {
            self->watch();
        }
    });
}

void connection::look_after(time_point now) {
    const bool unused = handled_ == std::exchange(handled_then_, handled_);
    if (at_rest() && unused && !waits_for_room_) {
        credit_.release(0);
    }
    const bool owes = stream_.unsent_bytes() > 0 || incoming_.has_value();
    if (stuck_.stuck(now, owes, stream_.sent_total() + received_) && !stream_.failed()) {
        log::warning("NBD server: {} is let go: it {} for {:.0f} s, and memory is held for it",
                     peer_,
                     stream_.unsent_bytes() > 0 ? "took no reply"
                                                : "sent no more of a request that it began",
                     seconds_of(stuck_max));
        abort();
    }
}

// Jobs

/// Allocated while it is a job; the reply's buffer is the stream's afterwards.
std::size_t connection::memory_of_job(const request &r, std::size_t payload_bytes) {
    switch (r.type) {
    case command_write:
        return job_memory_min + allocated_bytes(payload_bytes);
    case command_read:
        return job_memory_min + allocated_bytes(r.length + sizeof(data_chunk_prefix));
    case command_block_status:
        return job_memory_min + status_memory;
    default:
        return job_memory_min;
    }
}

void connection::count_job(const request &r, const buffer &payload) {
    ++jobs_;
    job_bytes_ += room_wanted_;
    job_memory_ += memory_of_job(r, payload.size());
}

/// What the request changes; empty for READ, FLUSH and BLOCK_STATUS.
byte_range connection::range_changed(const request &r) {
    const bool changes =
        r.type == command_write || r.type == command_trim || r.type == command_write_zeroes;
    if (!changes || r.length == 0) {
        return {};
    }
    const index_range blocks = blocks_of({r.offset, r.length}); // what capture's range lock goes by
    return {blocks.first * block_bytes, blocks.count() * block_bytes};
}

/// Whether a change has to wait for one under way, or for one of the first so many that wait.
bool connection::must_follow(byte_range changed, std::size_t behind_first) const {
    if (changed.length == 0) {
        return false;
    }
    const auto meets = [&](const byte_range &other) { return other.overlaps(changed); };
    const auto last = followers_.begin() + static_cast<std::ptrdiff_t>(behind_first);
    return std::ranges::any_of(changing_, meets) ||
           std::any_of(followers_.begin(), last,
                       [&](const lane_write &w) { return meets(range_changed(w.header)); });
}

void connection::start_followers() {
    for (std::size_t i = 0; i < followers_.size();) {
        if (must_follow(range_changed(followers_[i].header), i)) {
            ++i;
            continue;
        }
        lane_write next = std::move(followers_[i]);
        followers_.erase(followers_.begin() + static_cast<std::ptrdiff_t>(i));
        post_job(next.header, std::move(next.payload));
    }
}

void connection::start_job(const request &r, buffer payload) {
    count_job(r, payload);
    if (must_follow(range_changed(r), followers_.size())) {
        followers_.push_back({r, std::move(payload)});
        return;
    }
    post_job(r, std::move(payload));
}

void connection::post_job(const request &r, buffer payload) {
    if (const byte_range changed = range_changed(r); changed.length > 0) {
        changing_.push_back(changed);
    }
    asio::post(disk_, [self = shared_from_this(), r, payload = std::move(payload)]() mutable {
        self->run_job(r, std::move(payload));
    });
}

void connection::start_in_lane(const request &r, buffer payload) {
    const byte_range changed = range_changed(r);
    if (must_follow(changed, followers_.size())) {
        start_job(r, std::move(payload));
        return;
    }
    changing_.push_back(changed);
    count_job(r, payload);
    bool idle = false;
    {
        const std::lock_guard lock(jobs_mutex_);
        idle = lane_.empty();
        lane_.push_back({r, std::move(payload)});
    }
    if (idle) {
        asio::post(disk_, [self = shared_from_this()] { self->run_lane(); });
    }
}

/// On a disk thread: a few of the lane's writes, then others of the pool's users get their turn.
void connection::run_lane() {
    std::unique_lock lock(jobs_mutex_);
    for (std::size_t n = 0; n < lane_writes_per_turn; ++n) {
        lane_write &first = lane_.front(); // stays in place while more are added behind it
        lock.unlock();
        run_job(first.header, std::move(first.payload));
        lock.lock();
        lane_.pop_front();
        if (lane_.empty()) {
            return;
        }
    }
    asio::post(disk_, [self = shared_from_this()] { self->run_lane(); });
}

/// On a disk thread. device_ and facts_ don't change any more.
void connection::run_job(const request &r, buffer payload) {
    finished_job done;
    const bool write = r.type == command_write;
    done.memory = memory_of_job(r, payload.size());
    done.changed = range_changed(r);
    done.reply = run_request(*device_, r, payload.view().first(write ? r.length : 0), facts_);
    done.payload = std::move(payload);
    done.cost = write || r.type == command_read ? r.length : 0;
    bool first = false;
    {
        const std::lock_guard lock(jobs_mutex_);
        first = finished_.empty();
        finished_.push_back(std::move(done));
    }
    if (first) {
        asio::post(loop_, [self = shared_from_this()] { self->take_finished(); });
    }
}

void connection::take_finished() {
    std::vector<finished_job> ready;
    {
        const std::lock_guard lock(jobs_mutex_);
        ready.swap(finished_);
    }
    for (finished_job &job : ready) {
        --jobs_;
        job_bytes_ -= job.cost;
        job_memory_ -= job.memory;
        if (job.changed.length > 0) {
            changing_.erase(std::ranges::find(changing_, job.changed));
        }
        if (job.payload.size() == chunk_bytes) {
            give_chunk(std::move(job.payload));
        }
        if (stream_.failed()) {
            continue;
        }
        if (!job.reply.body.empty()) {
            stream_.push(std::move(job.reply.body));
        } else {
            std::ranges::copy(job.reply.head, stream_.reserve(job.reply.head.size()).begin());
            stream_.commit(job.reply.head.size());
        }
    }
    start_followers();
    stream_.send();
    rest_credit();
    leave_at_rest();
    changed_.notify_all();
}

} // namespace farshore::nbd
