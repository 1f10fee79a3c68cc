// What every file must do, run on the real and on the simulated file system.

#include "tests/unit/storage/fixtures.hpp"

using namespace farshore;

TEST_SUITE("storage") {
    TEST_CASE_TEMPLATE("file: open modes create, refuse and keep what is there", T, posix_fixture,
                       sim_fixture) {
        T t;
        const std::string path = join_path(t.root(), "f");
        CHECK(failed_with(t.fs.open(path, open_mode::read), ENOENT));
        CHECK(failed_with(t.fs.open(path, open_mode::read_write), ENOENT));
        CHECK(failed_with(t.fs.open(t.root(), open_mode::read), EISDIR));
        CHECK(failed_with(t.fs.open(join_path(path, "below"), open_mode::create), ENOENT));
        const auto missing = t.fs.open(path, open_mode::read);
        CHECK(missing.error().text().starts_with("can't open " + path + ": "));
        {
            const auto f = t.fs.open(path, open_mode::create);
            REQUIRE(f);
            CHECK((*f)->path() == path);
            CHECK_FALSE((*f)->block_special());
            CHECK((*f)->size().value() == 0);
            REQUIRE((*f)->write_at(0, as_bytes("kept")));
        }
        CHECK(failed_with(t.fs.open(path, open_mode::create_new), EEXIST));
        CHECK(failed_with(t.fs.open(join_path(path, "below"), open_mode::create), ENOTDIR));
        const auto again = t.fs.open(path, open_mode::create);
        REQUIRE(again);
        CHECK(as_text(read_all(**again)) == "kept");
        CHECK(t.fs.open(join_path(t.root(), "new"), open_mode::create_new));
    }

    TEST_CASE_TEMPLATE("file: its identity is one file's, and tells of each change", T,
                       posix_fixture, sim_fixture) {
        T t;
        const std::string path = join_path(t.root(), "f");
        const auto f = t.fs.open(path, open_mode::create);
        const auto other = t.fs.open(join_path(t.root(), "other"), open_mode::create_no_link);
        REQUIRE(f);
        REQUIRE(other);
        REQUIRE((*f)->write_at(0, as_bytes("one")));
        REQUIRE((*f)->sync_all());
        const file_identity made = (*f)->identity().value();
        CHECK(made.size == 3);
        CHECK(made.inode != 0);
        CHECK(made.modified != 0);
        CHECK((*other)->identity()->inode != made.inode);
        CHECK((*other)->identity()->device == made.device);
        byte_vector out(3);
        REQUIRE((*f)->read_at(0, out));
        CHECK((*f)->identity().value() == made);
        CHECK((*t.fs.open(path, open_mode::read_write_no_link))->identity().value() == made);
        const std::int64_t before = t.fs.now();
        while (t.fs.now() == before) { // a clock of milliseconds
        }
        REQUIRE((*f)->write_at(0, as_bytes("two")));
        const file_identity changed = (*f)->identity().value();
        CHECK(changed.modified > made.modified);
        CHECK(changed.changed > made.changed);
        CHECK(changed.inode == made.inode);
    }

    TEST_CASE_TEMPLATE("file: knows whether its name still leads to it", T, posix_fixture,
                       sim_fixture) {
        T t;
        const std::string path = join_path(t.root(), "f");
        const auto f = t.fs.open(path, open_mode::create);
        REQUIRE(f);
        CHECK((*f)->named().value());
        REQUIRE(t.fs.rename(path, join_path(t.root(), "g")));
        CHECK_FALSE((*f)->named().value());
        REQUIRE(t.fs.open(path, open_mode::create)); // another one in its place
        CHECK_FALSE((*f)->named().value());
        REQUIRE(t.fs.rename(join_path(t.root(), "g"), path));
        CHECK((*f)->named().value());
        REQUIRE(t.fs.remove(path));
        CHECK_FALSE((*f)->named().value());
    }

    TEST_CASE_TEMPLATE("file: opened for reading refuses writes", T, posix_fixture, sim_fixture) {
        T t;
        const std::string path = join_path(t.root(), "f");
        REQUIRE(t.fs.open(path, open_mode::create));
        const auto f = t.fs.open(path, open_mode::read);
        REQUIRE(f);
        CHECK(failed_with((*f)->write_at(0, as_bytes("x")), EBADF));
        CHECK_FALSE((*f)->truncate(10));
        CHECK_FALSE((*f)->allocate(10));
        CHECK_FALSE((*f)->map(1));
        CHECK((*f)->size().value() == 0);
    }

    TEST_CASE_TEMPLATE("file: reads of all its bytes, none beyond the end", T, posix_fixture,
                       sim_fixture) {
        T t;
        const auto f = t.fs.open(join_path(t.root(), "f"), open_mode::create);
        REQUIRE(f);
        const byte_vector data = pattern(10001, 1);
        REQUIRE((*f)->write_at(0, data));
        CHECK(read_all(**f) == data);
        byte_vector out(100);
        CHECK((*f)->read_at(10001 - 100, out));
        CHECK(std::equal(out.begin(), out.end(), data.end() - 100));
        CHECK(failed_with((*f)->read_at(10001 - 99, out), errc::corrupt));
        CHECK(failed_with((*f)->read_at(20000, out), errc::corrupt));
        CHECK(failed_with((*f)->read_at(~std::uint64_t{0} - 10, out), errc::corrupt));
        CHECK((*f)->read_at(10001, {}));
        CHECK(failed_with((*f)->write_at(~std::uint64_t{0} - 10, out), EFBIG));
        CHECK((*f)->size().value() == 10001);
    }

    TEST_CASE_TEMPLATE("file: a cached read gives the right bytes or says it can't", T,
                       posix_fixture, sim_fixture) {
        T t;
        const auto f = t.fs.open(join_path(t.root(), "f"), open_mode::create);
        REQUIRE(f);
        const byte_vector data = pattern(8192, 2);
        REQUIRE((*f)->write_at(0, data));
        byte_vector out(5000);
        for (int i = 0; i < 20; ++i) {
            const auto cached = (*f)->read_at_cached(100, out);
            REQUIRE(cached);
            if (*cached) {
                CHECK(std::equal(out.begin(), out.end(), data.begin() + 100));
            }
            const auto beyond = (*f)->read_at_cached(8000, out);
            REQUIRE(beyond);
            CHECK_FALSE(*beyond);
        }
    }

    TEST_CASE_TEMPLATE("file: a disk image holds what was written, in its cache and without", T,
                       posix_fixture, sim_fixture) {
        T t;
        const auto f = t.fs.open(join_path(t.root(), "f"), open_mode::create);
        REQUIRE(f);
        REQUIRE((*f)->truncate(300000));
        (*f)->expect_scattered_use();
        byte_vector expected(300000);
        // Within one piece, across several, unaligned, up to the end.
        for (const byte_range r :
             {byte_range{0, 4096}, byte_range{4096, 200000}, byte_range{32767, 2},
              byte_range{299999, 1}, byte_range{65536, 32768}}) {
            const byte_vector data = pattern(r.length, 7 + r.offset);
            REQUIRE((*f)->write_at(r.offset, data));
            std::ranges::copy(data, expected.begin() + static_cast<std::ptrdiff_t>(r.offset));
            CHECK(read_all(**f) == expected);
        }
        REQUIRE((*f)->drop_cached());
        CHECK(read_all(**f) == expected);
    }

    TEST_CASE_TEMPLATE("file: bytes cut off do not come back when it grows", T, posix_fixture,
                       sim_fixture) {
        T t;
        const auto f = t.fs.open(join_path(t.root(), "f"), open_mode::create);
        REQUIRE(f);
        REQUIRE((*f)->write_at(0, pattern(9000, 3)));
        REQUIRE((*f)->truncate(100));
        REQUIRE((*f)->truncate(9000));
        byte_vector expected = pattern(9000, 3);
        std::fill(expected.begin() + 100, expected.end(), std::byte{0});
        CHECK(read_all(**f) == expected);
    }

    TEST_CASE_TEMPLATE("file: zero clears exactly the range and never changes the size", T,
                       posix_fixture, sim_fixture) {
        T t;
        const auto f = t.fs.open(join_path(t.root(), "f"), open_mode::create);
        REQUIRE(f);
        constexpr std::size_t size = 20001;
        const byte_range ranges[] = {{0, 4096},     {4096, 8192}, {1, 1},        {100, 300},
                                     {4000, 200},   {4000, 9000}, {16384, 3617}, {20000, 1},
                                     {19000, 9000}, {30000, 10},  {0, 20001},    {5000, 0}};
        for (const byte_range r : ranges) {
            for (const bool keep : {false, true}) {
                CAPTURE(r.offset);
                CAPTURE(r.length);
                CAPTURE(keep);
                byte_vector expected = pattern(size, 4);
                REQUIRE((*f)->write_at(0, expected));
                REQUIRE((*f)->zero(r, keep, false));
                for (std::uint64_t i = r.offset; i < std::min<std::uint64_t>(r.end(), size); ++i) {
                    expected[i] = std::byte{0};
                }
                CHECK(read_all(**f) == expected);
            }
        }
    }

    TEST_CASE_TEMPLATE("file: walking next_data finds every byte that is not zero and ends", T,
                       posix_fixture, sim_fixture) {
        T t;
        const auto f = t.fs.open(join_path(t.root(), "f"), open_mode::create);
        REQUIRE(f);
        constexpr std::uint64_t size = 1 << 20;
        REQUIRE((*f)->truncate(size - 5));
        for (const std::uint64_t at : {70000UL, 71000UL, 200000UL, size - 6}) {
            REQUIRE((*f)->write_at(at, as_bytes("x")));
        }
        byte_vector expected = read_all(**f);
        std::uint64_t at = 0;
        int steps = 0;
        while (true) {
            const auto data = (*f)->next_data(at);
            REQUIRE(data);
            REQUIRE(++steps < 1000);
            const std::uint64_t start = data->length == 0 ? size - 5 : data->offset;
            CHECK(start >= at);
            CHECK(is_zero(bytes_view(expected).subspan(at, start - at)));
            if (data->length == 0) {
                CHECK(data->offset == size - 5);
                break;
            }
            at = data->end();
            CHECK(at <= size - 5);
        }
        CHECK((*f)->next_data(size * 2).value() == byte_range{size - 5, 0});
    }

    TEST_CASE_TEMPLATE("file: is_hole never takes data for a hole, also beyond the end", T,
                       posix_fixture, sim_fixture) {
        T t;
        const auto f = t.fs.open(join_path(t.root(), "f"), open_mode::create);
        REQUIRE(f);
        constexpr std::uint64_t size = 1 << 20;
        constexpr std::uint64_t piece = 65536;
        REQUIRE((*f)->truncate(size));
        CHECK((*f)->is_hole({0, size}).value());
        REQUIRE((*f)->write_at(3 * piece + 5, as_bytes("x")));
        REQUIRE((*f)->write_at(size - 1, as_bytes("x")));
        for (std::uint64_t at = 0; at < size; at += piece) {
            const bool data = at == 3 * piece || at == size - piece;
            CHECK((*f)->is_hole({at, piece}).value() == !data);
        }
        CHECK_FALSE((*f)->is_hole({2 * piece, 2 * piece}).value());
        REQUIRE((*f)->truncate(8 * piece));
        CHECK((*f)->is_hole({4 * piece, 4 * piece}).value());
        CHECK_FALSE((*f)->is_hole({7 * piece, 2 * piece}).value());
        CHECK_FALSE((*f)->is_hole({9 * piece, piece}).value());
    }

    TEST_CASE_TEMPLATE("file: allocate makes it long enough, keeps its bytes and never shortens it",
                       T, posix_fixture, sim_fixture) {
        T t;
        const auto f = t.fs.open(join_path(t.root(), "f"), open_mode::create);
        REQUIRE(f);
        REQUIRE((*f)->write_at(0, as_bytes("abc")));
        REQUIRE((*f)->allocate(100000));
        CHECK((*f)->size().value() == 100000);
        byte_vector expected(100000);
        std::memcpy(expected.data(), "abc", 3);
        CHECK(read_all(**f) == expected);
        REQUIRE((*f)->allocate(5));
        REQUIRE((*f)->allocate(0));
        CHECK((*f)->size().value() == 100000);
    }

    TEST_CASE_TEMPLATE("file: a lock excludes other objects until its holder is gone", T,
                       posix_fixture, sim_fixture) {
        T t;
        const std::string path = join_path(t.root(), "f");
        auto first = t.fs.open(path, open_mode::create);
        auto second = t.fs.open(path, open_mode::read_write);
        REQUIRE(first);
        REQUIRE(second);
        CHECK((*first)->lock());
        CHECK((*first)->lock());
        const auto refused = (*second)->lock();
        CHECK(failed_with(refused, errc::busy));
        CHECK(refused.error().text().starts_with(path));
        first->reset();
        CHECK((*second)->lock());
    }

    TEST_CASE_TEMPLATE("file: a map and the file show each other's bytes", T, posix_fixture,
                       sim_fixture) {
        T t;
        auto f = t.fs.open(join_path(t.root(), "f"), open_mode::create);
        REQUIRE(f);
        REQUIRE((*f)->allocate(10000));
        CHECK(failed_with((*f)->map(0), errc::invalid));
        CHECK(failed_with((*f)->map(10001), errc::invalid));
        auto map = (*f)->map(10000);
        REQUIRE(map);
        REQUIRE((*map)->bytes().size() == 10000);
        CHECK(is_zero((*map)->bytes()));
        (*map)->bytes()[0] = std::byte{1};
        (*map)->bytes()[9999] = std::byte{2};
        REQUIRE((*f)->write_at(5000, as_bytes("written")));
        CHECK(as_text((*map)->bytes().subspan(5000, 7)) == "written");
        byte_vector bytes = read_all(**f);
        CHECK(bytes[0] == std::byte{1});
        CHECK(bytes[9999] == std::byte{2});
        REQUIRE((*map)->sync());
        f->reset();
        (*map)->bytes()[1] = std::byte{3}; // a map outlives its file object
        REQUIRE((*map)->sync());
        map->reset();
        auto again = t.fs.open(join_path(t.root(), "f"), open_mode::read);
        REQUIRE(again);
        CHECK(read_all(**again)[1] == std::byte{3});
    }

    TEST_CASE_TEMPLATE("file: random changes equal those of an array", T, posix_fixture,
                       sim_fixture) {
        T t;
        for (std::uint64_t seed = 1; seed <= 10; ++seed) {
            CAPTURE(seed);
            sim::random r(seed);
            const auto f =
                t.fs.open(join_path(t.root(), "f" + std::to_string(seed)), open_mode::create);
            REQUIRE(f);
            byte_vector model;
            for (int step = 0; step < 60; ++step) {
                const std::uint64_t offset = r.below(50000);
                const std::uint64_t length = r.below(3) == 0 ? r.below(30000) : r.below(600);
                switch (r.below(6)) {
                case 0:
                    REQUIRE((*f)->zero({offset, length}, r.percent(50), false));
                    for (std::uint64_t i = offset;
                         i < std::min<std::uint64_t>(offset + length, model.size()); ++i) {
                        model[i] = std::byte{0};
                    }
                    break;
                case 1:
                    REQUIRE((*f)->truncate(offset));
                    model.resize(offset);
                    break;
                case 2:
                    REQUIRE((*f)->sync_data());
                    break;
                default: {
                    const byte_vector data = pattern(length, r.next());
                    REQUIRE((*f)->write_at(offset, data));
                    if (length > 0) {
                        model.resize(std::max<std::size_t>(model.size(), offset + length));
                        std::copy(data.begin(), data.end(), model.begin() + offset);
                    }
                }
                }
                REQUIRE((*f)->size().value() == model.size());
            }
            CHECK(read_all(**f) == model);
        }
    }
}
