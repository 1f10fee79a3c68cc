#include "replicator/cli/test_run.hpp"
#include "replicator/daemon/test_desk.hpp"

#include <doctest/doctest.h>

namespace farshore {

TEST_SUITE("test_desk") {
    TEST_CASE("what the daemon starts is what the command line takes") {
        test_config t;
        t.name = "nightly";
        t.point = "latest-app";
        t.run = {"/bin/sh", "-c", "--weird"};
        t.timeout = std::chrono::milliseconds(90500);
        t.isolate = true;
        t.mount = true;
        t.space_bytes = 8192;
        t.user = "nobody";
        auto words = test_desk::words_of("/usr/bin/farshore", "/run/r.sock", "shop", t);
        REQUIRE(words.front() == "/usr/bin/farshore");
        words.erase(words.begin());
        const auto inv = parse_invocation(cli_program::farshore, words);
        REQUIRE(inv);
        CHECK(inv->socket == "/run/r.sock");
        CHECK(inv->as_json);
        const auto r = test_request(*inv);
        REQUIRE(r);
        CHECK(r->from.group == "shop");
        CHECK(r->from.point == "latest-app");
        CHECK(r->from.mount);
        CHECK(r->from.space_bytes == 8192U);
        CHECK(r->run == t.run);
        CHECK(r->timeout == t.timeout);
        CHECK(r->isolate);
        CHECK(r->user == "nobody");
        CHECK(r->name == "nightly");
    }
}

} // namespace farshore
