// What every file_system must do with names, run on the real and on the simulated one.

#include "replicator/base/limits.hpp"
#include "tests/unit/storage/fixtures.hpp"

using namespace farshore;

TEST_SUITE("storage") {
    TEST_CASE("path: join puts one slash, parent takes the last name off") {
        CHECK(join_path("a", "b") == "a/b");
        CHECK(join_path("a/", "b") == "a/b");
        CHECK(join_path("a", "/b") == "a/b");
        CHECK(join_path("/", "b") == "/b");
        CHECK(join_path("", "b") == "b");
        CHECK(join_path("/a/b", "c.d") == "/a/b/c.d");
        CHECK(parent_path("/a/b") == "/a");
        CHECK(parent_path("a/b/c") == "a/b");
        CHECK(parent_path("/a") == "/");
        CHECK(parent_path("a") == ".");
    }

    TEST_CASE_TEMPLATE("file system: directories are made with their parents, again without harm",
                       T, posix_fixture, sim_fixture) {
        T t;
        const std::string deep = join_path(t.root(), "a/b/c");
        CHECK(t.fs.make_directories(deep));
        CHECK(t.fs.make_directories(deep + "/"));
        CHECK(t.fs.exists(deep).value());
        CHECK(t.fs.open(join_path(deep, "f"), open_mode::create));
        CHECK(failed_with(t.fs.make_directories(join_path(deep, "f")), ENOTDIR));
        CHECK(failed_with(t.fs.make_directories(join_path(deep, "f/g")), ENOTDIR));
        CHECK(t.fs.list(join_path(t.root(), "a")).value() == std::vector<std::string>{"b"});
    }

    TEST_CASE_TEMPLATE("file system: a list is sorted and of one directory only", T, posix_fixture,
                       sim_fixture) {
        T t;
        CHECK(t.fs.list(t.root()).value().empty());
        for (const char *name : {"b", "a", "c-1", "c"}) {
            REQUIRE(t.fs.open(join_path(t.root(), name), open_mode::create));
        }
        REQUIRE(t.fs.make_directories(join_path(t.root(), "d/inside")));
        CHECK(t.fs.list(t.root()).value() == std::vector<std::string>{"a", "b", "c", "c-1", "d"});
        CHECK(failed_with(t.fs.list(join_path(t.root(), "none")), ENOENT));
        CHECK(failed_with(t.fs.list(join_path(t.root(), "a")), ENOTDIR));
    }

    TEST_CASE_TEMPLATE("file system: rename replaces, and open files follow", T, posix_fixture,
                       sim_fixture) {
        T t;
        const std::string from = join_path(t.root(), "from");
        const std::string to = join_path(t.root(), "to");
        CHECK(failed_with(t.fs.rename(from, to), ENOENT));
        const auto moved = t.fs.open(from, open_mode::create);
        const auto replaced = t.fs.open(to, open_mode::create);
        REQUIRE(moved);
        REQUIRE(replaced);
        REQUIRE((*moved)->write_at(0, as_bytes("new")));
        REQUIRE((*replaced)->write_at(0, as_bytes("old")));
        REQUIRE(t.fs.rename(from, to));
        CHECK_FALSE(t.fs.exists(from).value());
        CHECK(as_text(t.fs.read_file(to).value()) == "new");
        CHECK(as_text(read_all(**replaced)) == "old");
        REQUIRE((*moved)->write_at(3, as_bytes("er")));
        CHECK(as_text(t.fs.read_file(to).value()) == "newer");
        CHECK(t.fs.rename(to, to));
        REQUIRE(t.fs.make_directories(join_path(t.root(), "d")));
        CHECK(failed_with(t.fs.rename(to, join_path(t.root(), "d")), EISDIR));
        CHECK(failed_with(t.fs.rename(join_path(t.root(), "d"), to), ENOTDIR));
        CHECK(failed_with(t.fs.rename(to, join_path(t.root(), "none/x")), ENOENT));
    }

    TEST_CASE_TEMPLATE("file system: renaming a directory takes its files along", T, posix_fixture,
                       sim_fixture) {
        T t;
        REQUIRE(t.fs.make_directories(join_path(t.root(), "a/sub")));
        REQUIRE(t.fs.replace_file(join_path(t.root(), "a/sub/f"), as_bytes("x")));
        REQUIRE(t.fs.make_directories(join_path(t.root(), "full/x")));
        REQUIRE(t.fs.rename(join_path(t.root(), "a"), join_path(t.root(), "b")));
        CHECK(t.fs.list(t.root()).value() == std::vector<std::string>{"b", "full"});
        CHECK(as_text(t.fs.read_file(join_path(t.root(), "b/sub/f")).value()) == "x");
        CHECK(failed_with(t.fs.rename(join_path(t.root(), "b"), join_path(t.root(), "full")),
                          ENOTEMPTY));
        CHECK(failed_with(t.fs.rename(join_path(t.root(), "b"), join_path(t.root(), "b/sub/y")),
                          EINVAL));
    }

    TEST_CASE_TEMPLATE(
        "file system: remove is quiet about what is not there, not about a full directory", T,
        posix_fixture, sim_fixture) {
        T t;
        const std::string path = join_path(t.root(), "d/f");
        CHECK(t.fs.remove(path));
        REQUIRE(t.fs.make_directories(join_path(t.root(), "d")));
        const auto f = t.fs.open(path, open_mode::create);
        REQUIRE(f);
        CHECK(failed_with(t.fs.remove(join_path(t.root(), "d")), ENOTEMPTY));
        CHECK(t.fs.remove(path));
        CHECK_FALSE(t.fs.exists(path).value());
        CHECK((*f)->write_at(0, as_bytes("still open")));
        CHECK(read_all(**f).size() == 10);
        CHECK(t.fs.remove(join_path(t.root(), "d")));
        CHECK(t.fs.list(t.root()).value().empty());
    }

    TEST_CASE_TEMPLATE("file system: sync_directory and free_bytes need an existing path", T,
                       posix_fixture, sim_fixture) {
        T t;
        CHECK(t.fs.sync_directory(t.root()));
        CHECK(failed_with(t.fs.sync_directory(join_path(t.root(), "none")), ENOENT));
        CHECK(t.fs.free_bytes(t.root()).value() > 0);
        CHECK(failed_with(t.fs.free_bytes(join_path(t.root(), "none")), ENOENT));
    }

    TEST_CASE_TEMPLATE("file system: replace_file leaves the whole new content and no temporary", T,
                       posix_fixture, sim_fixture) {
        T t;
        const std::string path = join_path(t.root(), "f");
        CHECK(failed_with(t.fs.read_file(path), ENOENT));
        REQUIRE(t.fs.replace_file(path, pattern(100000, 1)));
        CHECK(t.fs.read_file(path).value() == pattern(100000, 1));
        // A longer temporary that a crash left must not shine through.
        const auto left = t.fs.open(path + ".tmp", open_mode::create);
        REQUIRE(left);
        REQUIRE((*left)->write_at(0, pattern(5000, 2)));
        REQUIRE(t.fs.replace_file(path, as_bytes("short")));
        CHECK(as_text(t.fs.read_file(path).value()) == "short");
        REQUIRE(t.fs.replace_file(path, {}));
        CHECK(t.fs.read_file(path).value().empty());
        CHECK(t.fs.list(t.root()).value() == std::vector<std::string>{"f"});
    }

    TEST_CASE_TEMPLATE("file system: small files end at 4 MiB", T, posix_fixture, sim_fixture) {
        T t;
        const std::string path = join_path(t.root(), "f");
        const byte_vector most(4 * limits::MiB, std::byte{1});
        const byte_vector more(4 * limits::MiB + 1, std::byte{2});
        REQUIRE(t.fs.replace_file(path, most));
        CHECK(failed_with(t.fs.replace_file(path, more), errc::limit));
        CHECK(t.fs.read_file(path).value() == most);
        REQUIRE(
            t.fs.open(path, open_mode::read_write).value()->write_at(most.size(), as_bytes("x")));
        CHECK(failed_with(t.fs.read_file(path), errc::limit));
    }
}
