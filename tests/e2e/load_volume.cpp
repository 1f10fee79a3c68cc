#include "tests/e2e/load_volume.hpp"

#include <cerrno>
#include <fcntl.h>
#include <libnbd.h>
#include <sys/stat.h>
#include <unistd.h>

namespace farshore::load {
namespace {

std::unexpected<error> nbd_failure() {
    const int number = nbd_get_errno();
    const char *text = nbd_get_error();
    return fail_errno(number != 0 ? number : EIO, text != nullptr ? text : "libnbd");
}

result<> nbd_done(int code) {
    if (code < 0) {
        return nbd_failure();
    }
    return {};
}

} // namespace

void volume::close_handle::operator()(nbd_handle *handle) const { nbd_close(handle); }

result<volume> volume::open(const std::string &where, bool writable) {
    volume v;
    if (where.find("://") == std::string::npos) {
        v.file_ = unique_fd(::open(where.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC));
        struct stat about{};
        if (!v.file_ || ::fstat(v.file_.get(), &about) != 0) {
            return fail_errno(errno, where);
        }
        const off_t end = ::lseek(v.file_.get(), 0, SEEK_END); // block devices too
        v.size_ = static_cast<std::uint64_t>(end);
        return v;
    }
    v.nbd_.reset(nbd_create());
    if (!v.nbd_) {
        return nbd_failure();
    }
    FS_CHECK(nbd_done(nbd_connect_uri(v.nbd_.get(), where.c_str())));
    const auto size = nbd_get_size(v.nbd_.get());
    if (size < 0) {
        return nbd_failure();
    }
    v.size_ = static_cast<std::uint64_t>(size);
    return v;
}

result<> volume::read(std::uint64_t offset, bytes_span out) {
    if (nbd_) {
        return nbd_done(nbd_pread(nbd_.get(), out.data(), out.size(), offset, 0));
    }
    const auto n = ::pread(file_.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (n != static_cast<ssize_t>(out.size())) {
        return fail_errno(n < 0 ? errno : EIO, "read");
    }
    return {};
}

result<> volume::write(std::uint64_t offset, bytes_view bytes) {
    if (nbd_) {
        return nbd_done(nbd_pwrite(nbd_.get(), bytes.data(), bytes.size(), offset, 0));
    }
    const auto n = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n != static_cast<ssize_t>(bytes.size())) {
        return fail_errno(n < 0 ? errno : EIO, "write");
    }
    return {};
}

result<> volume::write_zeroes(std::uint64_t offset, std::uint64_t length) {
    if (nbd_) {
        return nbd_done(nbd_zero(nbd_.get(), length, offset, 0));
    }
    const byte_vector zeroes(length);
    return write(offset, zeroes);
}

result<> volume::flush() {
    if (nbd_) {
        return nbd_done(nbd_flush(nbd_.get(), 0));
    }
    if (::fdatasync(file_.get()) != 0) {
        return fail_errno(errno, "flush");
    }
    return {};
}

} // namespace farshore::load
