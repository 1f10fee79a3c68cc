#include "replicator/carry/new_file.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace farshore::carry {
namespace {

struct directory {
    std::string path = [] {
        std::string name = std::filesystem::temp_directory_path() / "farshore-carry-XXXXXX";
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        return name;
    }();
    ~directory() { std::filesystem::remove_all(path); }
    directory() = default;
    directory(const directory &) = delete;
    directory &operator=(const directory &) = delete;

    std::size_t files() const {
        return static_cast<std::size_t>(
            std::distance(std::filesystem::directory_iterator(path), {}));
    }
};

void put(const std::string &path, const char *text) { std::ofstream(path) << text; }
std::string content(const std::string &path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
}

} // namespace

TEST_SUITE("carry_new_file") {
    TEST_CASE("it has its name when it is published, and is gone when it is not") {
        const directory dir;
        const std::string path = dir.path + "/a.img";
        for (const partial_as how : {partial_as::file, partial_as::directory}) {
            {
                auto f = new_file::make(path, existing::refuse, how);
                REQUIRE(f);
                CHECK(f->partial().starts_with(path + ".partial-"));
                CHECK(!std::filesystem::exists(path));
                CHECK(dir.files() == 1);
            }
            CHECK(dir.files() == 0);
            {
                auto f = new_file::make(path, existing::refuse, how);
                REQUIRE(f);
                put(f->partial(), "whole");
                REQUIRE(f->publish());
            }
            CHECK(content(path) == "whole");
            CHECK(dir.files() == 1);
            std::filesystem::remove(path);
        }
    }

    TEST_CASE("a file that is there is kept, also one that comes up meanwhile") {
        const directory dir;
        const std::string path = dir.path + "/a.img";
        auto late = new_file::make(path, existing::refuse);
        REQUIRE(late);
        put(path, "mine");
        CHECK(is(new_file::make(path, existing::refuse).error(), errc::refused));
        CHECK(is(late->publish().error(), errc::refused));
        CHECK(content(path) == "mine");
        auto forced = new_file::make(path, existing::replace);
        REQUIRE(forced);
        CHECK(content(path) == "mine");
        REQUIRE(forced->publish());
        CHECK(content(path).empty());
    }

    TEST_CASE("what is no plain file is never replaced") {
        const directory dir;
        std::filesystem::create_symlink("/dev/null", dir.path + "/link");
        for (const char *name : {"/link", ""}) {
            CHECK(is(new_file::make(dir.path + name, existing::replace).error(), errc::refused));
        }
        CHECK(is(new_file::make(dir.path + "/", existing::replace).error(), errc::invalid));
        CHECK(is_errno(new_file::make(dir.path + "/no/a", existing::refuse).error(), ENOENT));
    }

    TEST_CASE("one of a set that was published can be taken back") {
        const directory dir;
        auto f = new_file::make(dir.path + "/a.img", existing::refuse);
        REQUIRE(f);
        REQUIRE(f->publish());
        f->withdraw();
        CHECK(dir.files() == 0);
    }
}

} // namespace farshore::carry
