// Bookmarks from the primary to the DR site: names, kinds, what freezes when, and what is said of
// streams that are lost.

#include "replicator/base/geometry.hpp"
#include "tests/unit/sites/engine_rig.hpp"

namespace farshore {
namespace {

using namespace std::chrono_literals;

/// Applications that write down what is done to them, and that fail as they are told.
class scripted_applications final : public application_host {
  public:
    explicit scripted_applications(time_source &time) : time_(time) {}

    std::vector<std::string> log;
    std::string refuses; ///< this one can't be frozen
    std::string lies;    ///< this one does not prove its freeze
    duration takes = 10ms;
    std::function<void(const std::string &)> when_frozen;

    task<freeze_outcome> freeze(hook_config hook, hook_context context) override {
        co_await time_.sleep_for(takes);
        freeze_outcome out;
        out.result.name = hook.name;
        out.result.type = hook.type;
        log.push_back("freeze " + hook.name + " for " + context.bookmark);
        if (hook.name == refuses) {
            out.result.message = "the server is down";
            co_return out;
        }
        if (when_frozen) {
            when_frozen(hook.name);
        }
        out.held = std::make_unique<held>(*this, out.result);
        co_return out;
    }
    task<void> join() override { co_return; }

  private:
    class held final : public held_application {
      public:
        held(scripted_applications &all, hook_result so_far)
            : all_(all), so_far_(std::move(so_far)) {}
        ~held() override {
            if (!released_) {
                all_.log.push_back("dropped " + so_far_.name);
            }
        }
        task<hook_result> release() override {
            co_await all_.time_.sleep_for(all_.takes);
            released_ = true;
            all_.log.push_back("release " + so_far_.name);
            hook_result out = so_far_;
            out.ok = out.name != all_.lies;
            out.message = out.ok ? "" : "it was not frozen";
            out.freeze = all_.takes / 1us * 1us;
            out.facts.emplace_back("lsn", "0/16B3748");
            co_return out;
        }

      private:
        scripted_applications &all_;
        hook_result so_far_;
        bool released_ = false;
    };

    time_source &time_;
};

hook_config hook(const char *name) {
    hook_config h;
    h.name = name;
    h.type = "script";
    h.run = {"/bin/true"};
    return h;
}

bookmark_request named(const char *name, bool app = false) {
    bookmark_request r;
    r.name = name;
    r.app = app;
    r.note = "a note";
    r.keep = 1h;
    r.timeout = 1min;
    return r;
}

struct pair_with_hooks {
    world w;
    receiver_host site{w};
    std::shared_ptr<scripted_applications> applications =
        std::make_shared<scripted_applications>(w.clock);
    sender_host primary{w, 'a', {hook("db"), hook("files")}, applications};
    std::shared_ptr<block_device> device =
        sender_access::device(*primary.engine, "shop", volume_index{0});

    pair_with_hooks() {
        REQUIRE(primary.join(site.token()));
        REQUIRE(primary.streams());
        write(0, std::byte{1});
        REQUIRE(w.await(primary.engine->wait("shop", false, 1min)));
    }
    void write(std::uint64_t block, std::byte with) {
        const byte_vector content(block_bytes, with);
        REQUIRE(device->write(block * block_bytes, content, false));
    }
    result<bookmark_outcome> make(bookmark_request r) {
        return w.await(primary.engine->bookmark("shop", std::move(r)));
    }
    std::optional<point_info> there(const std::string &name) {
        const auto points = w.await(site.engine->points("shop"));
        REQUIRE(points);
        const auto at = std::ranges::find(*points, name, &point_info::name);
        return at == points->end() ? std::nullopt : std::optional(*at);
    }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("bookmark: the DR site knows name, note and kind whenever it knows the point") {
        pair_with_hooks p;
        p.write(1, std::byte{2});
        const auto made = p.make(named("before-upgrade"));
        REQUIRE_MESSAGE(made, made.error().text());
        CHECK(made->durable);
        CHECK(made->point.applied);
        CHECK(made->label.kind == label_kind::crash);
        CHECK(p.applications->log.empty()); // nobody asked for hooks
        const auto point = p.there("before-upgrade");
        REQUIRE(point);
        CHECK(point->id == made->point.point);
        CHECK(point->kind == "crash");
        CHECK(point->note == "a note");
        CHECK(std::ranges::find(point->kept_by, "bookmark") != point->kept_by.end());
    }

    TEST_CASE("bookmark: hooks freeze in order, the barrier is cut, they are released in reverse") {
        pair_with_hooks p;
        std::uint64_t at_freeze = 0;
        p.applications->when_frozen = [&](const std::string &name) {
            if (name == "files") {
                at_freeze = p.primary.status().last_barrier->id.value;
                p.write(2, std::byte{9}); // acknowledged before the barrier: it is in the point
            }
        };
        const auto made = p.make(named("nightly", true));
        REQUIRE_MESSAGE(made, made.error().text());
        CHECK(p.applications->log == std::vector<std::string>{"freeze db for nightly",
                                                              "freeze files for nightly",
                                                              "release files", "release db"});
        CHECK(made->label.kind == label_kind::app);
        CHECK(made->why_not_app.empty());
        CHECK(made->point.barrier.value > at_freeze);
        const auto point = p.there("nightly");
        REQUIRE(point);
        CHECK(point->kind == "app");
        CHECK(point->hooks.find("0/16B3748") != std::string::npos);
        CHECK(p.there("nightly")->id == made->point.point);
    }

    TEST_CASE("bookmark: one hook that fails makes it a crash point, and frees the others first") {
        pair_with_hooks p;
        p.applications->refuses = "files";
        const auto made = p.make(named("nightly", true));
        REQUIRE_MESSAGE(made, made.error().text());
        CHECK(made->label.kind == label_kind::crash);
        CHECK(made->why_not_app == "hook files: the server is down");
        CHECK(p.applications->log == std::vector<std::string>{"freeze db for nightly",
                                                              "freeze files for nightly",
                                                              "release db"});
        REQUIRE(p.there("nightly"));
        CHECK(p.there("nightly")->kind == "crash");
    }

    TEST_CASE("bookmark: a hook that froze nothing is no reason to say app") {
        pair_with_hooks p;
        p.applications->lies = "db";
        const auto made = p.make(named("nightly", true));
        REQUIRE(made);
        CHECK(made->label.kind == label_kind::crash);
        CHECK(made->why_not_app == "hook db: it was not frozen");
        CHECK(p.there("nightly")->kind == "crash");
    }

    TEST_CASE("bookmark: a name is given once, and after a restart as well") {
        pair_with_hooks p;
        REQUIRE(p.make(named("once")));
        const auto again = p.make(named("once"));
        REQUIRE_FALSE(again);
        CHECK(is(again.error(), errc::busy));
        sender_host other(p.primary, 'a'); // the same disks, after a kill
        const auto after = p.w.await(other.engine->bookmark("shop", named("once")));
        REQUIRE_FALSE(after);
        CHECK(is(after.error(), errc::busy));
    }

    TEST_CASE("bookmark: bad names, notes and times are refused, and nothing is frozen") {
        pair_with_hooks p;
        for (const char *name : {"", "4711", "latest", "a b", "-x", "2026-01-01T00:00:00Z"}) {
            CAPTURE(name);
            const auto made = p.make(named(name, true));
            REQUIRE_FALSE(made);
            CHECK(is(made.error(), errc::invalid));
        }
        bookmark_request r = named("noted");
        r.note = "two\nlines";
        CHECK_FALSE(p.make(r));
        r.note = std::string(label_note_bytes_max + 1, 'x');
        CHECK_FALSE(p.make(r));
        r.note = "";
        r.keep = std::chrono::hours(24 * 366 * 101);
        CHECK_FALSE(p.make(r));
        CHECK(p.applications->log.empty());
        CHECK_FALSE(p.there("noted"));
    }

    TEST_CASE("bookmark: {time} in a name is the time") {
        pair_with_hooks p;
        const auto made = p.make(named("hourly-{time}"));
        REQUIRE(made);
        CHECK(made->label.name.starts_with("hourly-"));
        CHECK(made->label.name.ends_with("Z"));
        CHECK(made->label.name.size() == std::string("hourly-20260101T000000Z").size());
    }

    TEST_CASE("bookmark: without a line it waits in the spool, and comes with its label") {
        pair_with_hooks p;
        p.w.line.cut(10ms);
        REQUIRE(p.w.until([&] { return !p.primary.status().connected; }));
        p.write(3, std::byte{3});
        const auto made = p.make(named("cut-off", true));
        REQUIRE_MESSAGE(made, made.error().text());
        CHECK_FALSE(made->durable);
        CHECK(made->label.kind == label_kind::app);
        p.write(4, std::byte{4});
        p.w.line.heal();
        REQUIRE(p.primary.streams());
        REQUIRE(p.w.await(p.primary.engine->wait("shop", false, 1min)));
        const auto point = p.there("cut-off");
        REQUIRE(point);
        CHECK(point->kind == "app");
        CHECK(point->id == made->point.point);
    }

    TEST_CASE("bookmark: an order that is lost takes it along, and it says so") {
        pair_with_hooks p;
        p.applications->when_frozen = [&](const std::string &name) {
            if (name == "files") { // in the middle of the freeze
                std::optional<result<>> done;
                asio::co_spawn(p.w.io, store_result(p.primary.engine->resync("shop", false), done),
                               asio::detached);
                while (!done) {
                    p.w.io.poll_one();
                }
            }
        };
        const auto made = p.make(named("lost", true));
        REQUIRE_FALSE(made);
        CHECK(is(made.error(), errc::not_in_sync));
        CHECK(p.applications->log.back() == "release db"); // nobody stays frozen
        REQUIRE(p.primary.streams());
        p.applications->when_frozen = nullptr;
        CHECK_FALSE(p.there("lost"));
        REQUIRE(p.make(named("lost", true))); // the name is free again
    }

    TEST_CASE("bookmark: lost after it was cut, and a later point is not taken for it") {
        pair_with_hooks p;
        p.w.line.half_open(); // nothing arrives, and nobody has noticed
        std::optional<result<bookmark_outcome>> made;
        asio::co_spawn(p.w.io,
                       store_result(p.primary.engine->bookmark("shop", named("gone")), made),
                       asio::detached);
        p.w.run_until([] { return false; }, 500ms);
        REQUIRE_FALSE(made);
        REQUIRE(p.w.await(p.primary.engine->resync("shop", false)));
        p.w.line.heal();
        REQUIRE(p.w.until([&] { return made.has_value(); }));
        REQUIRE_FALSE(*made);
        CHECK(is(made->error(), errc::not_in_sync));
        CHECK(made->error().context.find("is lost") != std::string::npos);
        REQUIRE(p.primary.streams());
        REQUIRE(p.w.await(p.primary.engine->wait("shop", false, 1min)));
        CHECK_FALSE(p.there("gone"));
        REQUIRE(p.make(named("gone"))); // nobody has that name
    }

    TEST_CASE("bookmark: two at once are cut one after the other") {
        pair_with_hooks p;
        std::optional<result<bookmark_outcome>> first;
        std::optional<result<bookmark_outcome>> second;
        asio::co_spawn(p.w.io,
                       store_result(p.primary.engine->bookmark("shop", named("one", true)), first),
                       asio::detached);
        asio::co_spawn(p.w.io,
                       store_result(p.primary.engine->bookmark("shop", named("two", true)), second),
                       asio::detached);
        REQUIRE(p.w.until([&] { return first && second; }));
        REQUIRE(*first);
        REQUIRE(*second);
        CHECK(p.applications->log ==
              std::vector<std::string>{"freeze db for one", "freeze files for one", "release files",
                                       "release db", "freeze db for two", "freeze files for two",
                                       "release files", "release db"});
        CHECK(p.there("one")->kind == "app");
        CHECK(p.there("two")->kind == "app");
    }

    TEST_CASE("bookmark: made on a schedule, once after a time without the sender, never twice") {
        world w;
        receiver_host site(w);
        const auto applications = std::make_shared<scripted_applications>(w.clock);
        bookmark_config hourly;
        hourly.name = "hourly-{time}";
        hourly.when.every = 1h;
        hourly.app = true;
        std::optional<sender_host> primary(std::in_place, w, 'a', std::vector{hook("db")},
                                           applications, std::vector{hourly});
        REQUIRE(primary->join(site.token()));
        REQUIRE(primary->streams());
        const auto made = [&] {
            std::size_t count = 0;
            for (const point_info &p : *w.await(site.engine->points("shop"))) {
                count += p.name.starts_with("hourly-") && p.kind == "app" ? 1 : 0;
            }
            return count;
        };
        REQUIRE(w.until([&] { return made() == 1; })); // the first one at once
        w.run_until([] { return false; }, 50min);
        CHECK(made() == 1);
        REQUIRE(w.run_until([&] { return made() == 2; }, 15min));

        // Down for hours: one is made up for.
        const sender_host *before = &*primary;
        sender_host again(*before, 'a');
        primary.reset();
        w.run_until([] { return false; }, 1min);
        CHECK(made() == 2); // it knows when the last one was
        REQUIRE(w.run_until([&] { return made() == 3; }, 70min));
        w.run_until([] { return false; }, 30min);
        CHECK(made() == 3);

        applications->refuses = "db";
        REQUIRE(w.run_until([&] { return !again.status().warnings.empty(); }, 70min));
        CHECK(again.status().warnings[0].find("the server is down") != std::string::npos);
        applications->refuses.clear();
        REQUIRE(w.run_until([&] { return again.status().warnings.empty(); }, 70min));
    }

    TEST_CASE("bookmark: a group without a partner, and one without hooks") {
        world w;
        sender_host alone(w, 'a');
        const auto refused = w.await(alone.engine->bookmark("shop", named("x")));
        REQUIRE_FALSE(refused);
        CHECK(is(refused.error(), errc::not_in_sync));

        receiver_host site(w);
        REQUIRE(alone.join(site.token()));
        REQUIRE(alone.streams());
        const auto made = w.await(alone.engine->bookmark("shop", named("x", true)));
        REQUIRE(made);
        CHECK(made->label.kind == label_kind::crash);
        CHECK(made->why_not_app == "the group has no [[group.hook]]");
    }
}

} // namespace farshore
