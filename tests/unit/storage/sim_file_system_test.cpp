// The fault model of the simulated file system: crash tests are worth as much as it is.

#include "tests/unit/storage/fixtures.hpp"

#include <atomic>
#include <set>
#include <thread>
#include <vector>

using namespace farshore;

namespace {

/// A synced file /f of `size` bytes 1 with its name durable.
void make_synced(sim_file_system &fs, std::size_t size) {
    const auto f = fs.open("/f", open_mode::create);
    REQUIRE(f);
    REQUIRE((*f)->write_at(0, byte_vector(size, std::byte{1})));
    REQUIRE((*f)->sync_data());
    REQUIRE(fs.sync_directory("/"));
}

byte_vector content(sim_file_system &fs, const std::string &path = "/f") {
    auto bytes = fs.read_file(path);
    REQUIRE(bytes);
    return *std::move(bytes);
}

} // namespace

TEST_SUITE("storage") {
    TEST_CASE("sim: a power cut keeps the times of the last sync of all, or the latest ones") {
        for (const std::uint64_t seed : {0, 1}) {
            sim_file_system fs(1);
            make_synced(fs, 10);
            auto f = fs.open("/f", open_mode::read_write);
            REQUIRE((*f)->sync_all());
            const file_identity synced = (*f)->identity().value();
            REQUIRE((*f)->write_at(0, as_bytes("x")));
            REQUIRE((*f)->sync_data());
            const file_identity latest = (*f)->identity().value();
            fs.power_cut(seed);
            CHECK((*fs.open("/f", open_mode::read))->identity().value() ==
                  (seed == 0 ? synced : latest));
        }
    }

    TEST_CASE("sim: after a kill what was written is there, and old objects are dead") {
        sim_file_system fs(1);
        const auto daemon = fs.process();
        const auto f = daemon->open("/f", open_mode::create);
        REQUIRE(f);
        REQUIRE((*f)->write_at(0, as_bytes("abc")));
        REQUIRE((*f)->lock());
        auto map = (*f)->map(3);
        REQUIRE(map);
        (*map)->bytes()[1] = std::byte{'B'};
        fs.kill();
        byte_vector out(3);
        CHECK(failed_with((*f)->read_at(0, out), errc::dead));
        CHECK(failed_with((*f)->read_at_cached(0, out), errc::dead));
        CHECK(failed_with((*f)->write_at(0, as_bytes("x")), errc::dead));
        CHECK(failed_with((*f)->sync_data(), errc::dead));
        CHECK(failed_with((*f)->size(), errc::dead));
        CHECK(failed_with((*map)->sync(), errc::dead));
        CHECK(failed_with(daemon->exists("/f"), errc::dead));
        CHECK(failed_with(daemon->remove("/f"), errc::dead));
        (*map)->bytes()[2] = std::byte{'C'}; // harmless, and not seen
        CHECK(as_text(content(fs)) == "aBc");
        const auto again = fs.process()->open("/f", open_mode::read_write);
        REQUIRE(again);
        CHECK((*again)->lock());
    }

    TEST_CASE("sim: a power cut with seed 0 keeps what was synced and nothing else") {
        sim_file_system fs(1);
        make_synced(fs, 5000);
        const auto f = fs.open("/f", open_mode::read_write);
        REQUIRE((*f)->write_at(100, as_bytes("lost")));
        REQUIRE((*f)->write_at(9000, as_bytes("lost")));
        REQUIRE((*f)->zero({0, 50}, false, false));
        REQUIRE(fs.open("/g", open_mode::create));
        REQUIRE(fs.rename("/f", "/h"));
        fs.power_cut(0);
        CHECK(content(fs) == byte_vector(5000, std::byte{1}));
        CHECK(fs.list("/").value() == std::vector<std::string>{"f"});
        CHECK(failed_with((*f)->sync_data(), errc::dead));
    }

    TEST_CASE("sim: a power cut with seed 1 keeps everything") {
        sim_file_system fs(1);
        make_synced(fs, 5000);
        {
            const auto f = fs.open("/f", open_mode::read_write);
            REQUIRE((*f)->write_at(100, as_bytes("kept")));
            REQUIRE((*f)->truncate(200));
        }
        REQUIRE(fs.open("/g", open_mode::create));
        REQUIRE(fs.rename("/f", "/h"));
        const byte_vector before = content(fs, "/h");
        fs.power_cut(1);
        CHECK(content(fs, "/h") == before);
        CHECK(fs.list("/").value() == std::vector<std::string>{"g", "h"});
    }

    TEST_CASE(
        "sim: over the seeds a write is kept, lost, torn at sectors, or leaves only its length") {
        sim_file_system origin(1);
        make_synced(origin, 1000);
        {
            const auto f = origin.open("/f", open_mode::read_write);
            REQUIRE((*f)->write_at(300, byte_vector(2000, std::byte{2})));
        }
        std::set<std::pair<std::size_t, std::size_t>> new_bytes; // where they begin and end
        std::set<std::size_t> sizes;
        for (std::uint64_t seed = 0; seed < 300; ++seed) {
            CAPTURE(seed);
            sim_file_system fs(origin);
            fs.power_cut(seed);
            const byte_vector bytes = content(fs);
            sizes.insert(bytes.size());
            const auto first = std::find(bytes.begin(), bytes.end(), std::byte{2});
            const auto last =
                std::find_if(first, bytes.end(), [](std::byte b) { return b != std::byte{2}; });
            const std::size_t begin = static_cast<std::size_t>(first - bytes.begin());
            const std::size_t end = static_cast<std::size_t>(last - bytes.begin());
            if (begin == end) {
                continue; // lost
            }
            new_bytes.emplace(begin, end);
            CHECK((begin == 300 || begin % 512 == 0));
            CHECK((end == 2300 || end % 512 == 0));
            for (std::size_t i = 0; i < bytes.size(); ++i) {
                const bool is_new = i >= begin && i < end;
                const std::byte expected{static_cast<unsigned char>(is_new ? 2 : i < 1000 ? 1 : 0)};
                REQUIRE(bytes[i] == expected);
            }
        }
        CHECK(new_bytes.size() == 9); // whole; a head or a tail at each of 4 boundaries
        CHECK(sizes.contains(1000));
        CHECK(sizes.contains(2300));
        CHECK(content(origin).size() == 2300); // snapshots are independent
    }

    TEST_CASE("sim: equal seeds give equal disks, others differ") {
        sim_file_system origin(1);
        const auto f = origin.open("/f", open_mode::create);
        REQUIRE(origin.sync_directory("/"));
        for (std::uint64_t i = 0; i < 50; ++i) {
            REQUIRE((*f)->write_at(i * 1000, pattern(1500, i)));
        }
        std::set<byte_vector> images;
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
            sim_file_system a(origin);
            sim_file_system b(origin);
            a.power_cut(seed);
            b.power_cut(seed);
            CHECK(content(a) == content(b));
            images.insert(content(a));
        }
        CHECK(images.size() == 20);
    }

    TEST_CASE("sim: pages of a map are kept or lost each by itself, synced ones stay") {
        sim_file_system origin(1);
        const auto f = origin.open("/f", open_mode::create);
        REQUIRE((*f)->allocate(3 * 4096));
        REQUIRE((*f)->sync_data());
        REQUIRE(origin.sync_directory("/"));
        const auto map = (*f)->map(3 * 4096);
        REQUIRE(map);
        (*map)->bytes()[0] = std::byte{1};
        REQUIRE((*map)->sync());
        (*map)->bytes()[1] = std::byte{2};
        (*map)->bytes()[4096] = std::byte{3};
        (*map)->bytes()[8192 + 4095] = std::byte{4};
        std::set<std::string> seen;
        for (std::uint64_t seed = 0; seed < 100; ++seed) {
            sim_file_system fs(origin);
            fs.power_cut(seed);
            const byte_vector bytes = content(fs);
            CHECK(bytes[0] == std::byte{1});
            seen.insert({static_cast<char>('0' + static_cast<int>(bytes[1])),
                         static_cast<char>('0' + static_cast<int>(bytes[4096])),
                         static_cast<char>('0' + static_cast<int>(bytes[8192 + 4095]))});
        }
        CHECK(seen ==
              std::set<std::string>{"000", "004", "030", "034", "200", "204", "230", "234"});
    }

    TEST_CASE("sim: a version that a map's page had at another call can be what stays") {
        sim_file_system origin(1);
        make_synced(origin, 4096);
        const auto f = origin.open("/f", open_mode::read_write);
        const auto map = (*f)->map(4096);
        (*map)->bytes()[0] = std::byte{2};
        REQUIRE(origin.open("/other", open_mode::create));
        (*map)->bytes()[0] = std::byte{3};
        std::set<std::byte> seen;
        for (std::uint64_t seed = 0; seed < 50; ++seed) {
            sim_file_system fs(origin);
            fs.power_cut(seed);
            seen.insert(content(fs)[0]);
        }
        CHECK(seen == std::set<std::byte>{std::byte{1}, std::byte{2}, std::byte{3}});
    }

    TEST_CASE("sim: names are durable by sync_directory only, a rename is whole or not at all") {
        sim_file_system origin(1);
        REQUIRE(origin.replace_file("/f", as_bytes("old")));
        const auto g = origin.open("/g", open_mode::create);
        REQUIRE((*g)->write_at(0, as_bytes("new")));
        REQUIRE((*g)->sync_data());
        REQUIRE(origin.rename("/g", "/f"));
        std::set<std::string> seen;
        for (std::uint64_t seed = 0; seed < 100; ++seed) {
            sim_file_system fs(origin);
            fs.power_cut(seed);
            std::string state(as_text(content(fs)));
            for (const std::string &name : fs.list("/").value()) {
                state += " " + name;
            }
            seen.insert(state);
        }
        CHECK(seen == std::set<std::string>{"old f", "old f g", "new f"});
        REQUIRE(origin.sync_directory("/"));
        origin.power_cut(0);
        CHECK(as_text(content(origin)) == "new");
    }

    TEST_CASE("sim: a file in a directory whose making was lost is lost") {
        sim_file_system fs(1);
        REQUIRE(fs.make_directories("/a/b"));
        REQUIRE(fs.rename("/a", "/c"));
        REQUIRE(fs.replace_file("/c/b/f", as_bytes("x"))); // syncs /c/b, not /
        fs.power_cut(0);
        CHECK(fs.list("/").value() == std::vector<std::string>{"a"});
        CHECK(fs.exists("/a/b").value());
    }

    TEST_CASE("sim: stop_after stops the machine after exactly that many changes") {
        for (std::uint64_t k = 0; k <= 3; ++k) {
            CAPTURE(k);
            sim_file_system fs(1);
            make_synced(fs, 1);
            const auto f = fs.open("/f", open_mode::read_write);
            const auto map = (*f)->map(1);
            const std::uint64_t before = fs.mutating_calls();
            fs.stop_after(k);
            CHECK((*f)->write_at(0, as_bytes("a")).has_value() == (k > 0));
            CHECK((*f)->write_at(0, as_bytes("b")).has_value() == (k > 1));
            CHECK((*f)->sync_data().has_value() == (k > 2));
            (*map)->bytes()[0] = std::byte{'m'};
            CHECK(fs.stopped());
            CHECK(failed_with((*f)->size(), errc::dead));
            CHECK(failed_with(fs.exists("/f"), errc::dead));
            CHECK(fs.mutating_calls() == before + k);
            fs.kill();
            CHECK(as_text(content(fs)) == (k == 0 ? "\1" : k == 1 ? "a" : "b"));
        }
    }

    TEST_CASE("sim: an injected fault hits the nth matching call, once or for ever") {
        sim_file_system fs(1);
        make_synced(fs, 4096);
        make_synced(fs, 4096);
        const auto f = fs.open("/f", open_mode::read_write);
        byte_vector out(1);
        fs.inject({.scope = sim_scope::reads, .nth = 2, .number = EIO});
        CHECK((*f)->read_at(0, out));
        CHECK(failed_with((*f)->read_at(0, out), EIO));
        CHECK((*f)->read_at(0, out));
        fs.inject(
            {.scope = sim_scope::every, .path_prefix = "/f", .forever = true, .number = ENOSPC});
        CHECK(failed_with((*f)->size(), ENOSPC));
        CHECK(failed_with((*f)->truncate(0), ENOSPC));
        CHECK(failed_with(fs.remove("/f"), ENOSPC));
        CHECK(fs.exists("/g"));
        fs.clear_faults();
        CHECK((*f)->size().value() == 4096);
        fs.inject({.scope = sim_scope::writes, .nth = 2});
        CHECK((*f)->sync_data());
        CHECK((*f)->write_at(0, out));
        CHECK(failed_with((*f)->write_at(0, out), EIO));
        CHECK((*f)->write_at(0, out)); // a failed write alone does not end a file
    }

    TEST_CASE("sim: a failed write has written a part that ends at a sector") {
        std::set<std::size_t> written;
        for (std::uint64_t seed = 0; seed < 100; ++seed) {
            sim_file_system fs(seed);
            make_synced(fs, 4096);
            const auto f = fs.open("/f", open_mode::read_write);
            fs.inject({.scope = sim_scope::writes});
            CHECK_FALSE((*f)->write_at(0, byte_vector(1600, std::byte{2})));
            const byte_vector bytes = content(fs);
            written.insert(static_cast<std::size_t>(
                std::find(bytes.begin(), bytes.end(), std::byte{1}) - bytes.begin()));
        }
        CHECK(written == std::set<std::size_t>{0, 512, 1024, 1536});
    }

    TEST_CASE("sim: after a failed sync the file is dead, and what it held may be lost though a "
              "later sync "
              "succeeds") {
        int lost = 0;
        int shown_and_lost = 0;
        for (std::uint64_t seed = 0; seed < 60; ++seed) {
            sim_file_system fs(seed);
            make_synced(fs, 1);
            {
                const auto f = fs.open("/f", open_mode::read_write);
                REQUIRE((*f)->write_at(0, as_bytes("x")));
                fs.inject({.scope = sim_scope::syncs});
                CHECK(failed_with((*f)->sync_data(), EIO));
                CHECK(failed_with((*f)->sync_data(), errc::dead));
                CHECK(failed_with((*f)->write_at(0, as_bytes("y")), errc::dead));
                CHECK(failed_with((*f)->truncate(0), errc::dead));
            }
            const auto again = fs.open("/f", open_mode::read_write);
            CHECK((*again)->sync_data());
            const bool shown = content(fs) == byte_vector(1, std::byte{'x'});
            fs.power_cut(1);
            const bool kept = content(fs) == byte_vector(1, std::byte{'x'});
            lost += kept ? 0 : 1;
            shown_and_lost += shown && !kept ? 1 : 0;
        }
        CHECK(lost > 5);
        CHECK(lost < 55);
        CHECK(shown_and_lost > 0);
    }

    TEST_CASE("sim: a full disk takes what fits, and room comes back") {
        sim_file_system fs(1);
        const auto f = fs.open("/f", open_mode::create);
        fs.set_capacity(4 * 4096);
        CHECK(fs.free_bytes("/").value() == 4 * 4096);
        REQUIRE((*f)->write_at(0, byte_vector(2 * 4096, std::byte{1})));
        CHECK(failed_with((*f)->write_at(4096, byte_vector(4 * 4096, std::byte{2})), ENOSPC));
        CHECK((*f)->size().value() == 4 * 4096);
        CHECK(fs.used_bytes() == 4 * 4096);
        CHECK((*f)->write_at(0, byte_vector(4 * 4096, std::byte{3}))); // no new page
        CHECK(failed_with((*f)->allocate(5 * 4096), ENOSPC));
        REQUIRE((*f)->zero({0, 2 * 4096}, false, false));
        CHECK(fs.free_bytes("/").value() == 2 * 4096);
        {
            const auto g = fs.open("/g", open_mode::create);
            REQUIRE((*g)->allocate(2 * 4096));
            CHECK(failed_with((*f)->write_at(0, as_bytes("x")), ENOSPC));
            REQUIRE((*g)->write_at(4096, as_bytes("x"))); // was reserved
            REQUIRE(fs.remove("/g"));
            CHECK(fs.free_bytes("/").value() == 0); // open files keep their space
        }
        CHECK(fs.free_bytes("/").value() == 2 * 4096);
        fs.set_capacity(100 * 4096);
        CHECK((*f)->write_at(0, byte_vector(50 * 4096)));
    }

    TEST_CASE("sim: sparse files of many GiB cost what was written, and their holes are found") {
        sim_file_system fs(1);
        const auto f = fs.open("/f", open_mode::create);
        constexpr std::uint64_t gib = 1ULL << 30;
        REQUIRE((*f)->truncate(1000 * gib));
        REQUIRE((*f)->write_at(500 * gib + 10, as_bytes("x")));
        CHECK((*f)->next_data(0).value() == byte_range{500 * gib, 4096});
        CHECK((*f)->next_data(500 * gib + 100).value() == byte_range{500 * gib + 100, 4096 - 100});
        CHECK((*f)->next_data(500 * gib + 4096).value() == byte_range{1000 * gib, 0});
        REQUIRE((*f)->zero({gib, 998 * gib}, false, false));
        CHECK((*f)->next_data(0).value().length == 0);
        CHECK(fs.used_bytes() == 0);
        fs.power_cut(1);
    }

    TEST_CASE("sim: a corrupted byte is what every later reader gets") {
        sim_file_system fs(1);
        make_synced(fs, 10);
        fs.corrupt("/f", 3, std::byte{0x80});
        CHECK(content(fs)[3] == std::byte{0x81});
        fs.power_cut(0);
        CHECK(content(fs)[3] == std::byte{0x81});
        CHECK(content(fs)[2] == std::byte{1});
    }

    TEST_CASE("sim: a block device has a fixed size and loses what was not synced") {
        sim_file_system fs(1);
        fs.add_block_device("/sda", 10000);
        const auto f = fs.open("/sda", open_mode::read_write);
        REQUIRE(f);
        CHECK((*f)->block_special());
        CHECK(failed_with((*f)->truncate(5), errc::invalid));
        CHECK(failed_with((*f)->write_at(9000, byte_vector(2000)), ENOSPC));
        CHECK((*f)->allocate(10000));
        CHECK(failed_with((*f)->allocate(10001), ENOSPC));
        REQUIRE((*f)->write_at(9000, byte_vector(1000, std::byte{1})));
        CHECK((*f)->size().value() == 10000);
        fs.power_cut(0);
        CHECK(content(fs, "/sda") == byte_vector(10000));
    }

    TEST_CASE("sim: the hook sees every call before it, in order") {
        sim_file_system fs(1);
        std::vector<std::string> seen;
        fs.before_call([&](const sim_call &call) {
            CHECK(call.number == seen.size() + 1);
            seen.push_back(std::to_string(static_cast<int>(call.what)) + call.path);
            if (call.what == sim_operation::sync) {
                fs.stop_after(0);
            }
        });
        const auto f = fs.open("//f/", open_mode::create);
        REQUIRE(f);
        CHECK((*f)->write_at(0, as_bytes("x")));
        CHECK(failed_with((*f)->sync_data(), errc::dead));
        CHECK(seen.size() == 3);
        CHECK(fs.calls() == 2);
        CHECK(fs.syncs() == 0);
    }

    TEST_CASE("sim: may be used from several threads, maps stored to by atomics") {
        sim_file_system fs(1);
        const auto f = fs.open("/f", open_mode::create);
        REQUIRE((*f)->allocate(8192));
        const auto map = (*f)->map(4096);
        REQUIRE(map);
        std::atomic<int> failures = 0;
        std::vector<std::thread> threads;
        for (std::size_t i = 0; i < 4; ++i) {
            threads.emplace_back([&, i] {
                const std::string own = "/own" + std::to_string(i);
                std::atomic_ref<std::byte> bit((*map)->bytes()[i]);
                for (int round = 0; round < 20; ++round) {
                    bit.store(static_cast<std::byte>(round + 1));
                    const bool good = fs.replace_file(own, pattern(5000, i)) &&
                                      (*f)->write_at(4096 + i * 100, pattern(100, i)) &&
                                      (*f)->sync_data() && (*map)->sync();
                    failures += good ? 0 : 1;
                }
            });
        }
        for (std::thread &t : threads) {
            t.join();
        }
        CHECK(failures == 0);
        for (std::size_t i = 0; i < 4; ++i) {
            CHECK(content(fs)[i] == std::byte{20});
            CHECK(content(fs, "/own" + std::to_string(i)) == pattern(5000, i));
        }
    }
}
