// Mounts that must not be frozen. All of them are /proc, which can't be: a mistake here stops
// nothing.

#include "replicator/hook/filesystem.hpp"

#include <doctest/doctest.h>

using namespace farshore;
using namespace farshore::hook;

namespace {

request of_proc() {
    request asked;
    asked.type = application::filesystem;
    asked.where = "/proc";
    asked.outside = true;
    return asked;
}
std::string refused_mount(const request &asked) {
    filesystem_freezer one(asked);
    tether t(std::chrono::seconds(5));
    const auto got = one.freeze(t);
    REQUIRE_FALSE(got);
    CHECK(one.let_go(t));
    return got.error().text();
}

} // namespace

TEST_SUITE("hook") {
    TEST_CASE("filesystem: a mount that has our own files on it") {
        request asked = of_proc();
        for (const char *path : {"/proc/version", "/proc/not/yet/there"}) {
            asked.never = {"/", path};
            CHECK(refused_mount(asked).contains(std::string(path) + " lies on /proc"));
        }
    }
    TEST_CASE("filesystem: a mount that is none of the group's") {
        request asked = of_proc();
        asked.outside = false;
        CHECK(refused_mount(asked).contains("no volume of the group"));
    }
    TEST_CASE("filesystem: a directory that is no mount point") {
        request asked = of_proc();
        asked.where = "/proc/self/task";
        CHECK(refused_mount(asked).contains("is no mount point"));
    }
    TEST_CASE("filesystem: one that can't be frozen says so") {
        CHECK(refused_mount(of_proc()).contains("freezing /proc"));
    }
    TEST_CASE("filesystem: another one in its place is not thawed") {
        const request asked = of_proc();
        filesystem_freezer one(asked);
        tether t(std::chrono::seconds(5));
        const auto forced = one.force_release(t, "1");
        REQUIRE_FALSE(forced);
        CHECK(forced.error().text().contains("another file system"));
    }
}
