// A DR site that says what it should not: the primary's daemon lives, serves its clients, believes
// nothing of it, and goes on with an honest site afterwards.

#include "replicator/base/geometry.hpp"
#include "replicator/format/frame.hpp"
#include "replicator/session/envelope.hpp"
#include "replicator/session/frame_assembly.hpp"
#include "replicator/session/peer_claims.hpp"
#include "tests/unit/sites/engine_rig.hpp"

namespace farshore {
namespace {

constexpr std::uint64_t top = ~std::uint64_t{0};

/// Takes a session as an honest site with an empty copy does, but for what the test twists.
struct twisted_site {
    world &w;
    bool acknowledges = true;
    std::function<void(wire::welcome &)> twist_welcome;
    std::function<void(wire::stream_ready &)> twist_ready;
    std::function<void(wire::digest_reply &)> twist_digests;
    std::function<void(wire::ack &)> twist_ack;
    std::function<bool(const barrier &, stream_position)> on_barrier; ///< true: no ack
    std::function<void(const wire::welcome &)> after_welcome; ///< says something more at once

    std::vector<std::shared_ptr<transport::link>> links;
    std::shared_ptr<transport::link> control;
    stream_position durable;
    std::uint64_t bytes = 0;
    unsigned sessions = 0;
    wire::begin_stream begun; ///< the newest
    std::uint64_t heals = 0;  ///< of the newest barrier

    explicit twisted_site(world &world) : w(world) {
        w.line.listen(address, [this](std::unique_ptr<transport::link> l) {
            links.push_back(std::move(l));
            asio::co_spawn(w.io, serve(links.back()), asio::detached);
        });
    }
    ~twisted_site() { leave(); }
    void leave() {
        w.line.listen(address, {});
        for (const auto &l : links) {
            l->close();
        }
        test::run_ready(w.io);
    }
    template <class Message>
    void say(const Message &m) {
        asio::co_spawn(w.io, tell(control, envelope_of(m)), asio::detached);
    }

  private:
    task<void> tell(std::shared_ptr<transport::link> l, transport::message m) {
        co_await l->send(std::move(m));
    }
    template <class Message>
    task<void> reply(transport::link &l, Message m, const std::function<void(Message &)> &twist) {
        if (twist) {
            twist(m);
        }
        co_await l.send(envelope_of(m));
    }
    task<void> serve(std::shared_ptr<transport::link> l) {
        for (;;) {
            auto got = co_await l->receive();
            if (!got) {
                l->close();
                co_return;
            }
            co_await answer(*l, l, *got);
        }
    }
    task<void> answer(transport::link &l, std::shared_ptr<transport::link> owner,
                      const transport::message &m) {
        const bytes_view body = m.payload.view();
        switch (static_cast<wire::message_type>(m.type)) {
        case wire::message_type::hello:
            if (wire::parse<wire::hello>(body)->link == 0) {
                ++sessions;
                control = std::move(owner);
                bytes = 0;
                durable = {};
                wire::welcome welcome;
                welcome.receiver[0] = std::byte{9};
                welcome.window_bytes = limits::window_bytes_max;
                if (twist_welcome) {
                    twist_welcome(welcome);
                }
                co_await reply(l, welcome, {});
                if (after_welcome) {
                    after_welcome(welcome);
                }
            }
            break;
        case wire::message_type::begin_stream: {
            wire::stream_ready ready;
            begun = *wire::parse<wire::begin_stream>(body);
            ready.stream = begun.stream;
            co_await reply(l, ready, twist_ready);
            break;
        }
        case wire::message_type::digest_request: {
            const auto request = wire::parse<wire::digest_request>(body);
            wire::digest_reply empty;
            empty.id = request->id;
            const std::uint64_t units = units_of(*request);
            for (std::uint64_t i = 0; i < units; ++i) {
                empty.zero_bits.resize(i / 8 + 1);
                empty.zero_bits[i / 8] |= std::byte{static_cast<std::uint8_t>(1U << (i % 8))};
            }
            co_await reply(l, empty, twist_digests);
            break;
        }
        case wire::message_type::changed_request: {
            wire::changed_reply nothing;
            nothing.known = true;
            co_await reply(l, nothing, {});
            break;
        }
        case wire::message_type::extent_request: {
            const auto request = wire::parse<wire::extent_request>(body);
            wire::extent_reply data; // everywhere: digests follow
            data.id = request->id;
            for (const wire::extent_range &r : request->ranges) {
                data.parts.push_back({r.length, 1});
                data.extents.push_back({0, ceil_div(r.length, block_bytes)});
            }
            co_await reply(l, data, {});
            break;
        }
        case wire::message_type::heartbeat:
            co_await reply(l, *wire::parse<wire::heartbeat>(body), {});
            break;
        case wire::message_type::frame: {
            bytes += frame_window_bytes(body.size());
            const auto frame = parse_frame(body);
            const stream_position at{frame->header.stream, frame->header.interval};
            if (frame->header.type == frame_type::barrier) {
                heals = parse_barrier(frame->payload)->heals;
            }
            if (frame->header.type == frame_type::barrier && acknowledges &&
                !(on_barrier && on_barrier(*parse_barrier(frame->payload), at))) {
                durable = at;
                wire::ack a;
                a.durable = a.applied = durable;
                a.point = durable.interval.value;
                a.journaled_bytes = bytes;
                co_await reply(*control, a, twist_ack);
            }
            break;
        }
        default:
            break;
        }
    }
};

/// A primary that a twisted site has got hold of.
struct misled_primary {
    world w;
    sender_host primary{w, 'a', trusting::site_ca};
    std::shared_ptr<block_device> device =
        sender_access::device(*primary.engine, "shop", volume_index{0});
    twisted_site site{w};

    misled_primary() { write(1); }
    void write(std::uint64_t block) {
        byte_vector data(block_bytes, std::byte{0x5A});
        REQUIRE(device->write(block * block_bytes, data, false));
    }
    bool streams() {
        return w.until([&] { return primary.status().state == sender_state::streaming; });
    }
    /// The site has this damage from its next welcome on.
    void damaged(std::uint64_t count) {
        site.twist_welcome = [count, at = site.durable](wire::welcome &said) {
            said.durable = said.applied = at;
            said.damage_count = count;
            said.damaged = count > 0;
        };
    }
    bool ends_with(const char *word) {
        std::string last;
        const bool ended = w.until([&] {
            last = primary.status().error.value_or(last);
            return says(primary.status().error, word);
        });
        INFO(last);
        CHECK_MESSAGE(ended, last);
        return ended;
    }
    /// The daemon serves, and an honest site gets everything.
    void goes_on_elsewhere() {
        site.leave();
        write(7);
        receiver_host honest(w, trusting::site_ca);
        REQUIRE(primary.streams());
        REQUIRE(w.await(primary.engine->wait("shop", false, std::chrono::minutes(1))));
        byte_vector here(limits::MiB);
        byte_vector there(limits::MiB);
        REQUIRE(device->read(0, here));
        REQUIRE((*honest.disk.open("/srv/data.img", open_mode::read))->read_at(0, there));
        CHECK(here == there);
    }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("hostile site: positions in a welcome that nobody can have reached") {
        for (const std::uint64_t interval : {limits::interval_jump_max + 1, limits::interval_id_max,
                                             limits::interval_id_max + 1, top - 1, top}) {
            CAPTURE(interval);
            misled_primary p;
            p.site.twist_welcome = [&](wire::welcome &w) {
                w.durable = w.applied = {stream_id{3}, interval_id{interval}};
            };
            p.ends_with("welcome.durable");
            p.goes_on_elsewhere();
        }
        misled_primary p;
        p.site.twist_welcome = [](wire::welcome &w) {
            w.partial = {stream_id{3}, interval_id{limits::interval_jump_max + 1}};
        };
        p.ends_with("welcome.partial");
        p.goes_on_elsewhere();
    }

    TEST_CASE("hostile site: positions that climb do not shut out the site that has a copy") {
        world w;
        receiver_host honest(w, trusting::site_ca);
        sender_host primary(w, 'a', trusting::site_ca);
        REQUIRE(primary.streams());
        REQUIRE(w.await(primary.engine->wait("shop", false, std::chrono::minutes(1))));
        honest.stop();
        {
            twisted_site site(w);
            for (const std::uint64_t jumps : {1, 2, 3}) {
                site.twist_welcome = [jumps](wire::welcome &said) {
                    said.durable = said.applied = {
                        stream_id{3}, interval_id{jumps * (limits::interval_jump_max - 1000)}};
                };
                const unsigned before = site.sessions;
                if (site.control) {
                    site.control->close();
                }
                REQUIRE(w.until([&] {
                    return site.sessions > before &&
                           primary.status().state == sender_state::streaming;
                }));
            }
        }
        honest.start();
        CHECK(primary.streams());
        CHECK(w.await(primary.engine->wait("shop", false, std::chrono::minutes(1))));
    }

    TEST_CASE("hostile site: a welcome as far ahead as is allowed is no harm") {
        misled_primary p;
        p.site.twist_welcome = [](wire::welcome &w) {
            w.durable = w.applied = {stream_id{3}, interval_id{limits::interval_jump_max}};
        };
        REQUIRE(p.w.until([&] { return p.primary.status().state == sender_state::streaming; }));
        p.goes_on_elsewhere();
    }

    TEST_CASE("hostile site: acks of what was never sent settle nothing") {
        for (const std::uint64_t ahead :
             {std::uint64_t{1}, std::uint64_t{1} << 20, limits::interval_id_max, top}) {
            CAPTURE(ahead);
            misled_primary p;
            p.site.twist_ack = [&](wire::ack &a) {
                a.durable.interval.value = ahead == top ? top : a.durable.interval.value + ahead;
            };
            p.ends_with("ack.durable");
            CHECK(p.primary.status().volumes[0].dirty_bytes > 0);
            p.site.twist_ack = {};
            p.goes_on_elsewhere();
        }
        misled_primary p;
        p.site.twist_ack = [](wire::ack &a) { a.journaled_bytes += 1; };
        p.ends_with("ack.journaled_bytes");
        CHECK(p.primary.status().volumes[0].dirty_bytes > 0);
        p.goes_on_elsewhere();
    }

    TEST_CASE("hostile site: answers that answer nothing") {
        misled_primary p;
        p.site.twist_ready = [](wire::stream_ready &r) { r.stream = r.stream + 1; };
        p.ends_with("stream_ready.stream");
        p.site.twist_ready = {};
        p.site.twist_digests = [](wire::digest_reply &r) { r.id = top; };
        p.ends_with("digest_reply.id");
        p.site.twist_digests = [](wire::digest_reply &r) { r.zero_bits.push_back(std::byte{1}); };
        p.ends_with("zero_bits");
        p.site.twist_digests = [](wire::digest_reply &r) { r.digests.resize(16); };
        p.ends_with("digests");
        p.site.twist_digests = {};
        const auto says_when_up = [&p](const auto &m, const char *word) {
            REQUIRE(p.w.until([&] { return p.primary.status().state == sender_state::streaming; }));
            p.site.say(m);
            p.ends_with(word);
        };
        wire::loan_reply loan;
        loan.slots = 1;
        loan.granted = {std::byte{1}};
        says_when_up(loan, "loan_reply.id");
        wire::nak nak;
        nak.damage_count = 1;
        nak.blocks.push_back({0, 256});
        says_when_up(nak, "nak");
        nak.blocks = {{60000, 0}};
        says_when_up(nak, "nak.blocks[].volume");
        wire::verify_result v;
        v.interval = 1;
        v.items.push_back({0, 0, 1ULL << 63, false});
        says_when_up(v, "items[].length");
        v.items = {{60000, 0, 4096, false}};
        says_when_up(v, "items[].volume");
        v.items = {{0, 0, 4096, false}};
        says_when_up(v, "verify_result");
        wire::digest_reply stray;
        stray.id = 1;
        says_when_up(stray, "digest_reply.id");
        says_when_up(wire::begin_stream{}, "type 6");
        p.goes_on_elsewhere();
    }

    TEST_CASE(
        "hostile site: damage that a nak tells is said in words, and everything is compared") {
        misled_primary p;
        REQUIRE(p.streams());
        wire::nak nak;
        nak.damage_count = 1;
        nak.complete = false;
        p.site.say(nak);
        p.ends_with("could not be decoded there");
        p.goes_on_elsewhere();
    }

    TEST_CASE("hostile site: verify answers that were not asked for") {
        for (const int kind : {0, 1, 2, 3}) {
            CAPTURE(kind);
            misled_primary p;
            p.site.on_barrier = [&](const barrier &b, stream_position at) {
                if (b.verify.empty()) {
                    return false;
                }
                wire::verify_result r;
                r.interval = at.interval.value;
                const verify_entry &e = b.verify.front();
                r.items.push_back({e.volume.value, e.range.offset, e.range.length, false});
                wire::verify_item &item = r.items.front();
                if (kind == 0) {
                    item.length /= 2;
                } else if (kind == 1) {
                    item.volume = 1;
                } else if (kind == 2) {
                    item.offset += 4096;
                } else {
                    r.items.push_back(item);
                }
                p.site.say(r);
                return false;
            };
            REQUIRE(p.w.until([&] { return p.primary.status().state == sender_state::streaming; }));
            const auto verified = p.w.await(p.primary.engine->verify("shop", {}));
            REQUIRE_FALSE(verified);
            CHECK_MESSAGE(verified.error().text().find("not asked for") != std::string::npos,
                          verified.error().text());
            p.goes_on_elsewhere();
        }
    }

    TEST_CASE(
        "hostile site: an ack that follows the welcome at once hides no copy that went back") {
        misled_primary p;
        REQUIRE(p.streams());
        const stream_position older = p.site.durable;
        p.write(2);
        REQUIRE(p.w.until([&] {
            return p.site.durable.interval > older.interval && p.primary.status().lag_bytes == 0;
        }));
        CHECK_FALSE(p.site.begun.copy_went_back);
        p.site.twist_welcome = [&](wire::welcome &said) { said.durable = said.applied = older; };
        p.site.after_welcome = [&](const wire::welcome &) {
            wire::ack a;
            a.durable = a.applied = older;
            p.site.say(a);
        };
        p.site.control->close();
        REQUIRE(p.w.until([&] { return p.site.sessions == 2 && p.primary.status().connected; }));
        CHECK(p.site.begun.copy_went_back);
        p.site.after_welcome = {};
        p.goes_on_elsewhere();
    }

    TEST_CASE(
        "hostile site: damage that is told before the stream begins is repaired by another one") {
        misled_primary p;
        p.site.after_welcome = [&](const wire::welcome &) {
            if (p.site.sessions > 1) {
                return;
            }
            wire::nak nak;
            nak.damage_count = 1;
            nak.complete = true;
            nak.blocks.push_back({0, 3});
            p.site.say(nak);
            p.damaged(1);
        };
        p.site.twist_ack = [](wire::ack &a) { a.damage_count = 1; };
        bool too_early = false; // a stream that began without knowing of it
        p.site.on_barrier = [&](const barrier &, stream_position) {
            too_early |= p.site.sessions == 1;
            return false;
        };
        REQUIRE(p.streams());
        CHECK_FALSE(too_early);
        CHECK(p.site.sessions == 2);
        CHECK(p.site.heals == 1);
        p.site.on_barrier = {};
        p.goes_on_elsewhere();
    }

    TEST_CASE("hostile site: damage that an ack tells and nothing else is repaired") {
        misled_primary p;
        REQUIRE(p.streams());
        CHECK(p.site.heals == 0);
        p.damaged(1);
        p.site.twist_ack = [](wire::ack &a) { a.damage_count = 1; };
        p.write(2);
        REQUIRE(p.w.until([&] { return p.site.sessions == 2; }));
        REQUIRE(p.streams());
        CHECK(p.site.heals == 1);
        p.goes_on_elsewhere();
    }

    TEST_CASE("hostile site: what a verify finds after it was given up is repaired all the same") {
        misled_primary p;
        REQUIRE(p.streams());
        wire::verify_result late;
        p.site.on_barrier = [&](const barrier &b, stream_position at) {
            for (const verify_entry &e : b.verify) {
                late.interval = at.interval.value;
                late.items.push_back({e.volume.value, e.range.offset, e.range.length, false});
            }
            return false;
        };
        const auto verified = p.w.await(p.primary.engine->verify("shop", {}));
        REQUIRE_FALSE(verified);
        CHECK(is(verified.error(), errc::timeout));
        REQUIRE_FALSE(late.items.empty());
        p.damaged(1);
        late.damage_count = 1;
        p.site.say(late);
        p.site.twist_ack = [](wire::ack &a) { a.damage_count = 1; };
        REQUIRE(p.w.until([&] { return p.site.sessions == 2; }));
        REQUIRE(p.streams());
        CHECK(p.site.heals == 1);
        p.goes_on_elsewhere();
    }
}

} // namespace farshore
