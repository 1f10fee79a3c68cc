#include "replicator/demo/nbd.hpp"

#include <libnbd.h>

namespace farshore::demo {
namespace {

std::unexpected<error> failed() {
    const int number = ::nbd_get_errno();
    const char *text = ::nbd_get_error();
    return fail(std::error_code(number, std::generic_category()), text != nullptr ? text : "nbd");
}

} // namespace

void nbd_volume::deleter::operator()(nbd_handle *h) const { ::nbd_close(h); }

result<nbd_volume> nbd_volume::connect(const std::string &uri) {
    nbd_volume v;
    v.handle_.reset(::nbd_create());
    if (!v.handle_ || ::nbd_connect_uri(v.handle_.get(), uri.c_str()) != 0) {
        return failed();
    }
    const std::int64_t size = ::nbd_get_size(v.handle_.get());
    if (size < 0) {
        return failed();
    }
    v.size_ = static_cast<std::uint64_t>(size);
    return v;
}

result<> nbd_volume::read(std::uint64_t offset, bytes_span out) {
    if (::nbd_pread(handle_.get(), out.data(), out.size(), offset, 0) != 0) {
        return failed();
    }
    return {};
}

result<> nbd_volume::write(std::uint64_t offset, bytes_view data) {
    if (::nbd_pwrite(handle_.get(), data.data(), data.size(), offset, 0) != 0) {
        return failed();
    }
    return {};
}

result<> nbd_volume::flush() {
    if (::nbd_flush(handle_.get(), 0) != 0) {
        return failed();
    }
    return {};
}

} // namespace farshore::demo
