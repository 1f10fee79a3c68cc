// What every block_device must do, run on file_device over both file systems, and what
// file_device adds.

#include "replicator/storage/file_device.hpp"
#include "tests/unit/storage/fixtures.hpp"

using namespace farshore;

namespace {

constexpr std::uint64_t odd_size = 1000003; // no multiple of anything

template <class Fixture>
struct device_fixture : Fixture {
    std::string path = join_path(this->root(), "volume");
    std::unique_ptr<file_device> device;

    explicit device_fixture(std::uint64_t size = odd_size) {
        auto f = this->fs.open(path, open_mode::create);
        REQUIRE(f);
        REQUIRE((*f)->truncate(size));
        REQUIRE((*f)->sync_data());
        REQUIRE(this->fs.sync_directory(this->root()));
        auto d = file_device::open(*std::move(f));
        REQUIRE(d);
        device = *std::move(d);
    }
};

byte_vector read_all(block_device &d) {
    byte_vector bytes(d.size());
    REQUIRE(d.read(0, bytes));
    return bytes;
}

/// Every byte said to be zero is zero; the extents cover exactly the range or stop at `max`.
void check_status(block_device &d, byte_range range, std::size_t max) {
    const auto extents = d.status(range, status_context::allocation, max);
    REQUIRE(extents);
    REQUIRE(!extents->empty());
    REQUIRE(extents->size() <= max);
    const byte_vector bytes = read_all(d);
    std::uint64_t at = range.offset;
    std::uint32_t last_flags = ~0U;
    for (const status_extent &e : *extents) {
        CHECK(e.length > 0);
        CHECK(e.flags != last_flags); // merged
        last_flags = e.flags;
        REQUIRE(at + e.length <= range.end());
        if ((e.flags & 2) != 0) {
            CHECK(is_zero(bytes_view(bytes).subspan(at, e.length)));
        }
        at += e.length;
    }
    if (extents->size() < max) {
        CHECK(at == range.end());
    }
}

} // namespace

TEST_SUITE("storage") {
    TEST_CASE_TEMPLATE("block device: random writes, trims and zeroes equal those of an array", T,
                       posix_fixture, sim_fixture) {
        for (std::uint64_t seed = 1; seed <= 5; ++seed) {
            for (const std::uint64_t size : {odd_size, std::uint64_t{65536}, std::uint64_t{100}}) {
                CAPTURE(seed);
                CAPTURE(size);
                device_fixture<T> t(size);
                CHECK(t.device->size() == size);
                byte_vector model(size);
                sim::random r(seed);
                for (int step = 0; step < 40; ++step) {
                    const std::uint64_t offset = r.below(size);
                    const std::uint64_t length =
                        std::min(size - offset, 1 + r.below(r.percent(50) ? 5000 : 200000));
                    const byte_range range{offset, length};
                    if (r.percent(60)) {
                        const byte_vector data = pattern(length, r.next());
                        if (r.percent(50) || !t.device->try_write(offset, data).value()) {
                            REQUIRE(t.device->write(offset, data, r.percent(20)));
                        }
                        std::copy(data.begin(), data.end(), model.begin() + offset);
                    } else {
                        if (r.percent(50) && t.device->try_zero(range, {}).value()) {
                        } else if (r.percent(50)) {
                            REQUIRE(t.device->trim(range, r.percent(20)));
                        } else {
                            REQUIRE(t.device->write_zeroes(
                                range, {.fua = r.percent(20), .keep_allocated = r.percent(50)}));
                        }
                        std::fill_n(model.begin() + offset, length, std::byte{0});
                    }
                    byte_vector out(length);
                    if (t.device->try_read(offset, out).value()) {
                        CHECK(std::equal(out.begin(), out.end(), model.begin() + offset));
                    }
                }
                CHECK(read_all(*t.device) == model);
                CHECK(t.device->flush());
                check_status(*t.device, {0, size}, 1000);
                check_status(*t.device, {size / 3, size / 2}, 2);
                check_status(*t.device, {size - 1, 1}, 1);
            }
        }
    }

    TEST_CASE_TEMPLATE("block device: empty requests do nothing", T, posix_fixture, sim_fixture) {
        device_fixture<T> t;
        CHECK(t.device->read(odd_size, {}));
        CHECK(t.device->write(odd_size, {}, false));
        CHECK(t.device->trim({odd_size, 0}, false));
        CHECK(t.device->size() == odd_size);
    }

    TEST_CASE("file device: holes are zero, everything else is data") {
        device_fixture<sim_fixture> t;
        REQUIRE(t.device->write(100000, pattern(4096, 1), false));
        REQUIRE(t.device->write(999999, as_bytes("x"), false));
        const auto extents = t.device->status({0, odd_size}, status_context::allocation, 100);
        REQUIRE(extents);
        std::vector<std::pair<std::uint64_t, std::uint32_t>> seen;
        for (const status_extent &e : *extents) {
            seen.emplace_back(e.length, e.flags);
        }
        const std::uint64_t last = odd_size / 4096 * 4096;
        CHECK(seen ==
              decltype(seen){{98304, 3}, {8192, 0}, {last - 106496, 3}, {odd_size - last, 0}});
        const auto inside = t.device->status({98304, 10}, status_context::allocation, 100);
        REQUIRE(inside);
        REQUIRE(inside->size() == 1);
        CHECK((*inside)[0].length == 10);
        CHECK((*inside)[0].flags == 0);
        CHECK_FALSE(t.device->has_dirty_context());
        CHECK(failed_with(t.device->status({0, 1}, status_context::dirty, 1), errc::unsupported));
    }

    TEST_CASE("file device: only fua and flush make a write durable") {
        device_fixture<sim_fixture> t;
        const auto after_cut = [&](std::uint64_t at) {
            sim_file_system copy(t.fs);
            copy.power_cut(0);
            const auto f = copy.open(t.path, open_mode::read);
            REQUIRE(f);
            return read_all(**f)[at];
        };
        REQUIRE(t.device->write(10, as_bytes("a"), false));
        REQUIRE(t.device->try_write(11, as_bytes("b")));
        CHECK(after_cut(10) == std::byte{0});
        CHECK(after_cut(11) == std::byte{0});
        REQUIRE(t.device->write(12, as_bytes("c"), true));
        CHECK(after_cut(12) == std::byte{'c'});
        CHECK(after_cut(10) == std::byte{'a'});
        REQUIRE(t.device->trim({10, 1}, false));
        CHECK(after_cut(10) == std::byte{'a'});
        REQUIRE(t.device->write_zeroes({11, 1}, {.fua = true}));
        CHECK(after_cut(11) == std::byte{0});
        REQUIRE(t.device->write(13, as_bytes("d"), false));
        REQUIRE(t.device->flush());
        CHECK(after_cut(13) == std::byte{'d'});
    }

    TEST_CASE("file device: a failed flush ends writing, reads go on") {
        device_fixture<sim_fixture> t;
        REQUIRE(t.device->write(0, as_bytes("a"), false));
        t.fs.inject({.scope = sim_scope::syncs});
        CHECK(failed_with(t.device->flush(), EIO));
        CHECK(failed_with(t.device->flush(), errc::dead));
        CHECK(failed_with(t.device->write(0, as_bytes("b"), false), errc::dead));
        CHECK(failed_with(t.device->try_write(0, as_bytes("b")), errc::dead));
        CHECK(failed_with(t.device->trim({0, 1}, false), errc::dead));
        byte_vector out(10);
        CHECK(t.device->read(0, out));
    }

    TEST_CASE("file device: errors of the disk are passed on") {
        device_fixture<sim_fixture> t;
        byte_vector out(10);
        t.fs.inject({.scope = sim_scope::every, .forever = true});
        CHECK(failed_with(t.device->read(0, out), EIO));
        CHECK(failed_with(t.device->try_read(0, out), EIO));
        CHECK(failed_with(t.device->write(0, out, false), EIO));
        CHECK(failed_with(t.device->status({0, 10}, status_context::allocation, 1), EIO));
        auto f = t.fs.open(t.path, open_mode::read);
        CHECK_FALSE(f);
    }

    TEST_CASE("file device: a read-only one says so and flushes nothing") {
        sim_fixture t;
        REQUIRE(t.fs.replace_file("/disk/f", as_bytes("abc")));
        auto f = t.fs.open("/disk/f", open_mode::read);
        REQUIRE(f);
        const auto d = file_device::open(*std::move(f), true);
        REQUIRE(d);
        CHECK((*d)->read_only());
        const std::uint64_t syncs = t.fs.syncs();
        CHECK((*d)->flush());
        CHECK(t.fs.syncs() == syncs);
        CHECK(as_text(read_all(**d)) == "abc");
    }
}
