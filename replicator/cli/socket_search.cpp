#include "replicator/cli/socket_search.hpp"

#include "replicator/base/unique_fd.hpp"
#include "replicator/control/unix_socket.hpp"

#include <algorithm>
#include <filesystem>
#include <poll.h>

namespace farshore {
namespace {

constexpr int greeting_wait_ms = 100;

/// Connected, and silent for a moment: waits for a request.
bool is_control_socket(const std::filesystem::path &path) {
    const bool by_name = path.filename() == "sender.sock" || path.filename() == "receiver.sock";
    const auto fd = control::connect_to(path.string(), std::chrono::seconds(1));
    if (!fd) {
        return by_name &&
               is(fd.error(), errc::timeout); // a daemon that hangs: the call itself says so
    }
    if (by_name) {
        return true;
    }
    pollfd ready{fd->get(), POLLIN, 0};
    return ::poll(&ready, 1, greeting_wait_ms) == 0;
}

} // namespace

std::vector<std::string> find_control_sockets(const std::string &directory) {
    std::vector<std::string> found;
    std::error_code ec;
    for (const auto &entry : std::filesystem::directory_iterator(directory, ec)) {
        std::error_code stat_ec;
        if (entry.path().extension() == ".sock" && entry.is_socket(stat_ec) &&
            is_control_socket(entry.path())) {
            found.push_back(entry.path().string());
        }
    }
    std::ranges::sort(found);
    return found;
}

std::expected<std::string, control::failure> default_socket(const std::string &directory) {
    const auto found = find_control_sockets(directory);
    if (found.size() == 1) {
        return found.front();
    }
    if (found.empty()) {
        return std::unexpected(
            control::failure{"no_daemon",
                             "no daemon answers in " + directory +
                                 "; is it running, and are you allowed to reach it? "
                                 "Name another socket with --socket PATH",
                             1});
    }
    std::string list;
    for (const std::string &path : found) {
        list += " " + path;
    }
    return std::unexpected(control::failure{
        "usage", "several daemons answer; choose one with --socket PATH:" + list, 2});
}

} // namespace farshore
