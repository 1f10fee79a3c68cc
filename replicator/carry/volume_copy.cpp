#include "replicator/carry/volume_copy.hpp"

#include "replicator/base/unique_fd.hpp"
#include "replicator/carry/output.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

namespace farshore::carry {
namespace {

constexpr std::size_t file_read_bytes = 512 * 1024;

bytes_view bytes_of(const piece &part) {
    return bytes_view(*part.data).first(static_cast<std::size_t>(part.range.length));
}

} // namespace

result<copied> copy_volume(nbd_source &source, const extent_list &data, const piece_sink &sink,
                           const std::string &what, const means &with) {
    sha256_thread digest;
    const std::uint64_t total = data.bytes();
    std::uint64_t done = 0;
    FS_CHECK(source.copy(
        data.ranges(),
        [&](const piece &part) -> result<> {
            digest.add(part.data, part.range.length);
            FS_CHECK(sink(part));
            if (part.data) {
                done += part.range.length;
                with.progress(what, done, total);
            }
            return {};
        },
        with.stop));
    return copied{source.size(), digest.finish()};
}

piece_sink sink_to_file(int fd, const std::string &name) {
    return [fd, name](const piece &part) -> result<> {
        return part.data ? write_at(fd, part.range.offset, bytes_of(part), name) : result<>{};
    };
}

piece_sink sink_to_stream(int fd, const std::string &name, const means &with) {
    return [fd, name, &with](const piece &part) {
        return part.data ? write_all(fd, bytes_of(part), name, with.stop)
                         : write_zeroes(fd, part.range.length, name, with.stop);
    };
}

result<copied> digest_file(const std::string &path, const std::string &what, const means &with) {
    const unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat st{};
    if (!fd || ::fstat(fd.get(), &st) != 0) {
        return fail_errno(errno, path);
    }
    sha256_thread digest;
    copied done;
    for (;;) {
        const auto buffer = std::make_shared<byte_vector>(file_read_bytes);
        FS_TRY(n, read_some(fd.get(), *buffer, path, with.stop));
        if (n == 0) {
            break;
        }
        digest.add(buffer, n);
        done.bytes += n;
        with.progress(what, done.bytes, static_cast<std::uint64_t>(st.st_size));
    }
    done.sha256 = digest.finish();
    return done;
}

} // namespace farshore::carry
