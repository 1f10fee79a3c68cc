#include "replicator/rehearsal/script_environment.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace farshore;
using namespace farshore::rehearsal;

namespace {

copy_facts facts() {
    copy_facts f;
    f.group = "shop";
    f.point = "17";
    f.time = "2026-01-31T18:00:00.000Z";
    f.kind = "app";
    f.name = "nightly";
    f.socket = "/tmp/x/nbd";
    f.directory = "/tmp/x/dir";
    f.volumes = {{"a-b", "uri1", ""}, {"a.b", "uri2", ""}, {"data", "uri3", ""}};
    return f;
}

bool has(const std::vector<std::string> &all, const std::string &entry) {
    return std::ranges::count(all, entry) == 1;
}

} // namespace

TEST_SUITE("script environment") {
    TEST_CASE("a script is told what it runs on") {
        const auto all = environment_of(facts(), {});
        CHECK(has(all, "FARSHORE_GROUP=shop"));
        CHECK(has(all, "FARSHORE_POINT=17"));
        CHECK(has(all, "FARSHORE_POINT_TIME=2026-01-31T18:00:00.000Z"));
        CHECK(has(all, "FARSHORE_POINT_KIND=app"));
        CHECK(has(all, "FARSHORE_POINT_NAME=nightly"));
        CHECK(has(all, "FARSHORE_NBD_SOCKET=/tmp/x/nbd"));
        CHECK(has(all, "FARSHORE_DIR=/tmp/x/dir"));
        CHECK(has(all, "FARSHORE_VOLUMES=a-b a.b data"));
        CHECK(has(all, "FARSHORE_URI_DATA=uri3"));
        CHECK(std::ranges::none_of(
            all, [](const std::string &e) { return e.starts_with("FARSHORE_MOUNT"); }));
    }

    TEST_CASE("volumes whose names differ in signs only have variables of their own") {
        const auto all = environment_of(facts(), {});
        CHECK(has(all, "FARSHORE_URI_A_B=uri1"));
        CHECK(has(all, "FARSHORE_URI_A_B_2=uri2"));
    }

    TEST_CASE("mounts, as far as there are") {
        copy_facts f = facts();
        f.mount = "/tmp/x/mnt";
        f.volumes[2].mount = "/tmp/x/mnt/data";
        const auto all = environment_of(f, {});
        CHECK(has(all, "FARSHORE_MOUNT=/tmp/x/mnt"));
        CHECK(has(all, "FARSHORE_MOUNT_DATA=/tmp/x/mnt/data"));
        CHECK(std::ranges::none_of(
            all, [](const std::string &e) { return e.starts_with("FARSHORE_MOUNT_A"); }));
    }

    TEST_CASE("of our environment all is passed on but what is meant for us") {
        const auto all =
            environment_of(facts(), {"PATH=/bin", "FARSHORE_GROUP=other", "NOTIFY_SOCKET=/run/n",
                                     "LISTEN_FDS=1", "WATCHDOG_USEC=1", "TZ=UTC"});
        CHECK(has(all, "PATH=/bin"));
        CHECK(has(all, "TZ=UTC"));
        CHECK(has(all, "FARSHORE_GROUP=shop"));
        for (const char *mine :
             {"FARSHORE_GROUP=other", "NOTIFY_SOCKET=", "LISTEN_FDS=", "WATCHDOG_"}) {
            CAPTURE(mine);
            CHECK(std::ranges::none_of(all,
                                       [&](const std::string &e) { return e.starts_with(mine); }));
        }
    }

    TEST_CASE("the socket of a URI, and the same export at another one") {
        CHECK(socket_of_uri("nbd+unix:///data?socket=/run/a%20b/c").value() == "/run/a b/c");
        CHECK(socket_of_uri("nbd+unix:///data?socket=%2Frun%2Fx").value() == "/run/x");
        CHECK(socket_of_uri("nbd+unix:///data?socket=/a%zz%4").value() == "/a%zz%4");
        for (const char *bad :
             {"nbd://host:1/data", "nbd+unix:///data?socket=", "", "nbd+unix:///d?socket=/a%00b"}) {
            CAPTURE(bad);
            CHECK_FALSE(socket_of_uri(bad));
        }
        const std::string uri = uri_at_socket("nbd+unix:///a%20b?socket=/run/x", "/tmp/q r/nbd");
        CHECK(uri == "nbd+unix:///a%20b?socket=/tmp/q%20r/nbd");
        CHECK(socket_of_uri(uri).value() == "/tmp/q r/nbd");
    }
}
