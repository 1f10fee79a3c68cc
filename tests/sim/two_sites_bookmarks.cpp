// Bookmarks through a simulated life, with applications that freeze, refuse, lie and go on writing
// until they are still: a point shows the name, the kind and the writes that its bookmark stands
// for, whatever happened since, and none says app that was not still. Half of the seeds has them,
// with dice of their own.

#include "tests/sim/two_sites.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore::sim {
namespace {

constexpr duration bookmark_patience = std::chrono::seconds(5);

} // namespace

/// What hooks do in this life. Writes come from the applications, too: until they are still, and as
/// soon as they go on.
class two_sites::sim_applications final : public application_host {
  public:
    explicit sim_applications(two_sites &w) : world_(w) {}

    struct story {
        std::uint64_t frozen_at = 0;   ///< writes when the last hook was still
        std::uint64_t released_at = 0; ///< and when the first one went on
        bool honest = true;            ///< all that were asked are still, and say so truly
        std::size_t still = 0;
    };
    story now;

    task<freeze_outcome> freeze(hook_config hook, hook_context context) override {
        co_await world_.clock_.sleep_for(std::chrono::milliseconds(world_.roll_bookmarks(50)));
        freeze_outcome out;
        out.result.name = hook.name;
        out.result.type = hook.type;
        write(context.group);
        if (world_.roll_bookmarks(6) == 0) {
            out.result.message = "it refuses";
            now.honest = false;
            co_return out;
        }
        const bool lies = world_.roll_bookmarks(6) == 0;
        now.honest = now.honest && !lies;
        now.frozen_at = world_.group_named(context.group).truth.sequence();
        ++now.still;
        out.held = std::make_unique<held>(*this, out.result, context.group, lies);
        co_return out;
    }
    task<void> join() override { co_return; }

    std::size_t held_now = 0;

  private:
    class held final : public held_application {
      public:
        held(sim_applications &all, hook_result so_far, std::string group, bool lies)
            : all_(all), so_far_(std::move(so_far)), group_(std::move(group)), lies_(lies) {
            ++all_.held_now;
        }
        ~held() override { --all_.held_now; }
        task<hook_result> release() override {
            const auto takes = std::chrono::milliseconds(all_.world_.roll_bookmarks(50));
            co_await all_.world_.clock_.sleep_for(takes);
            if (all_.now.released_at == 0) {
                all_.now.released_at = all_.world_.group_named(group_).truth.sequence();
            }
            all_.write(group_);
            hook_result out = so_far_;
            out.ok = !lies_;
            out.message = lies_ ? "its freeze was not proved" : "";
            out.freeze = takes;
            co_return out;
        }

      private:
        sim_applications &all_;
        hook_result so_far_;
        std::string group_;
        bool lies_;
    };

    /// By who is not still yet, or any more.
    void write(const std::string &group) {
        if (world_.sender_ && world_.roll_bookmarks(3) == 0) {
            world_.application_write(world_.group_named(group));
        }
    }

    two_sites &world_;
};

std::uint64_t two_sites::roll_bookmarks(std::uint64_t n) { return bookmark_dice_() % n; }

bool two_sites::has_bookmarks() const { return options_.seed % 2 == 0; }

std::shared_ptr<application_host> two_sites::applications() {
    if (!applications_) {
        applications_ = std::make_shared<sim_applications>(*this);
    }
    return applications_;
}

replicated_group &two_sites::group_named(const std::string &name) {
    return *std::ranges::find(groups_, name, &replicated_group::name);
}

void two_sites::application_write(replicated_group &g) {
    const auto device = sender_access::device(*sender_, g.name, volume_index{0});
    const byte_vector data(block_bytes, static_cast<std::byte>(roll_bookmarks(256)));
    const std::uint64_t at = roll_bookmarks(g.sizes[0] / block_bytes) * block_bytes;
    if (const auto done = device->write(at, data, false); done) {
        g.truth.write(0, at, data);
    } else {
        write_failed(g, done.error());
    }
}

void two_sites::bookmark_step() {
    if (!has_bookmarks()) {
        return;
    }
    judge_bookmarks();
    if (roll_bookmarks(6) != 0) {
        return;
    }
    replicated_group &g = groups_[roll_bookmarks(groups_.size())];
    bookmark_request wanted;
    wanted.name = fmt::format("b-{}", ++bookmarks_asked_);
    wanted.note = "note of " + wanted.name;
    wanted.app = roll_bookmarks(3) != 0;
    wanted.keep = std::chrono::hours(roll_bookmarks(3));
    wanted.timeout = bookmark_patience;
    known_bookmark known{wanted.name, g.number, 0, g.truth.sequence(), 0, "", false};
    applications(); // made
    auto &apps = static_cast<sim_applications &>(*applications_);
    apps.now = {};
    const auto made =
        await(sender_->bookmark(g.name, wanted), bookmark_patience + std::chrono::minutes(2));
    if (apps.held_now != 0) {
        throw broken_promise{"an application stays frozen after " + wanted.name};
    }
    known.last = g.truth.sequence();
    const bool still = wanted.app && apps.now.honest && apps.now.still == hooks_of_a_group;
    if (still) { // it is exactly what was written when the last one was still
        known.first = apps.now.frozen_at;
        known.last = std::max(apps.now.frozen_at, apps.now.released_at);
    }
    known.kind = still ? "app" : "crash";
    if (made) {
        known.barrier = made->point.barrier.value;
        known.durable = made->durable;
        say(fmt::format("bookmark {} of {} is {} ({}), {}", wanted.name, g.name, known.barrier,
                        name_of(made->label.kind), made->durable ? "durable" : "in the spool"));
        if (name_of(made->label.kind) != known.kind) {
            throw broken_promise{fmt::format("bookmark {} says {} and is {}", wanted.name,
                                             name_of(made->label.kind), known.kind)};
        }
    } else {
        say(fmt::format("bookmark {}: {}", wanted.name, made.error().text()));
    }
    note(made ? made->point.barrier.value : 0);
    bookmarks_.push_back(known);
    judge_bookmarks();
}

/// Whatever of them the DR site shows: the name belongs to its barrier, and its content to it.
void two_sites::judge_bookmarks() {
    for (const replicated_group &g : groups_) {
        const auto listed = await(receiver_->points(g.name), std::chrono::minutes(1));
        if (!listed || listed->empty()) {
            continue;
        }
        for (const point_info &p : *listed) {
            judge_label(g, p);
        }
    }
}

void two_sites::judge_label(const replicated_group &g, const point_info &p) {
    const auto fits = [&](const known_bookmark &b) {
        return b.group == g.number &&
               (p.name.empty() ? b.durable && std::to_string(b.barrier) == p.id : b.name == p.name);
    };
    const auto known = std::ranges::find_if(bookmarks_, fits);
    if (known == bookmarks_.end()) {
        if (!p.name.empty()) {
            throw broken_promise{fmt::format("point {} of {} has a name that nobody gave: {}", p.id,
                                             g.name, p.name)};
        }
        return;
    }
    if (p.name.empty()) {
        if (!labels_lost_) {
            throw broken_promise{
                fmt::format("point {} of {} lost its name {}", p.id, g.name, known->name)};
        }
        return;
    }
    const bool right_point = known->barrier == 0 || std::to_string(known->barrier) == p.id;
    if (!right_point || p.kind != known->kind || p.note != "note of " + p.name) {
        throw broken_promise{fmt::format("point {} of {} says {} ({}, \"{}\"); it was {} ({})",
                                         p.id, g.name, p.name, p.kind, p.note, known->barrier,
                                         known->kind)};
    }
    if (known->judged || p.suspect || p.damaged || g.history_spoilt || may_be_mixed(g, p.id)) {
        return;
    }
    const auto images = read_point(g, p.id);
    if (!images) {
        return; // others judge that
    }
    const auto k = g.truth.newest_prefix(*images, known->last);
    if (!k || *k < known->first) {
        throw broken_promise{fmt::format(
            "bookmark {} of {} ({}) stands for writes {} to {} and shows {}", p.name, g.name,
            known->kind, known->first, known->last, k ? std::to_string(*k) : "no prefix")};
    }
    known->judged = true;
    ++bookmarks_judged_;
}

} // namespace farshore::sim
