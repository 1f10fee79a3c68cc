#include "replicator/carry/overlay.hpp"

#include "replicator/base/limits.hpp"
#include "replicator/carry/child.hpp"
#include "replicator/carry/new_file.hpp"
#include "replicator/carry/output.hpp"
#include "replicator/control/json_guard.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <libnbd.h>

namespace farshore::carry {
namespace {

constexpr const char *package = "qemu-utils";
constexpr std::uint64_t zero_bytes = limits::GiB; ///< of one request

std::string first_line(const std::string &text) { return text.substr(0, text.find('\n')); }

} // namespace

result<backing_image> find_backing(const std::string &path, const std::string &directory,
                                   const std::function<bool()> &stop) {
    FS_TRY(done, run_child({"qemu-img", "info", "-U", "--output=json", "--", path}, package,
                           nullptr, stop));
    if (done.exit != 0) {
        return fail(errc::invalid, "--backing: " + first_line(done.err));
    }
    const auto info = control::parse_json(done.out);
    const auto format = info && info->is_object() ? info->find("format") : info->end();
    if (!info || !info->is_object() || format == info->end() || !format->is_string()) {
        return fail(errc::corrupt, "--backing: qemu-img does not tell the format of " + path);
    }
    std::error_code ec;
    const auto whole = std::filesystem::canonical(path, ec);
    const bool beside = !ec && whole.parent_path() == std::filesystem::canonical(directory, ec);
    return backing_image{beside ? whole.filename().string() : whole.string(),
                         format->get<std::string>()};
}

std::vector<std::string> create_words(const std::string &path, std::uint64_t size,
                                      const backing_image &backing) {
    std::vector<std::string> words{
        "qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=128k"};
    if (!backing.path.empty()) {
        words.insert(words.end(), {"-b", backing.path, "-F", backing.format});
    }
    words.insert(words.end(), {"--", path, std::to_string(size)});
    return words;
}

void overlay::closer::operator()(nbd_handle *h) const { ::nbd_close(h); }

std::unexpected<error> overlay::failed() const {
    const int number = ::nbd_get_errno();
    const char *text = ::nbd_get_error();
    if (number == EINTR) {
        return fail(errc::cancelled, "");
    }
    return number == ENOSPC || number == EFBIG
               ? write_failed(number, path_)
               : fail_errno(
                     number == 0 ? EIO : number,
                     fmt::format("{}: qemu-nbd: {}", path_, text != nullptr ? text : "it failed"));
}

result<overlay> overlay::make(const std::string &path, std::uint64_t size,
                              const backing_image &backing, const std::function<bool()> &stop) {
    FS_TRY(made, run_child(create_words(path, size, backing), package, nullptr, stop));
    if (made.exit != 0) {
        return fail_errno(EIO, fmt::format("{}: {}", path, first_line(made.err)));
    }
    overlay o;
    o.path_ = path;
    o.handle_.reset(::nbd_create());
    std::vector<std::string> words{"qemu-nbd",        "-f", "qcow2", "--cache=writeback",
                                   "--discard=unmap", path};
    std::vector<char *> argv;
    for (std::string &word : words) {
        argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    if (!o.handle_ || ::nbd_connect_systemd_socket_activation(o.handle_.get(), argv.data()) != 0) {
        return o.failed();
    }
    return o;
}

result<> overlay::write(std::uint64_t offset, bytes_view bytes) {
    return ::nbd_pwrite(handle_.get(), bytes.data(), bytes.size(), offset, 0) == 0 ? result<>{}
                                                                                   : failed();
}

result<> overlay::zero(byte_range range) {
    while (range.length > 0) {
        const std::uint64_t now = std::min(range.length, zero_bytes);
        if (::nbd_zero(handle_.get(), now, range.offset, 0) != 0) {
            return failed();
        }
        range = {range.offset + now, range.length - now};
    }
    return {};
}

result<> overlay::finish() {
    if (::nbd_flush(handle_.get(), 0) != 0 || ::nbd_shutdown(handle_.get(), 0) != 0) {
        return failed();
    }
    handle_.reset(); // waits for the end of qemu-nbd
    return {};
}

} // namespace farshore::carry
