#include "replicator/config/config_probe.hpp"
#include "replicator/storage/posix_file_system.hpp"
#include "tests/support/temp_directory.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <sys/stat.h>

namespace farshore {
namespace {

struct site {
    temp_directory dir;
    posix_file_system files;

    std::string path(const std::string &name) const { return dir.path() + "/" + name; }
    void make(const std::string &name, std::size_t bytes) {
        std::ofstream(path(name)) << std::string(bytes, 'x');
    }
    std::string text(const std::string &data, const std::string &wal) const {
        return fmt::format(
            "[sender]\nstate = \"{0}/state\"\ncontrol = \"{0}/run/s.sock\"\n"
            "[[group]]\nname = \"shop\"\n"
            "[[group.volume]]\nname = \"data\"\npath = \"{1}\"\nnbd = \"unix:{0}/run/data.sock\"\n"
            "[[group.volume]]\nname = \"wal\"\npath = \"{2}\"\nnbd = \"unix:{0}/run/wal.sock\"\n",
            dir.path(), data, wal);
    }
    probe_outcome probe(const std::string &file) {
        REQUIRE(parse_config(file));
        return probe_paths(files, named_paths_of(file));
    }
    std::string said(const std::string &file) { return to_text("f", probe(file).problems); }
};

} // namespace

TEST_SUITE("config_probe") {
    TEST_CASE(
        "volumes that are there, and directories that can be made, are fine; nothing is made") {
        site s;
        s.make("data", 4096);
        s.make("wal", 4096);
        CHECK(s.said(s.text(s.path("data"), s.path("wal"))).empty());
        CHECK(!std::filesystem::exists(s.path("state")));
        CHECK(!std::filesystem::exists(s.path("run")));
    }

    TEST_CASE("a volume that is missing, empty, a directory or in use is named with its place") {
        site s;
        s.make("data", 4096);
        s.make("empty", 0);
        const auto with = [&](const std::string &path) {
            return s.said(s.text(s.path("data"), path));
        };
        CHECK(with(s.path("gone")) ==
              fmt::format("f:12:8: volume wal ({}): is missing\n", s.path("gone")));
        CHECK(with(s.path("empty")).find("is empty") != std::string::npos);
        CHECK(with(s.dir.path()).find("Is a directory") != std::string::npos);
        s.make("wal", 4096);
        auto user = s.files.open(s.path("wal"), open_mode::read_write);
        REQUIRE((*user)->lock());
        CHECK(with(s.path("wal")).find("is in use by another daemon or mounted") !=
              std::string::npos);
        // The daemon of this file may be the user.
        std::filesystem::create_directory(s.path("state"));
        auto daemon = s.files.open(s.path("state/lock"), open_mode::create);
        REQUIRE((*daemon)->lock());
        const probe_outcome o = s.probe(s.text(s.path("data"), s.path("wal")));
        CHECK(o.daemon_runs);
        CHECK(o.problems.empty());
    }

    TEST_CASE("one file under two names is refused") {
        site s;
        s.make("data", 4096);
        std::filesystem::create_symlink(s.path("data"), s.path("alias"));
        std::filesystem::create_hard_link(s.path("data"), s.path("link"));
        for (const char *other : {"alias", "link"}) {
            const std::string said = s.said(s.text(s.path("data"), s.path(other)));
            CAPTURE(said);
            CHECK(said.starts_with("f:12:8: "));
            CHECK(said.find("as that of group shop, volume data; each needs its own") !=
                  std::string::npos);
        }
    }

    TEST_CASE("directories that can't be made, and sockets without one, are named") {
        site s;
        s.make("data", 4096);
        s.make("wal", 4096);
        s.make("run", 1);
        const std::string said = s.said(s.text(s.path("data"), s.path("wal")));
        CHECK(said.find(s.path("run") + " is no directory") != std::string::npos);
        std::filesystem::remove(s.path("run"));
        std::string elsewhere = s.text(s.path("data"), s.path("wal"));
        const std::string socket = s.path("run/wal.sock");
        elsewhere.replace(elsewhere.find(socket), socket.size(), s.path("nowhere/wal.sock"));
        CHECK(s.said(elsewhere) ==
              fmt::format("f:13:7: nbd: {} is missing; make it, the daemon does not\n",
                          s.path("nowhere")));
    }

    TEST_CASE("at the DR site images are made, and two groups share no directory") {
        site s;
        const auto text = [&](const std::string &a, const std::string &b) {
            return fmt::format("[receiver]\nstate = \"{0}/state\"\nlisten = \"127.0.0.1:7420\"\n"
                               "control = \"{0}/run/r.sock\"\n"
                               "[[group]]\nname = \"shop\"\nreplica = \"{1}\"\n"
                               "[[group]]\nname = \"mail\"\n[group.target]\ndata = \"{2}\"\n",
                               s.dir.path(), a, b);
        };
        CHECK(s.said(text(s.path("replica"), s.path("new/data.img"))).empty());
        std::filesystem::create_directory(s.path("state"));
        CHECK(s.said(text(s.path("state"), s.path("x.img"))).find("f:7:11: ") == 0);
        s.make("file", 1);
        CHECK(s.said(text(s.path("file"), s.path("x.img"))).find("is no directory") !=
              std::string::npos);
        CHECK(s.said(text(s.path("replica"), s.path("file/x.img"))).find("f:11:8: volume data: ") ==
              0);
    }
}

} // namespace farshore
