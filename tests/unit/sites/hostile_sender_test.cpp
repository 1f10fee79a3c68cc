// A sender that breaks rules: its session ends with words and as its own fault; the copy, its
// points, those that an operator has open, and the other group are as before.

#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/format/endian.hpp"
#include "replicator/format/frame.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/session/envelope.hpp"
#include "tests/unit/sites/engine_rig.hpp"

#include <unistd.h>

namespace farshore {
namespace {

constexpr std::uint64_t top = ~std::uint64_t{0};
constexpr std::uint64_t mail_volume_bytes = limits::MiB;

/// A session with the receiver's group "mail", message by message.
struct scripted_sender {
    world &w;
    std::unique_ptr<transport::link> control;
    std::unique_ptr<transport::link> data;
    wire::welcome welcome;
    std::string refused; ///< the receiver's words

    explicit scripted_sender(world &world, std::uint64_t volumes = 1) : w(world) {
        wire::hello h;
        h.group = "mail";
        h.session = 4711;
        h.sender[0] = std::byte{7};
        h.instance = 1;
        for (std::uint64_t i = 0; i < volumes; ++i) {
            h.volumes.push_back({"v" + std::to_string(i), mail_volume_bytes});
        }
        greet(h);
    }
    void greet(const wire::hello &h) {
        control = connect();
        send(*control, h);
        const auto answer = w.await(control->receive());
        REQUIRE(answer);
        if (answer->type == static_cast<std::uint16_t>(wire::message_type::refusal)) {
            refused = wire::parse<wire::refusal>(answer->payload.view())->text;
            return;
        }
        welcome = *wire::parse<wire::welcome>(answer->payload.view());
        data = connect();
        wire::hello link;
        link.group = h.group;
        link.session = h.session;
        link.sender = h.sender;
        link.link = 1;
        send(*data, link);
        test::run_for(w.io, w.clock, std::chrono::milliseconds(50));
    }
    std::unique_ptr<transport::link> connect() {
        auto c = w.line.make_connector(address, transport::alpn_session, std::string(64, 'e'),
                                       receiver_fingerprint);
        auto got = w.await(c->connect(std::chrono::seconds(1)));
        REQUIRE(got);
        return std::move(*got);
    }
    template <class Message>
    void send(transport::link &l, const Message &m) {
        REQUIRE(w.await(l.send(envelope_of(m))));
    }
    template <class Message>
    void say(const Message &m) {
        send(*control, m);
    }
    void frame(const buffer &bytes) {
        transport::message out;
        out.type = static_cast<std::uint16_t>(wire::message_type::frame);
        out.payload = buffer::copy_of(bytes.view());
        REQUIRE(w.await(data->send(std::move(out))));
    }
    void begin(std::uint64_t stream, std::uint64_t first) {
        wire::begin_stream b;
        b.stream = stream;
        b.first = first;
        say(b);
        test::run_for(w.io, w.clock, std::chrono::milliseconds(50)); // frames come on another link
    }
    /// What comes next but for heartbeats and notices; nothing when the session ended.
    std::optional<transport::message> hear() {
        for (;;) {
            auto got = w.await(control->receive());
            if (!got) {
                return std::nullopt;
            }
            if (got->type == static_cast<std::uint16_t>(wire::message_type::refusal)) {
                const auto r = wire::parse<wire::refusal>(got->payload.view());
                refused = r->text;
                CHECK(r->code == static_cast<std::uint8_t>(wire::refusal_code::protocol));
                return std::nullopt;
            }
            const auto type = static_cast<wire::message_type>(got->type);
            if (type != wire::message_type::heartbeat && type != wire::message_type::notice) {
                return std::move(*got);
            }
        }
    }
    /// Until an ack says that the interval is durable and shown.
    void acknowledged(std::uint64_t interval) {
        while (auto got = hear()) {
            if (got->type == static_cast<std::uint16_t>(wire::message_type::ack) &&
                wire::parse<wire::ack>(got->payload.view())->applied.interval.value >= interval) {
                return;
            }
        }
        FAIL("no ack; " << refused);
    }
    bool is_refused(const char *word) {
        while (hear()) {
        }
        CHECK_MESSAGE(refused.find(word) != std::string::npos, refused);
        return refused.find(word) != std::string::npos;
    }
};

buffer barrier_frame(std::uint64_t stream, std::uint64_t interval, barrier b = {},
                     std::uint32_t index = 0) {
    frame_header h;
    h.type = frame_type::barrier;
    h.stream = stream_id{stream};
    h.interval = interval_id{interval};
    h.index = index;
    b.consistent = true;
    if (index == 0) {
        b.frames_checksum = checksum_stream().digest64();
    }
    return make_frame(h, encode_barrier(b));
}
buffer data_frame(std::uint64_t stream, std::uint64_t interval, bytes_view payload) {
    frame_header h;
    h.stream = stream_id{stream};
    h.interval = interval_id{interval};
    h.blocks = 1;
    return make_frame(h, payload);
}
/// The interval of data_frame() ends.
buffer barrier_after(const buffer &data, std::uint64_t stream, std::uint64_t interval) {
    barrier b;
    b.data_frames = 1;
    b.blocks = 1;
    checksum_stream sums;
    const le64 sum(parse_frame_header(data.view())->payload_checksum);
    sums.update(struct_bytes(sum));
    b.frames_checksum = sums.digest64();
    return barrier_frame(stream, interval, b, 1);
}

/// A receiver with an honest sender of "shop", and a copy of "mail" at interval 10 with a point
/// that is open.
struct attacked_site {
    world w;
    receiver_host site{w, trusting::site_ca};
    sender_host honest{w, 'a', trusting::site_ca};
    std::string opened;

    attacked_site() {
        REQUIRE(honest.streams());
        scripted_sender s(w);
        s.begin(5, 10);
        s.frame(barrier_frame(5, 10));
        s.acknowledged(10);
        const auto open = w.await(site.engine->open(
            "mail", {.point = "10",
                     .nbd = "unix:/tmp/farshore-unit-" + std::to_string(getpid()) + ".sock"}));
        INFO((open ? std::string() : open.error().text()));
        REQUIRE(open);
        opened = open->id;
    }
    ~attacked_site() { (void)w.await(site.engine->close(opened)); }
    receiver_group_status mail() const { return site.engine->status()[1]; }
    /// Says why, in the receiver's own words too, and nothing else has happened.
    void survives(scripted_sender &s, const char *word) {
        CHECK(s.is_refused(word));
        CHECK_MESSAGE(says(mail().error, word), mail().error.value_or("no error"));
        CHECK(says(mail().error, "the sender broke the protocol"));
        CHECK(mail().state != receiver_state::failed);
        CHECK(mail().durable_barrier->id.value == 10);
        REQUIRE(site.engine->opened().size() == 1);
        CHECK(site.engine->opened()[0].id == opened);
        CHECK(honest.status().state == sender_state::streaming);
        scripted_sender again(w); // its place is free, and its copy as it was
        CHECK(again.welcome.durable == stream_position{stream_id{5}, interval_id{10}});
    }
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("hostile sender: streams that begin nowhere") {
        attacked_site a;
        for (const std::uint64_t first :
             {std::uint64_t{10}, 1 + limits::first_stream_id_max, limits::interval_id_max, top}) {
            CAPTURE(first);
            scripted_sender s(a.w);
            s.begin(6, first);
            a.survives(s, "begin_stream.first");
        }
        scripted_sender s(a.w);
        s.begin(5, 12);
        a.survives(s, "begin_stream.first");
        scripted_sender t(a.w);
        t.begin(0, 11);
        a.survives(t, "begin_stream.stream");
    }

    TEST_CASE("hostile sender: questions outside the copy") {
        attacked_site a;
        for (const wire::digest_range &r :
             {wire::digest_range{1, 0, 4096}, wire::digest_range{0, mail_volume_bytes, 4096},
              wire::digest_range{0, mail_volume_bytes - 4096, 8192}}) {
            scripted_sender s(a.w);
            wire::digest_request d;
            d.unit = 4096;
            d.ranges.push_back(r);
            s.say(d);
            a.survives(s, "digest_request.ranges");
        }
        scripted_sender s(a.w);
        wire::loan_request l;
        l.interval = 12 + limits::loan_window;
        l.lender = "shop";
        l.runs.push_back({0, 0, byte_vector(16)});
        s.say(l);
        a.survives(s, "loan_request.interval");
        scripted_sender t(a.w);
        l.interval = top;
        t.say(l);
        a.survives(t, "loan_request.interval");
        scripted_sender u(a.w);
        l.interval = 11 + limits::loan_window;
        u.say(l);
        const auto got = u.hear();
        REQUIRE(got);
        CHECK(got->type == static_cast<std::uint16_t>(wire::message_type::loan_reply));
    }

    TEST_CASE("hostile sender: frames and barriers that are none") {
        attacked_site a;
        const auto sends = [&a](buffer frame, const char *word) {
            scripted_sender s(a.w);
            s.begin(6, 11);
            s.frame(frame);
            a.survives(s, word);
        };
        buffer rotten = barrier_frame(6, 11);
        rotten.span()[70] ^= std::byte{1};
        sends(std::move(rotten), "checksum");
        buffer header = barrier_frame(6, 11);
        header.span()[20] ^= std::byte{1};
        sends(std::move(header), "checksum");
        barrier b;
        b.blocks = 5;
        sends(barrier_frame(6, 11, b), "does not fit its frames");
        b = {};
        b.heals = limits::heals_slack + 1;
        sends(barrier_frame(6, 11, b), "heals");
        b = {};
        b.time = wall_time(duration::max());
        sends(barrier_frame(6, 11, b), "1970 to 2199");
        b = {};
        b.verify.resize(1);
        b.verify[0].range = {mail_volume_bytes, 4096};
        sends(barrier_frame(6, 11, b), "no volume has");
        b.verify[0].range = {0, 4096};
        b.verify[0].volume = volume_index{1};
        sends(barrier_frame(6, 11, b), "no volume has");
        buffer cut = buffer::copy_of(barrier_frame(6, 11).view().first(100));
        sends(std::move(cut), "header says");
        {
            scripted_sender s(
                a.w); // in the middle of an interval that the journal holds a frame of
            s.begin(6, 11);
            const byte_vector some(100, std::byte{1});
            s.frame(data_frame(6, 11, some));
            s.frame(barrier_frame(6, 11, {}, 1));
            a.survives(s, "does not fit its frames");
        }
        scripted_sender s(a.w);
        s.send(*s.data, wire::heartbeat{});
        a.survives(s, "type 11");
    }

    TEST_CASE("hostile sender: more images than the operator allows, and nothing is made") {
        world w;
        receiver_host site(w, trusting::site_ca);
        const scripted_sender s(w, 65);
        CHECK_MESSAGE(s.refused.find("volumes_max") != std::string::npos, s.refused);
        CHECK(site.engine->peers().empty()); // nor is the group that sender's from here on
        CHECK_FALSE(*site.disk.exists("/srv/mail"));
        CHECK_FALSE(*site.disk.exists("/srv/mail/v0.img"));
        const scripted_sender t(w, 64);
        CHECK(t.refused.empty());
        CHECK(site.engine->peers().size() == 1);
        CHECK(*site.disk.exists("/srv/mail/v63.img"));
    }

    TEST_CASE("hostile sender: what changed after a barrier is told of one that the copy had, by "
              "its stream too") {
        attacked_site a;
        {
            scripted_sender s(a.w);
            for (const std::uint64_t stream : {std::uint64_t{5}, std::uint64_t{6}}) {
                CAPTURE(stream);
                wire::changed_request r;
                r.after = {stream_id{stream}, interval_id{10}};
                s.say(r);
                const auto got = s.hear();
                REQUIRE(got);
                REQUIRE(got->type == static_cast<std::uint16_t>(wire::message_type::changed_reply));
                CHECK(wire::parse<wire::changed_reply>(got->payload.view())->known ==
                      (stream == 5));
            }
        }
        scripted_sender s(a.w);
        wire::changed_request r;
        r.after = {stream_id{5}, interval_id{11}};
        s.say(r);
        a.survives(s, "changed_request.after");
    }

    TEST_CASE("hostile sender: what does not decode is damage that both sides know of, and heals") {
        attacked_site a;
        {
            scripted_sender s(a.w);
            s.begin(6, 11);
            const byte_vector rubbish(100, std::byte{1});
            const buffer data = data_frame(6, 11, rubbish);
            s.frame(data);
            s.frame(barrier_after(data, 6, 11));
            std::optional<wire::nak> told;
            while (!told) {
                const auto got = s.hear();
                REQUIRE(got);
                if (got->type == static_cast<std::uint16_t>(wire::message_type::ack)) {
                    CHECK(wire::parse<wire::ack>(got->payload.view())->damage_count ==
                          0); // not before the nak
                }
                if (got->type == static_cast<std::uint16_t>(wire::message_type::nak)) {
                    told = *wire::parse<wire::nak>(got->payload.view());
                }
            }
            CHECK_FALSE(told->complete);
            CHECK(told->blocks.empty());
            CHECK(told->damage_count == 1);
            CHECK_MESSAGE(says(a.mail().held_back, "could not be decoded"),
                          a.mail().held_back.value_or("nothing"));
            CHECK(a.mail().newest_point->id == "10");
        }
        scripted_sender s(a.w);
        CHECK(s.welcome.damaged);
        CHECK(s.welcome.damage_count == 1);
        barrier heals;
        heals.heals = 1;
        s.begin(7, 20);
        s.frame(barrier_frame(7, 20, heals));
        s.acknowledged(20);
        CHECK(a.mail().newest_point->id == "20");
        CHECK_FALSE(a.mail().held_back);
        CHECK(a.site.engine->opened().size() == 1);
    }
}

} // namespace farshore
