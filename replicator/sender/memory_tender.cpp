#include "replicator/sender/memory_tender.hpp"

#include "replicator/sender/sender_group.hpp"

namespace farshore {
namespace {

constexpr duration divide_every = std::chrono::seconds(1);
/// At most so often, however many ask.
constexpr duration divide_apart = std::chrono::milliseconds(20);
constexpr duration look_every = std::chrono::seconds(5); ///< when all have the floor

} // namespace

memory_tender::memory_tender(std::shared_ptr<memory_pool> pool, runtime run, group_list groups)
    : pool_(std::move(pool)), run_(std::move(run)), groups_(std::move(groups)) {
    pool_->set_short([home = run_.home, request = std::weak_ptr(request_)] {
        asio::post(home, [request] {
            if (const auto there = request.lock()) {
                there->open = true;
                there->came.notify_all();
            }
        });
    });
}

void memory_tender::stop() {
    stopping_ = true;
    request_->open = true;
    request_->came.notify_all();
}

task<void> memory_tender::run() {
    while (!stopping_) {
        request_->open = false;
        divide();
        const time_point now = run_.time->now();
        const duration pause = pool_->above_floor() ? divide_every : look_every;
        co_await request_->came.wait_until(*run_.time, now + divide_apart);
        if (!request_->open) {
            co_await request_->came.wait_until(*run_.time, now + pause);
        }
    }
}

void memory_tender::divide() {
    const std::vector<sender_group *> groups = groups_();
    std::vector<memory_claim> claims;
    claims.reserve(groups.size());
    for (sender_group *g : groups) {
        claims.push_back(g->stream().claim_memory());
    }
    const std::uint64_t absent =
        pool_->floor() * (pool_->groups() - groups.size()); // those that could not be started
    const std::vector<std::uint64_t> grants =
        fair_grants(pool_->ample_total() - absent, pool_->floor(), claims);
    // Those who give first.
    for (const bool giving : {true, false}) {
        for (std::size_t i = 0; i < groups.size(); ++i) {
            pipeline &stream = groups[i]->stream();
            if ((grants[i] < stream.memory_grant()) == giving) {
                stream.take_memory(grants[i]);
            }
        }
    }
}

} // namespace farshore
