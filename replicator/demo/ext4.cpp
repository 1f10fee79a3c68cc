// ext4 on nbdfuse on the volumes, through loop devices. All mounts live in a mount namespace of the
// demo: they end with it whatever happens to it.

#include "replicator/base/unique_fd.hpp"
#include "replicator/demo/nbd.hpp"
#include "replicator/demo/process.hpp"
#include "replicator/demo/store.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace farshore::demo {
namespace {

constexpr auto tool_patience = std::chrono::seconds(30);

/// A record is a block, hence a page: the one unit that fuse sends on whole. mke2fs gives volumes
/// this small blocks of 1 KiB; a record then lies across two pages, reaches the volume as two
/// writes, and a point between them rightly shows it torn.
constexpr unsigned file_system_block_bytes = 4096;
static_assert(file_system_block_bytes == record_bytes);

result<> pwrite_all(int fd, std::uint64_t offset, bytes_view data, const std::string &path) {
    while (!data.empty()) {
        const ssize_t n = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return fail_errno(errno, path);
        }
        data = data.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
    return {};
}

result<unique_fd> open_file(const std::string &path, int flags) {
    unique_fd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
    if (!fd) {
        return fail_errno(errno, path);
    }
    return fd;
}

result<> make_directory(const std::string &path) {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
        return fail_errno(errno, path);
    }
    return {};
}

result<> run_tool(const std::vector<std::string> &argv, const std::string &log) {
    const int code = run_program(argv, log, tool_patience);
    if (code != 0) {
        return fail(errc::invalid, fmt::format("{} failed ({}); see {}", argv.front(), code, log));
    }
    return {};
}

/// A mounted file system; unmounted when the object goes.
class mounted {
  public:
    mounted() = default;
    explicit mounted(std::string path) : path_(std::move(path)) {}
    mounted(mounted &&o) noexcept : path_(std::exchange(o.path_, {})) {}
    mounted &operator=(mounted &&o) noexcept {
        std::swap(path_, o.path_);
        return *this;
    }
    ~mounted() {
        if (!path_.empty() && ::umount2(path_.c_str(), 0) != 0) {
            ::umount2(path_.c_str(), MNT_DETACH);
        }
    }
    /// A umount that waits for the writes; a failure is told.
    result<> release() {
        const std::string path = std::exchange(path_, {});
        if (!path.empty() && ::umount2(path.c_str(), 0) != 0) {
            const int number = errno;
            ::umount2(path.c_str(), MNT_DETACH);
            return fail_errno(number, path);
        }
        return {};
    }

  private:
    std::string path_;
};

class file_store final : public store {
  public:
    file_store(std::array<unique_fd, 2> records, std::array<unique_fd, 2> ballast)
        : records_(std::move(records)), ballast_(std::move(ballast)) {}

    result<> put_record(std::size_t volume, std::uint64_t number, bytes_view record) override {
        const int fd = records_[volume].get();
        FS_CHECK(pwrite_all(fd, number % record_slots * record_bytes, record, "records"));
        if (::fdatasync(fd) != 0) {
            return fail_errno(errno, "records");
        }
        return {};
    }
    result<> put_ballast(std::size_t volume, std::uint64_t offset, bytes_view data) override {
        return pwrite_all(ballast_[volume].get(), offset, data, "ballast");
    }

  private:
    std::array<unique_fd, 2> records_;
    std::array<unique_fd, 2> ballast_;
};

class file_storage final : public storage {
  public:
    file_storage(std::array<std::string, 2> uris, std::string directory)
        : uris_(std::move(uris)), directory_(std::move(directory)) {}
    ~file_storage() override {
        for (mounted &m : mounts_) {
            const auto ignored = m.release();
            static_cast<void>(ignored);
        }
    }

    result<> set_up() {
        for (std::size_t i = 0; i < 2; ++i) {
            FS_CHECK(set_up_volume(i));
        }
        return {};
    }
    std::string description() const override {
        return "files with fdatasync on ext4, mounted from both volumes";
    }
    bool survives_sender() const override { return false; }

    result<std::unique_ptr<store>> connect() override {
        std::array<unique_fd, 2> records;
        std::array<unique_fd, 2> ballast;
        for (std::size_t i = 0; i < 2; ++i) {
            FS_TRY(r, open_file(mount_point(i) + "/records", O_RDWR | O_CREAT));
            FS_TRY(b, open_file(mount_point(i) + "/ballast", O_RDWR | O_CREAT));
            records[i] = std::move(r);
            ballast[i] = std::move(b);
        }
        return std::make_unique<file_store>(std::move(records), std::move(ballast));
    }

    result<ring_content> read_records(std::size_t volume, const std::string &uri,
                                      const std::string &scratch) override;

    result<> release() override {
        for (std::size_t i = 0; i < 2; ++i) {
            FS_CHECK(mounts_[i].release());
        }
        // After the umounts nothing is dirty in a loop device; nbdfuse flushes when it ends.
        for (std::size_t i = 0; i < 2; ++i) {
            fuse_mounts_[i] = mounted();
            fuse_[i].stop(std::chrono::seconds(5));
        }
        return {};
    }

  private:
    std::string mount_point(std::size_t i) const { return directory_ + "/mnt-" + volume_names[i]; }
    std::string log() const { return directory_ + "/tools.log"; }
    result<> set_up_volume(std::size_t i);

    std::array<std::string, 2> uris_;
    std::string directory_;
    // In this order: the fuse processes end after the mounts that stand on them.
    std::array<child, 2> fuse_;
    std::array<mounted, 2> fuse_mounts_;
    std::array<mounted, 2> mounts_;
};

result<> file_storage::set_up_volume(std::size_t i) {
    const std::string fuse_directory = directory_ + "/fuse-" + volume_names[i];
    const std::string device = fuse_directory + "/nbd";
    FS_CHECK(make_directory(fuse_directory));
    FS_CHECK(make_directory(mount_point(i)));
    FS_TRY(process, child::start({"nbdfuse", fuse_directory, uris_[i]}, log()));
    fuse_[i] = std::move(process);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (::access(device.c_str(), R_OK) != 0) {
        if (!fuse_[i].running() || std::chrono::steady_clock::now() > end) {
            return fail(errc::timeout, "nbdfuse did not serve " + uris_[i]);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    fuse_mounts_[i] = mounted(fuse_directory);
    FS_CHECK(run_tool({"mkfs.ext4", "-q", "-F", "-b", std::to_string(file_system_block_bytes), "-E",
                       "nodiscard", device},
                      log()));
    FS_CHECK(run_tool({"mount", "-t", "ext4", "-o", "loop", device, mount_point(i)}, log()));
    mounts_[i] = mounted(mount_point(i));
    FS_TRY(records, open_file(mount_point(i) + "/records", O_RDWR | O_CREAT));
    if (::ftruncate(records.get(), static_cast<off_t>(record_area_bytes)) != 0 ||
        ::fsync(records.get()) != 0) {
        return fail_errno(errno, mount_point(i));
    }
    return {};
}

/// A point is read-only, but its ext4 has a journal to replay: it is copied and the copy is
/// mounted.
result<ring_content> file_storage::read_records(std::size_t volume, const std::string &uri,
                                                const std::string &scratch) {
    const std::string image = scratch + "/point-" + volume_names[volume] + ".img";
    const std::string where = scratch + "/point-" + volume_names[volume];
    {
        FS_TRY(v, nbd_volume::connect(uri));
        FS_TRY(fd, open_file(image, O_RDWR | O_CREAT | O_TRUNC));
        if (::ftruncate(fd.get(), static_cast<off_t>(v.size())) != 0) {
            return fail_errno(errno, image);
        }
        buffer piece(1 << 20);
        for (std::uint64_t at = 0; at < v.size(); at += piece.size()) {
            const auto part =
                piece.span().first(std::min<std::uint64_t>(piece.size(), v.size() - at));
            FS_CHECK(v.read(at, part));
            if (!is_zero(part)) {
                FS_CHECK(pwrite_all(fd.get(), at, part, image));
            }
        }
    }
    FS_CHECK(make_directory(where));
    FS_CHECK(run_tool({"mount", "-t", "ext4", "-o", "loop", image, where}, log()));
    const mounted m(where);
    FS_TRY(fd, open_file(where + "/records", O_RDONLY));
    buffer area(record_area_bytes);
    std::size_t done = 0;
    while (done < area.size()) {
        const ssize_t n =
            ::pread(fd.get(), area.data() + done, area.size() - done, static_cast<off_t>(done));
        if (n <= 0) {
            return fail_errno(n == 0 ? EIO : errno, where + "/records");
        }
        done += static_cast<std::size_t>(n);
    }
    return read_ring(volume_letters[volume], area.view());
}

} // namespace

result<> prepare_for_ext4() {
    if (::geteuid() != 0) {
        return fail(errc::invalid, "not root");
    }
    for (const char *tool : {"nbdfuse", "mkfs.ext4", "mount"}) {
        if (!have_program(tool)) {
            return fail(errc::not_found, std::string(tool) + " is not installed");
        }
    }
    for (const char *device : {"/dev/fuse", "/dev/loop-control"}) {
        if (::access(device, R_OK | W_OK) != 0) {
            return fail_errno(errno, device);
        }
    }
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
        return fail_errno(errno, "mount namespace");
    }
    return {};
}

result<std::unique_ptr<storage>> ext4_storage(std::array<std::string, 2> uris,
                                              const std::string &directory) {
    auto s = std::make_unique<file_storage>(std::move(uris), directory);
    FS_CHECK(s->set_up());
    return std::unique_ptr<storage>(std::move(s));
}

} // namespace farshore::demo
