// Every number of a message at its bound, one beyond, and at the largest that the field can hold: a
// peer's numbers are in range before anybody sees them.

#include "replicator/format/frame.hpp"
#include "replicator/format/messages.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <string>

namespace farshore::wire {
namespace {

constexpr std::uint64_t id_max = limits::interval_id_max;
constexpr std::uint64_t top = ~std::uint64_t{0};

/// `set` puts the value into the field; `name`: what the refusal has to name.
template <class Message>
void holds(const char *name, Message good, const std::function<void(Message &, std::uint64_t)> &set,
           const std::vector<std::uint64_t> &allowed, const std::vector<std::uint64_t> &refused) {
    for (const std::uint64_t value : allowed) {
        CAPTURE(name);
        CAPTURE(value);
        Message m = good;
        set(m, value);
        const auto parsed = parse<Message>(encode(m).view());
        CHECK_MESSAGE(parsed, (parsed ? std::string() : parsed.error().text()));
    }
    for (const std::uint64_t value : refused) {
        CAPTURE(name);
        CAPTURE(value);
        Message m = good;
        set(m, value);
        const auto parsed = parse<Message>(encode(m).view());
        REQUIRE_FALSE(parsed);
        CHECK(parsed.error().whose == fault::peer);
        CHECK_MESSAGE(parsed.error().context.find(name) != std::string::npos,
                      parsed.error().context);
    }
}

hello good_hello() {
    hello m;
    m.group = "shop";
    m.volumes.push_back({"data", 4096});
    return m;
}
welcome good_welcome() {
    welcome m;
    m.durable = m.applied = {stream_id{7}, interval_id{5}};
    return m;
}
ack good_ack() {
    ack m;
    m.durable = m.applied = {stream_id{7}, interval_id{5}};
    return m;
}
digest_request good_digests() {
    digest_request m;
    m.unit = 4096;
    m.ranges.push_back({0, 0, 4096});
    return m;
}
loan_request good_loans() {
    loan_request m;
    m.interval = 5;
    m.lender = "mail";
    m.runs.push_back({0, 0, byte_vector(16)});
    return m;
}
verify_result good_verified() {
    verify_result m;
    m.interval = 5;
    m.items.push_back({0, 0, 4096, true});
    return m;
}

} // namespace

TEST_SUITE("format") {
    TEST_CASE("messages: a hello's numbers and names") {
        const hello h = good_hello();
        holds<hello>("hello.link", h,
                     [](hello &m, std::uint64_t v) { m.link = static_cast<std::uint32_t>(v); },
                     {0, 16}, {17, 0xffffffff});
        holds<hello>(
            "hello.version_min", h,
            [](hello &m, std::uint64_t v) { m.version_min = static_cast<std::uint32_t>(v); },
            {0, 1}, {2});
        holds<hello>("hello.volumes[].size", h,
                     [](hello &m, std::uint64_t v) { m.volumes[0].size = v; },
                     {1, limits::volume_bytes_max}, {0, limits::volume_bytes_max + 1, top});
        holds<hello>("hello.volumes", h,
                     [](hello &m, std::uint64_t v) { m.volumes.resize(v, {"data", 4096}); },
                     {0, 1024}, {1025});
        using namespace std::string_literals;
        for (const auto &name : {""s, "."s, ".."s, ".img"s, "-x"s, "a/b"s, "etc\0"s, "a\nb"s,
                                 "\x1b]0;"s, "\xc3\xa4"s, std::string(65, 'a')}) {
            CAPTURE(name);
            hello volume = h;
            volume.volumes[0].name = name;
            CHECK_FALSE(parse<hello>(encode(volume).view()));
            hello group = h;
            group.group = name;
            CHECK_FALSE(parse<hello>(encode(group).view()));
            loan_request lender = good_loans();
            lender.lender = name;
            CHECK_FALSE(parse<loan_request>(encode(lender).view()));
        }
    }

    TEST_CASE("messages: a receiver's positions and counts") {
        const welcome w = good_welcome();
        using W = welcome;
        holds<W>("welcome.durable", w, [](W &m, std::uint64_t v) { m.durable.interval.value = v; },
                 {5, id_max}, {id_max + 1, top - 1, top});
        holds<W>("applied", w, [](W &m, std::uint64_t v) { m.applied.interval.value = v; }, {1, 5},
                 {6, id_max, id_max + 1, top});
        holds<W>("welcome.partial", w,
                 [](W &m, std::uint64_t v) { m.partial = {stream_id{8}, interval_id{v}}; },
                 {6, id_max}, {5, id_max + 1, top});
        holds<W>("welcome.partial_index", w,
                 [](W &m, std::uint64_t v) { m.partial_index = static_cast<std::uint32_t>(v); },
                 {0, 4096}, {4097, 0xffffffff});
        holds<W>("point", w, [](W &m, std::uint64_t v) { m.point = v; }, {0, 5},
                 {6, id_max + 1, top});
        holds<W>("welcome.damage_count", w, [](W &m, std::uint64_t v) { m.damage_count = v; },
                 {0, id_max}, {id_max + 1, top});
        W damaged = w;
        damaged.damaged = true;
        CHECK_FALSE(parse<W>(encode(damaged).view()));
        W half = w;
        half.durable.stream = {};
        CHECK_FALSE(parse<W>(encode(half).view()));

        const ack a = good_ack();
        holds<ack>("ack.durable", a, [](ack &m, std::uint64_t v) { m.durable.interval.value = v; },
                   {5, id_max}, {id_max + 1, top - 1, top});
        holds<ack>("applied", a, [](ack &m, std::uint64_t v) { m.applied.interval.value = v; }, {5},
                   {6, id_max, top});
        holds<ack>("point", a, [](ack &m, std::uint64_t v) { m.point = v; }, {5}, {6, id_max, top});
        holds<ack>("ack.damage_count", a, [](ack &m, std::uint64_t v) { m.damage_count = v; },
                   {id_max}, {id_max + 1, top});
        holds<refusal>("refusal.code", {},
                       [](refusal &m, std::uint64_t v) { m.code = static_cast<std::uint8_t>(v); },
                       {1, 10}, {0, 11, 255});
    }

    TEST_CASE("messages: streams, digests and loans") {
        begin_stream b;
        b.stream = 7;
        b.first = 1;
        holds<begin_stream>("begin_stream.first", b,
                            [](begin_stream &m, std::uint64_t v) { m.first = v; }, {1, id_max},
                            {0, id_max + 1, top});
        holds<begin_stream>("begin_stream.stream", b,
                            [](begin_stream &m, std::uint64_t v) { m.stream = v; }, {1, top}, {0});

        const digest_request d = good_digests();
        using D = digest_request;
        holds<D>("digest_request.unit", d, [](D &m, std::uint64_t v) { m.unit = v; },
                 {4096, limits::MiB}, {0, 1, 4097, limits::MiB + 4096, top});
        holds<D>("ranges[].volume", d,
                 [](D &m, std::uint64_t v) { m.ranges[0].volume = static_cast<std::uint32_t>(v); },
                 {0, 1023}, {1024, 0xffffffff});
        holds<D>("ranges[].offset", d, [](D &m, std::uint64_t v) { m.ranges[0].offset = v; },
                 {0, limits::volume_bytes_max}, {1, limits::volume_bytes_max + 4096, top});
        holds<D>("ranges[].length", d, [](D &m, std::uint64_t v) { m.ranges[0].length = v; },
                 {1, limits::MiB}, {0, limits::MiB + 1, top});
        holds<D>("digest_request.ranges", d,
                 [](D &m, std::uint64_t v) { m.ranges.resize(v, {0, 0, 4096}); }, {1, 256},
                 {0, 257});
        holds<digest_reply>("digest_reply.digests", {},
                            [](digest_reply &m, std::uint64_t v) { m.digests.resize(v); }, {0, 16},
                            {15, 17});

        const loan_request l = good_loans();
        using L = loan_request;
        holds<L>("loan_request.interval", l, [](L &m, std::uint64_t v) { m.interval = v; },
                 {1, id_max}, {0, id_max + 1, top});
        holds<L>("runs[].volume", l,
                 [](L &m, std::uint64_t v) { m.runs[0].volume = static_cast<std::uint32_t>(v); },
                 {1023}, {1024});
        holds<L>("runs[].block", l, [](L &m, std::uint64_t v) { m.runs[0].block = v; },
                 {(1ULL << 38) - 1}, {1ULL << 38, top});
        holds<L>("runs[].digests", l, [](L &m, std::uint64_t v) { m.runs[0].digests.resize(v); },
                 {16, 65536}, {0, 15, 17});
        holds<L>("loan_request.runs", l,
                 [](L &m, std::uint64_t v) { m.runs.resize(v, {0, 0, byte_vector(16)}); },
                 {1, 4096}, {0, 4097});
        L many = l;
        many.runs.resize(2, {0, 0, byte_vector(65536)});
        CHECK_FALSE(parse<L>(encode(many).view()));

        loan_reply r;
        r.slots = 64;
        r.granted = {std::byte{0xff}};
        using R = loan_reply;
        holds<R>("loan_reply", r, [](R &m, std::uint64_t v) { m.first = v; }, {0, 63}, {64, top});
        holds<R>("slots", r, [](R &m, std::uint64_t v) { m.slots = v; }, {8, 1 << 18},
                 {0, 1, 7, (1 << 18) + 1, top});
    }

    TEST_CASE("messages: damage and verify results") {
        nak n;
        n.damage_count = 1;
        n.blocks.push_back({0, 0});
        holds<nak>("nak.damage_count", n, [](nak &m, std::uint64_t v) { m.damage_count = v; },
                   {1, id_max}, {0, id_max + 1, top});
        holds<nak>(
            "blocks[].volume", n,
            [](nak &m, std::uint64_t v) { m.blocks[0].volume = static_cast<std::uint32_t>(v); },
            {1023}, {1024});
        holds<nak>("blocks[].block", n, [](nak &m, std::uint64_t v) { m.blocks[0].block = v; },
                   {(1ULL << 38) - 1}, {1ULL << 38, top});
        holds<nak>("nak", n, [](nak &m, std::uint64_t v) { m.blocks.resize(v); }, {1, 4096},
                   {0, 4097});
        const verify_result v = good_verified();
        using V = verify_result;
        holds<V>("verify_result.interval", v, [](V &m, std::uint64_t x) { m.interval = x; },
                 {1, id_max}, {0, id_max + 1, top});
        holds<V>("items[].volume", v,
                 [](V &m, std::uint64_t x) { m.items[0].volume = static_cast<std::uint32_t>(x); },
                 {1023}, {1024, 60000});
        holds<V>("items[].offset", v, [](V &m, std::uint64_t x) { m.items[0].offset = x; },
                 {1, limits::volume_bytes_max}, {limits::volume_bytes_max + 1, top});
        holds<V>("items[].length", v, [](V &m, std::uint64_t x) { m.items[0].length = x; },
                 {1, limits::verify_hole_bytes_max},
                 {0, limits::verify_hole_bytes_max + 1, 1ULL << 63, top});
        holds<V>("verify_result.items", v,
                 [](V &m, std::uint64_t x) { m.items.resize(x, {0, 0, 4096, true}); }, {1, 4096},
                 {0, 4097});
    }

    TEST_CASE("messages: what a scrub wants compared") {
        compare_request r;
        r.length = 4096;
        using C = compare_request;
        holds<C>("compare_request.id", r, [](C &m, std::uint64_t v) { m.id = v; }, {0, id_max},
                 {id_max + 1, top});
        holds<C>("compare_request.volume", r,
                 [](C &m, std::uint64_t v) { m.volume = static_cast<std::uint32_t>(v); }, {0, 1023},
                 {1024, 0xffffffff});
        holds<C>("compare_request.offset", r, [](C &m, std::uint64_t v) { m.offset = v; },
                 {0, limits::volume_bytes_max}, {1, limits::volume_bytes_max + 4096, top});
        holds<C>("compare_request.length", r, [](C &m, std::uint64_t v) { m.length = v; },
                 {1, limits::compare_bytes_max}, {0, limits::compare_bytes_max + 1, top});
        holds<compare_reply>("compare_reply.id", {},
                             [](compare_reply &m, std::uint64_t v) { m.id = v; }, {0, id_max},
                             {id_max + 1, top});
    }

    TEST_CASE("messages: what a site says of its role") {
        using C = site_claim;
        holds<C>("site_claim.role", {},
                 [](C &m, std::uint64_t v) { m.role = static_cast<std::uint8_t>(v); }, {0, 3},
                 {4, 255});
        holds<C>("site_claim.lineage", {},
                 [](C &m, std::uint64_t v) { m.lineage.resize(v, {7, {}}); },
                 {0, 1, limits::generations_max}, {limits::generations_max + 1});
        holds<C>("site_claim.offers", {}, [](C &m, std::uint64_t v) { m.offers = v; }, {0, id_max},
                 {id_max + 1, top});
        holds<C>("site_claim.void_upto", {}, [](C &m, std::uint64_t v) { m.void_upto = v; },
                 {0, id_max}, {id_max + 1, top});
    }

    TEST_CASE("messages: the offer of a role") {
        using O = role_offer;
        holds<O>("role_offer.number", {}, [](O &m, std::uint64_t v) { m.number = v; }, {1, id_max},
                 {0, id_max + 1, top});
        holds<O>("role_offer.barrier", {},
                 [](O &m, std::uint64_t v) { m.barrier = {stream_id{7}, interval_id{v}}; },
                 {1, id_max}, {id_max + 1, top});
    }

    TEST_CASE("messages: numbers of a frame's header and barrier") {
        frame_header h;
        h.stream = stream_id{1};
        h.interval = interval_id{id_max};
        CHECK(parse_frame_header(make_frame(h, {}).view()));
        barrier b;
        b.heals = id_max;
        b.time = wall_time(std::chrono::sys_days(std::chrono::year(2200) / 1 / 1)) - duration(1);
        CHECK(parse_barrier(encode_barrier(b)));
        for (const std::uint64_t heals : {id_max + 1, top}) {
            barrier bad = b;
            bad.heals = heals;
            CHECK_FALSE(parse_barrier(encode_barrier(bad)));
        }
        for (const wall_time t : {b.time + duration(1), wall_time(duration::max()),
                                  wall_time(duration(-1)), wall_time(duration::min())}) {
            barrier bad = b;
            bad.time = t;
            CHECK_FALSE(parse_barrier(encode_barrier(bad)));
        }
        CHECK(next(interval_id{top}) ==
              interval_id{top}); // from nowhere; it does not become "none yet"
    }
}

} // namespace farshore::wire
