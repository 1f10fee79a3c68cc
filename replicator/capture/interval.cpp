#include "replicator/capture/interval.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/capture/interval_impl.hpp"

#include <thread>

namespace farshore {

interval::interval(stream_position position)
    : impl_(new impl{owned_core(new interval_core(position, std::make_shared<page_pool>()))}) {}
interval::interval(std::unique_ptr<impl> inside) : impl_(std::move(inside)) {}
interval::~interval() = default;

stream_position interval::position() const { return impl_->core->position; }
bool interval::empty() const {
    return !impl_->core->has_changes() && impl_->core->commit.verify.empty();
}
std::uint64_t interval::memory_bytes() const { return impl_->core->memory_bytes(); }
std::uint64_t interval::data_blocks() const { return impl_->core->data_blocks(); }
std::uint64_t interval::written_bytes() const { return impl_->core->written_bytes; }
std::optional<time_point> interval::first_write() const { return impl_->core->first_write; }
const barrier &interval::commit() const { return impl_->core->commit; }
time_point interval::closed_at() const { return impl_->core->closed_at; }
bool interval::settled() const { return impl_->core->settled(); }

void interval::wait_settled() const {
    // Writers between reservation and copy are few and run; no need for a lock and a wake-up on
    // their side.
    for (int spins = 0; !settled(); ++spins) {
        if (spins < 64) {
            std::this_thread::yield();
        } else {
            std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
    }
}

std::vector<block_change> interval::changes() const {
    REPL_ASSERT(settled());
    return impl_->core->changes();
}

} // namespace farshore
