// What is parsed of others' words: connection words, lines, mount options, scripts, Redis.

#include "replicator/hook/connect_words.hpp"
#include "replicator/hook/group_files.hpp"
#include "replicator/hook/line_reader.hpp"
#include "replicator/hook/mount_table.hpp"
#include "replicator/hook/redis_session.hpp"
#include "replicator/hook/script.hpp"
#include "tests/support/temp_directory.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <unistd.h>

using namespace farshore;
using namespace farshore::hook;

namespace {

result<connect_words> parsed(std::string_view text) {
    return connect_words::parse(text, {"host", "port", "user", "password", "password_file"});
}
std::string wrong_with(std::string_view text) {
    const auto got = parsed(text);
    REQUIRE_FALSE(got);
    return got.error().context;
}

} // namespace

TEST_SUITE("hook") {
    TEST_CASE("connect: words, quotes and backslashes") {
        const auto got = parsed("  host=db.example  user='a b' password='it\\'s \\\\' port=7 ");
        REQUIRE(got);
        CHECK(got->get("host") == "db.example");
        CHECK(got->get("user") == "a b");
        CHECK(got->get("password") == "it's \\");
        CHECK(got->port(1).value() == 7);
        CHECK(got->get("password_file").empty());
        CHECK(parsed("").value().port(6379).value() == 6379);
        CHECK(parsed("host=a\\ b").value().get("host") == "a b");
        CHECK(parsed("user=''").value().get("user").empty());
    }
    TEST_CASE("connect: what is wrong is named, and a password never is") {
        CHECK(wrong_with("hots=a").contains("\"hots\" is no key"));
        CHECK(wrong_with("host").contains("\"host\" has no value"));
        CHECK(wrong_with("host = a").contains("\"host\" has no value"));
        CHECK(wrong_with("host=a host=b").contains("\"host\" is there twice"));
        CHECK(wrong_with("password='secret").contains("\"password\" has a quote"));
        CHECK(wrong_with("password='secret'more").contains("\"password\" has a quote"));
        CHECK_FALSE(wrong_with("password='secret").contains("secret"));
        for (const char *port : {"port=0", "port=65536", "port=x", "port=1x", "port=''"}) {
            CHECK_FALSE(parsed(port).value().port(1));
        }
        CHECK(parsed("port=65535").value().port(1).value() == 65535);
    }
    TEST_CASE("connect: a password from the first line of a file") {
        const temp_directory directory;
        const std::string path = directory.path() + "/password";
        std::ofstream(path) << "secret\nmore\n";
        CHECK(parsed("password_file=" + path).value().password().value() == "secret");
        CHECK_FALSE(parsed("password_file=" + path + "x").value().password());
        CHECK(parsed("password=p").value().password().value() == "p");
    }
    TEST_CASE("lines: whole ones, within the bound") {
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        line_reader reader(ends[0], 8);
        const auto put = [&](std::string_view text) {
            REQUIRE(::write(ends[1], text.data(), text.size()) == ssize_t(text.size()));
            REQUIRE(reader.read_some() == line_reader::source::open);
        };
        put("abc");
        CHECK_FALSE(reader.next());
        put("\n12345678\nrest");
        CHECK(reader.next() == "abc");
        CHECK(reader.next() == "12345678");
        CHECK_FALSE(reader.next());
        CHECK_FALSE(reader.too_long());
        put("5678");
        CHECK_FALSE(reader.too_long());
        put("9");
        CHECK(reader.too_long());
        CHECK_FALSE(reader.next());
        ::close(ends[1]);
        CHECK(reader.read_some() == line_reader::source::closed);
        ::close(ends[0]);
    }
    TEST_CASE("lines: one that is too long with its end at once") {
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        line_reader reader(ends[0], 8);
        REQUIRE(::write(ends[1], "123456789\nok\n", 13) == 13);
        REQUIRE(reader.read_some() == line_reader::source::open);
        CHECK_FALSE(reader.next());
        CHECK(reader.too_long());
        ::close(ends[0]);
        ::close(ends[1]);
    }
    TEST_CASE("mounts: options, and parts on devices of their own") {
        CHECK(mount_option("rw,upperdir=/a/b,lowerdir=/c", "upperdir") == "/a/b");
        CHECK(mount_option("rw,relatime", "rw") == "");
        CHECK_FALSE(mount_option("rw,relatime", "upperdir"));
        mount_row xfs;
        xfs.options = "rw,attr2,logdev=/dev/sdz,noquota";
        CHECK(device_apart(xfs) == "logdev=/dev/sdz");
        xfs.options = "rw,attr2,inode64,logbufs=8";
        CHECK_FALSE(device_apart(xfs));
    }
    TEST_CASE("mounts: where a path lies, missing ones too") {
        const auto mounts = read_mounts();
        REQUIRE(mounts);
        const auto root = place_of(*mounts, "/");
        REQUIRE(root);
        CHECK(root->is_root);
        const auto proc = place_of(*mounts, "/proc/version");
        REQUIRE(proc);
        CHECK(proc->mount.type == "proc");
        CHECK_FALSE(proc->is_root);
        CHECK_FALSE(place_of(*mounts, "/proc/not/there"));
        const auto missing = place_of(*mounts, "/proc/not/there", true);
        REQUIRE(missing);
        CHECK(missing->mount.type == "proc");
        CHECK_FALSE(missing->is_root);
    }
    TEST_CASE("identity: without a UUID, or of another size, nothing is the same") {
        const block_identity one{"ext4", "u", "", "l", 100, false};
        CHECK(one.same_as(one));
        for (block_identity other : {block_identity{"xfs", "u", "", "l", 100, false},
                                     block_identity{"ext4", "v", "", "l", 100, false},
                                     block_identity{"ext4", "u", "p", "l", 100, false},
                                     block_identity{"ext4", "u", "", "m", 100, false},
                                     block_identity{"ext4", "u", "", "l", 101, false}}) {
            CHECK_FALSE(one.same_as(other));
        }
        CHECK_FALSE(block_identity{}.same_as(block_identity{}));
    }
    TEST_CASE("script: facts in its output") {
        CHECK(fact_of("fact scn 123 456") == std::pair<std::string, std::string>("scn", "123 456"));
        CHECK_FALSE(fact_of("fact scn"));
        CHECK_FALSE(fact_of("fact  x"));
        CHECK_FALSE(fact_of("facts a b"));
        CHECK_FALSE(fact_of("frozen"));
    }
    TEST_CASE("redis: fields of INFO") {
        auto fields =
            info_fields("# Server\r\nredis_version:7.0.15\r\n\r\nrole:master\r\nlast:a:b");
        CHECK(fields.size() == 3);
        CHECK(fields["redis_version"] == "7.0.15");
        CHECK(fields["role"] == "master");
        CHECK(fields["last"] == "a:b");
        CHECK(info_fields("").empty());
    }
}
