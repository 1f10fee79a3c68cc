// SQLite itself: what another connection may do while a database is frozen, and what ends that.

#include "replicator/hook/sqlite.hpp"
#include "tests/support/temp_directory.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sqlite3.h>
#include <unistd.h>

using namespace farshore;
using namespace farshore::hook;

namespace {

struct database {
    temp_directory directory;
    request asked;
    sqlite3 *app = nullptr; ///< of the application
    explicit database(const char *mode = "delete") {
        asked.type = application::sqlite;
        asked.where = directory / "app.db";
        asked.outside = true;
        REQUIRE(sqlite3_open(asked.where.c_str(), &app) == SQLITE_OK);
        run(std::string("PRAGMA journal_mode = ") + mode);
        REQUIRE(run("CREATE TABLE t (a)") == SQLITE_OK);
    }
    ~database() { sqlite3_close(app); }
    int run(const std::string &statement) const {
        return sqlite3_exec(app, statement.c_str(), nullptr, nullptr, nullptr);
    }
    int write() const { return run("INSERT INTO t VALUES (1)"); }
};

} // namespace

TEST_SUITE("hook") {
    TEST_CASE("sqlite: nobody writes while it is frozen, and the log is empty") {
        for (const char *mode : {"delete", "wal"}) {
            CAPTURE(mode);
            const database db(mode);
            REQUIRE(db.write() == SQLITE_OK);
            sqlite_freezer one(db.asked);
            tether t(std::chrono::seconds(5));
            const auto known = one.freeze(t);
            REQUIRE_MESSAGE(known, known.error().text());
            CHECK(db.write() == SQLITE_BUSY);
            if (mode == std::string("wal")) {
                CHECK(std::filesystem::file_size(db.asked.where + "-wal") == 0);
            }
            CHECK(one.prove(t));
            CHECK(one.release(t));
            CHECK(db.write() == SQLITE_OK);
        }
    }
    TEST_CASE("sqlite: a lock that the kernel no longer has is not proved") {
        const database db;
        sqlite_freezer one(db.asked);
        tether t(std::chrono::seconds(5));
        REQUIRE(one.freeze(t));
        // A process that closes a file loses its locks on it; the library does not see that.
        ::close(::open(db.asked.where.c_str(), O_RDONLY | O_CLOEXEC));
        const auto proved = one.prove(t);
        REQUIRE_FALSE(proved);
        CHECK(proved.error().text().contains("no longer ours"));
        CHECK(one.let_go(t));
    }
    TEST_CASE("sqlite: another file of the name is not proved") {
        const database db;
        sqlite_freezer one(db.asked);
        tether t(std::chrono::seconds(5));
        REQUIRE(one.freeze(t));
        std::filesystem::rename(db.asked.where, db.asked.where + ".old");
        std::ofstream(db.asked.where) << "";
        const auto proved = one.prove(t);
        REQUIRE_FALSE(proved);
        CHECK(proved.error().text().contains("was replaced"));
        CHECK(one.let_go(t));
    }
    TEST_CASE("sqlite: a writer that does not end is not waited for beyond the time") {
        const database db;
        REQUIRE(db.run("BEGIN IMMEDIATE") == SQLITE_OK);
        sqlite_freezer one(db.asked);
        tether t(std::chrono::milliseconds(200));
        const auto began = tether::clock::now();
        CHECK_FALSE(one.freeze(t));
        CHECK(tether::clock::now() - began < std::chrono::seconds(5));
        CHECK(one.let_go(t));
    }
    TEST_CASE("sqlite: no such file, no database, none of the group's") {
        database db;
        tether t(std::chrono::seconds(5));
        const auto refused = [&] {
            sqlite_freezer one(db.asked);
            const auto got = one.freeze(t);
            REQUIRE_FALSE(got);
            return got.error().text();
        };
        db.asked.outside = false;
        CHECK(refused().contains("no volume of the group"));
        CHECK(db.write() == SQLITE_OK);
        db.asked.outside = true;
        db.asked.where = db.directory / "text";
        CHECK(refused().contains("No such file"));
        std::ofstream(db.asked.where) << std::string(4096, 'x');
        CHECK(refused().contains("not a database"));
    }
}
