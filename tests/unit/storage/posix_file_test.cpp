// What only the real file system does.

#include "replicator/base/unique_fd.hpp"
#include "replicator/storage/posix_file.hpp"
#include "tests/unit/storage/fixtures.hpp"

#include <atomic>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <thread>
#include <unistd.h>

using namespace farshore;

namespace {

/// A descriptor that fdatasync refuses: the writing end of a pipe.
unique_fd unsyncable(unique_fd &reader) {
    int ends[2] = {-1, -1};
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    reader = unique_fd(ends[0]);
    return unique_fd(ends[1]);
}

/// Punches and writes the file's first block, again and again.
class restless_block {
  public:
    explicit restless_block(file &f)
        : thread_([this, &f] {
              const byte_vector data = pattern(4096, 1);
              while (!over_) {
                  CHECK(f.write_at(0, data));
                  CHECK(f.zero({0, 4096}, false, false));
              }
          }) {}
    ~restless_block() {
        over_ = true;
        thread_.join();
    }

  private:
    std::atomic<bool> over_ = false;
    std::thread thread_;
};

/// A loop device over a file, where root and the kernel allow one.
class loop_device {
  public:
    explicit loop_device(const std::string &backing) {
        const unique_fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
        const unique_fd file(::open(backing.c_str(), O_RDWR | O_CLOEXEC));
        const int number = control ? ::ioctl(control.get(), LOOP_CTL_GET_FREE) : -1;
        if (!file || number < 0) {
            return;
        }
        path_ = "/dev/loop" + std::to_string(number);
        device_ = unique_fd(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
        if (device_ && ::ioctl(device_.get(), LOOP_SET_FD, file.get()) != 0) {
            device_.reset();
        }
    }
    ~loop_device() {
        if (device_) {
            ::ioctl(device_.get(), LOOP_CLR_FD, 0);
        }
    }
    loop_device(const loop_device &) = delete;
    loop_device &operator=(const loop_device &) = delete;

    explicit operator bool() const { return static_cast<bool>(device_); }
    const std::string &path() const { return path_; }

  private:
    std::string path_;
    unique_fd device_;
};

/// The locks of a QEMU that has the file: shared ones on a byte for each permission that it uses
/// (100 on) and for each that it allows nobody else (200 on).
unique_fd qemu_has(const std::string &path, std::initializer_list<off_t> bytes) {
    unique_fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    for (const off_t at : bytes) {
        struct flock l{};
        l.l_type = F_RDLCK;
        l.l_whence = SEEK_SET;
        l.l_start = at;
        l.l_len = 1;
        REQUIRE(::fcntl(fd.get(), F_OFD_SETLK, &l) == 0);
    }
    return fd;
}

} // namespace

TEST_SUITE("storage") {
    TEST_CASE("posix: a name that we gave ourselves is not followed through a symbolic link") {
        posix_fixture t;
        const std::string link = join_path(t.root(), "link");
        REQUIRE(t.fs.open(join_path(t.root(), "target"), open_mode::create));
        REQUIRE(::symlink("target", link.c_str()) == 0);
        CHECK(t.fs.open(link, open_mode::read_write));
        CHECK(failed_with(t.fs.open(link, open_mode::read_write_no_link), ELOOP));
        CHECK(failed_with(t.fs.open(link, open_mode::create_no_link), ELOOP));
    }

    TEST_CASE("posix file: what ZFS says of holes is not believed, others are") {
        CHECK_FALSE(holes_are_told(0x2FC12FC1));
        for (const std::uint64_t magic :
             {0xEF53UL, 0x58465342UL, 0x9123683EUL, 0x01021994UL}) { // ext4, XFS, btrfs, tmpfs
            CHECK(holes_are_told(magic));
        }
    }

    TEST_CASE("posix: files are made private, directories too") {
        temp_directory dir;
        posix_file_system fs;
        REQUIRE(fs.make_directories(dir / "a/b"));
        REQUIRE(fs.open(dir / "a/f", open_mode::create));
        struct stat st{};
        REQUIRE(::stat((dir / "a/f").c_str(), &st) == 0);
        CHECK((st.st_mode & 0777) == 0600);
        REQUIRE(::stat((dir / "a").c_str(), &st) == 0);
        CHECK((st.st_mode & 0777) == 0700);
    }

    TEST_CASE("posix file: its times are made new, and only they change") {
        temp_directory dir;
        posix_file_system fs;
        const auto f = std::move(*fs.open(dir / "f", open_mode::create));
        REQUIRE(f->write_at(0, as_bytes("content")));
        const auto before = f->identity();
        std::this_thread::sleep_for(std::chrono::milliseconds(50)); // the clock of files has steps
        REQUIRE(f->renew_times());
        REQUIRE(f->sync_all());
        const auto after = f->identity();
        REQUIRE((before && after));
        CHECK(after->modified > before->modified);
        CHECK(after->changed > before->changed);
        CHECK(after->inode == before->inode);
        CHECK(after->size == before->size);
    }

    TEST_CASE("posix: a FIFO in the place of a file is refused and does not hang") {
        temp_directory dir;
        posix_file_system fs;
        REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
        CHECK(failed_with(fs.open(dir / "fifo", open_mode::read), errc::invalid));
        CHECK(failed_with(fs.open(dir / "fifo", open_mode::create), errc::invalid));
    }

    TEST_CASE("posix: after a failed sync the file and its other users are dead") {
        unique_fd reader;
        posix_file f(unsyncable(reader), "/some/pipe", false, true);
        const auto first = f.sync_data();
        CHECK(failed_with(first, EINVAL));
        CHECK(first.error().text().starts_with("can't sync /some/pipe: "));
        CHECK(failed_with(f.sync_data(), errc::dead));
        CHECK(failed_with(f.write_at(0, as_bytes("x")), errc::dead));
        CHECK(failed_with(f.truncate(0), errc::dead));
        CHECK(failed_with(f.renew_times(), errc::dead));
        CHECK(failed_with(f.allocate(1), errc::dead));
        CHECK(failed_with(f.zero({0, 1}, false, false), errc::dead));
    }

    TEST_CASE("posix: of many syncs at once over a failing file none succeeds") {
        unique_fd reader;
        posix_file f(unsyncable(reader), "/some/pipe", false, true);
        std::atomic<int> succeeded = 0;
        std::vector<std::thread> threads;
        for (int i = 0; i < 8; ++i) {
            threads.emplace_back([&] { succeeded += f.sync_data().has_value() ? 1 : 0; });
        }
        for (std::thread &t : threads) {
            t.join();
        }
        CHECK(succeeded == 0);
    }

    TEST_CASE("posix: writers, readers, syncs and a map of one file from many threads") {
        temp_directory dir;
        posix_file_system fs;
        const auto f = fs.open(dir / "f", open_mode::create);
        REQUIRE(f);
        constexpr std::size_t piece = 6000;
        constexpr std::size_t threads_count = 6;
        REQUIRE((*f)->allocate(threads_count * piece));
        std::atomic<int> failures = 0;
        std::vector<std::thread> threads;
        for (std::size_t i = 0; i < threads_count; ++i) {
            threads.emplace_back([&, i] {
                const std::uint64_t at = i * piece;
                for (std::uint64_t round = 0; round < 10; ++round) {
                    const byte_vector data = pattern(piece, i * 100 + round);
                    byte_vector out(piece);
                    const bool good = (*f)->write_at(at, data) && (*f)->sync_data() &&
                                      (*f)->read_at(at, out) && out == data &&
                                      (*f)->next_data(at) && (*f)->read_at_cached(at, out);
                    failures += good ? 0 : 1;
                }
            });
        }
        const auto map = (*f)->map(threads_count * piece);
        REQUIRE(map);
        for (int round = 0; round < 10; ++round) {
            CHECK((*map)->sync());
        }
        for (std::thread &t : threads) {
            t.join();
        }
        CHECK(failures == 0);
    }

    TEST_CASE("posix: what was just written is read from the page cache where the kernel can") {
        temp_directory dir;
        posix_file_system fs;
        const auto f = fs.open(dir / "f", open_mode::create);
        REQUIRE(f);
        const byte_vector data = pattern(65536, 1);
        REQUIRE((*f)->write_at(0, data));
        const unique_fd direct(::open((dir / "f").c_str(), O_RDONLY | O_CLOEXEC));
        byte_vector out(65536);
        const iovec piece{out.data(), out.size()};
        if (::preadv2(direct.get(), &piece, 1, 0, RWF_NOWAIT) != 65536) {
            MESSAGE("skipped: this file system does not read with RWF_NOWAIT");
            return;
        }
        std::fill(out.begin(), out.end(), std::byte{0});
        CHECK((*f)->read_at_cached(0, out).value());
        CHECK(out == data);
    }

    TEST_CASE("posix: a hole gives its space back") {
        temp_directory dir;
        posix_file_system fs;
        const auto f = fs.open(dir / "f", open_mode::create);
        REQUIRE(f);
        REQUIRE((*f)->write_at(0, pattern(1 << 20, 1)));
        REQUIRE((*f)->sync_data());
        const auto punched = (*f)->zero({0, 1 << 19}, false, true);
        if (failed_with(punched, ENOTSUP)) {
            MESSAGE("skipped: this file system makes no holes");
            return;
        }
        REQUIRE(punched);
        struct stat st{};
        REQUIRE(::stat((dir / "f").c_str(), &st) == 0);
        CHECK(st.st_blocks * 512 < (1 << 20));
        CHECK((*f)->next_data(0).value() == byte_range{1 << 19, 1 << 19});
    }

    TEST_CASE(
        "posix: a block device has its size, is zeroed at any offset and claimed by one user") {
        temp_directory dir;
        posix_file_system fs;
        constexpr std::uint64_t size = 4 << 20;
        REQUIRE(fs.open(dir / "disk", open_mode::create).value()->truncate(size));
        const loop_device loop(dir / "disk");
        if (!loop) {
            MESSAGE("skipped: no loop devices here");
            return;
        }
        auto f = fs.open(loop.path(), open_mode::read_write);
        REQUIRE(f);
        CHECK((*f)->block_special());
        CHECK((*f)->size().value() == size);
        CHECK(failed_with((*f)->truncate(1), errc::invalid));
        CHECK((*f)->allocate(size));
        CHECK(failed_with((*f)->allocate(size + 1), ENOSPC));
        CHECK(failed_with((*f)->write_at(size, as_bytes("x")), ENOSPC));
        REQUIRE((*f)->lock());
        REQUIRE((*f)->lock());
        const auto other = fs.open(loop.path(), open_mode::read_write);
        REQUIRE(other);
        const auto refused = (*other)->lock();
        CHECK(failed_with(refused, errc::busy));
        CHECK(refused.error().text().find("claimed") != std::string::npos);

        for (const bool keep : {false, true}) {
            for (const byte_range r : {byte_range{0, 4096},
                                       {100, 200},
                                       {511, 2},
                                       {1000, 100000},
                                       {300, 700},
                                       {size - 700, 700},
                                       {0, size}}) {
                CAPTURE(r.offset);
                CAPTURE(r.length);
                byte_vector expected = pattern(size, 5);
                REQUIRE((*f)->write_at(0, expected)); // dirty pages under the zeroed range
                REQUIRE((*f)->zero(r, keep, false));
                std::fill_n(expected.begin() + r.offset, r.length, std::byte{0});
                CHECK(read_all(**f) == expected);
            }
        }
        const byte_range all = (*f)->next_data(0).value();
        CHECK(all == byte_range{0, size});
        REQUIRE((*f)->sync_data());
        f->reset();
        CHECK((*other)->lock());
    }

    TEST_CASE("posix file: QEMU and we keep each other out") {
        posix_fixture t;
        const std::string path = join_path(t.root(), "image");
        const auto f = t.fs.open(path, open_mode::create).value();
        REQUIRE(f->truncate(4096));
        {
            const unique_fd writer = qemu_has(path, {100, 101, 201, 203});
            CHECK(is(f->lock().error(), errc::busy));
        }
        {
            const unique_fd reader = qemu_has(path, {100, 201}); // shares no writing
            CHECK(is(f->lock().error(), errc::busy));
        }
        {
            const unique_fd peeping = qemu_has(path, {100}); // with --force-share
            CHECK(f->lock());
            CHECK(f->lock());
        }
        // Now QEMU looks whether anybody uses what it forbids, or forbids what it uses.
        const unique_fd later(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        for (const off_t at : {off_t{101}, off_t{201}}) {
            struct flock l{};
            l.l_type = F_WRLCK;
            l.l_whence = SEEK_SET;
            l.l_start = at;
            l.l_len = 1;
            REQUIRE(::fcntl(later.get(), F_OFD_GETLK, &l) == 0);
            CHECK(l.l_type == F_RDLCK);
        }
        const auto other = t.fs.open(path, open_mode::read_write).value();
        CHECK(is(other->lock().error(), errc::busy));
    }

    TEST_CASE("posix file: a loop device on it is seen") {
        posix_fixture t;
        const std::string path = join_path(t.root(), "image");
        const auto f = t.fs.open(path, open_mode::create).value();
        REQUIRE(f->truncate(1U << 20));
        CHECK(f->intruder().empty());
        const loop_device loop(path);
        if (!loop) {
            MESSAGE("skipped: no loop device");
            return;
        }
        CHECK(f->intruder().find(loop.path()) != std::string::npos);
        CHECK(is(f->lock().error(), errc::busy));
    }
}
TEST_CASE("posix file: data that is punched meanwhile does not hide the data behind it") {
    temp_directory directory;
    posix_file_system fs;
    auto f = fs.open(directory.path() + "/f", open_mode::create);
    REQUIRE(f);
    REQUIRE((*f)->truncate(1 << 20));
    REQUIRE((*f)->write_at(1 << 19, pattern(4096, 2)));
    const restless_block other(**f);
    for (int i = 0; i < 20000; ++i) {
        const auto data = (*f)->next_data(0);
        REQUIRE(data);
        REQUIRE(data->length != 0);
    }
}
