#include "replicator/capture/volume_file.hpp"

#include "replicator/base/limits.hpp"

#include <algorithm>
#include <cerrno>

namespace farshore {
namespace {

std::unexpected<error> volume_error(const capture_volume &config, const error &e) {
    std::string reason = e.text();
    if (is_errno(e, ENOENT)) {
        reason = "is missing";
    } else if (is_errno(e, EACCES) || is_errno(e, EPERM) || is_errno(e, EROFS)) {
        reason = "can't be opened for writing: " + e.code.message();
    } else if (is(e, errc::busy)) {
        reason = "is in use by another daemon or mounted: " + e.context;
    }
    return std::unexpected(error{e.code, volume_text(config) + ": " + reason});
}

} // namespace

bool is_bad_place(const error &e) {
    constexpr int of_the_place[] = {EIO, ENODATA, EILSEQ, EREMOTEIO, EBADMSG, EUCLEAN};
    return std::ranges::any_of(of_the_place, [&](int number) { return is_errno(e, number); });
}

std::string volume_text(const capture_volume &config) {
    return "volume " + config.name + " (" + config.path + ")";
}

result<std::unique_ptr<file>> open_volume_file(file_system &files, const capture_volume &config) {
    auto opened = files.open(config.path, open_mode::read_write);
    if (!opened) {
        return volume_error(config, opened.error());
    }
    if (const auto locked = (*opened)->lock(); !locked) {
        return volume_error(config, locked.error());
    }
    const auto bytes = (*opened)->size();
    if (!bytes) {
        return volume_error(config, bytes.error());
    }
    if (*bytes == 0) {
        return fail(errc::invalid, volume_text(config) + ": is empty");
    }
    if (*bytes > limits::volume_bytes_max) {
        return fail(errc::limit, volume_text(config) + ": is larger than 1 PiB");
    }
    return opened;
}

} // namespace farshore
