// When a refused request is answered: after its payload, never before.

#include "replicator/base/limits.hpp"
#include "tests/unit/nbd/polled.hpp"

using namespace farshore;
using namespace farshore::nbd;
using namespace farshore::nbd::test;

namespace {

constexpr std::uint64_t export_bytes = 1 << 20;

struct refused_case {
    const char *what;
    request header;
    bool read_only;
    std::uint32_t error;
};

const std::vector<refused_case> &refused_cases() {
    constexpr std::uint32_t n = 100'000;
    const request write{.type = command_write, .cookie = 1, .length = n};
    static const std::vector<refused_case> cases = [&] {
        std::vector<refused_case> all{
            {"past the end", write, false, 28},        {"far past the end", write, false, 28},
            {"short, past the end", write, false, 28}, {"an unknown flag", write, false, 22},
            {"a read-only export", write, true, 1},    {"too long", write, false, 22}};
        all[0].header.offset = export_bytes - n + 1;
        all[1].header.offset = UINT64_MAX - 5;
        all[2].header.offset = export_bytes;
        all[2].header.length = 2;
        all[3].header.flags = 1 << 9;
        all[5].header.length = limits::nbd_request_bytes_max + 1;
        return all;
    }();
    return cases;
}

std::shared_ptr<memory_device> device_of(bool read_only) {
    auto device = std::make_shared<memory_device>(export_bytes);
    device->writable = !read_only;
    return device;
}

std::uint32_t error_of(bytes_view answer, bool structured, std::uint64_t cookie) {
    if (!structured) {
        const auto reply = read_struct<simple_reply>(answer);
        REQUIRE(reply);
        CHECK(reply->cookie == cookie);
        return reply->error;
    }
    const auto reply = read_struct<error_chunk>(answer);
    REQUIRE(reply);
    CHECK(reply->header.type == chunk_error);
    CHECK(reply->header.cookie == cookie);
    return reply->error;
}

} // namespace

TEST_SUITE("nbd refusal") {
    TEST_CASE("nbd refusal: a refused WRITE is answered with the last byte of its payload") {
        for (const bool structured : {false, true}) {
            for (const refused_case &c : refused_cases()) {
                CAPTURE(c.what);
                CAPTURE(structured);
                const auto device = device_of(c.read_only);
                polled_connection client(device);
                client.exchange(opening(structured));
                const byte_vector payload = pattern(c.header.length, 1);
                const bytes_view all = payload;
                CHECK(client.exchange(c.header).empty());
                CHECK(client.exchange(all.first(1)).empty());
                CHECK(client.exchange(all.subspan(1, all.size() - 2)).empty());
                const byte_vector answer = client.exchange(all.last(1));
                CHECK(answer.size() == (structured ? sizeof(error_chunk) : sizeof(simple_reply)));
                CHECK(error_of(answer, structured, 1) == c.error);
                CHECK(is_zero(device->content()));
            }
        }
    }

    TEST_CASE("nbd refusal: requests before and behind a refused WRITE are answered") {
        const auto device = device_of(false);
        device->never_try = true; // by the pool
        polled_connection client(device);
        client.exchange(opening(false));
        request header{.type = command_write, .cookie = 2, .offset = export_bytes, .length = 5000};
        byte_vector all;
        append_struct(all, encode_request({.type = command_read, .cookie = 1, .length = 10}));
        append_struct(all, encode_request(header));
        append_bytes(all, pattern(4999, 1));
        // The read's answer does not wait for the payload that somebody sends behind it.
        CHECK(client.exchange(all).size() == sizeof(simple_reply) + 10);
        all = pattern(1, 1);
        append_struct(all, encode_request({.type = command_flush, .cookie = 3}));
        header.offset = 0;
        header.cookie = 4;
        append_struct(all, encode_request(header));
        append_bytes(all, pattern(5000, 7));
        const byte_vector answers = client.exchange(all);
        REQUIRE(answers.size() == 3 * sizeof(simple_reply));
        CHECK(error_of(answers, false, 2) == 28);
        CHECK(error_of(bytes_view(answers).subspan(16), false, 3) == 0);
        CHECK(error_of(bytes_view(answers).subspan(32), false, 4) == 0);
        CHECK(equal(bytes_view(device->content()).first(5000), pattern(5000, 7)));
    }

    TEST_CASE("nbd refusal: requests without a payload are refused at once") {
        polled_connection client(device_of(false));
        client.exchange(opening(false));
        const request asked[] = {
            {.type = command_read, .cookie = 1, .offset = export_bytes, .length = 1},
            {.type = command_read, .cookie = 1, .length = UINT32_MAX},
            {.type = command_write, .cookie = 1, .length = 0},
            {.type = command_trim, .cookie = 1, .offset = export_bytes, .length = 1},
            {.type = command_cache, .cookie = 1, .length = 1},
            {.type = 4711, .cookie = 1, .length = 1}};
        for (const request &r : asked) {
            CAPTURE(r.type);
            CHECK(error_of(client.exchange(r), false, 1) == 22);
        }
    }

    TEST_CASE("nbd refusal: a payload that is too long even to be dropped ends the connection") {
        const auto limit = static_cast<std::uint32_t>(limits::nbd_refused_payload_bytes_max);
        for (const std::uint32_t length : {limit, limit + 1, UINT32_MAX}) {
            CAPTURE(length);
            polled_connection client(device_of(false));
            client.exchange(opening(false));
            byte_vector all;
            append_struct(all, encode_request({.type = command_flush, .cookie = 3}));
            append_struct(all,
                          encode_request({.type = command_write, .cookie = 1, .length = length}));
            CHECK(error_of(client.exchange(all), false, 3) == 0); // what came before has its answer
            CHECK(client.ended == (length > limit));
        }
    }
}
