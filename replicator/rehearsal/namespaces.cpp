#include "replicator/rehearsal/namespaces.hpp"

#include "replicator/base/unique_fd.hpp"
#include "replicator/rehearsal/guard.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace farshore::rehearsal {
namespace {

result<> bring_lo_up() {
    const unique_fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strncpy(request.ifr_name, "lo", sizeof request.ifr_name - 1);
    if (!any || ::ioctl(any.get(), SIOCGIFFLAGS, &request) != 0) {
        return fail_errno(errno, "the private network's lo");
    }
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    return ::ioctl(any.get(), SIOCSIFFLAGS, &request) == 0
               ? result<>{}
               : fail_errno(errno, "the private network's lo can't be brought up");
}

result<> show(const std::string &from, const std::string &at) {
    return ::mount(from.c_str(), at.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0
               ? result<>{}
               : fail_errno(errno, from + " can't be shown at " + at);
}

} // namespace

bool has_namespaces() {
    const pid_t child = ::fork(); // what it enters must not be ours
    if (child == 0) {
        ::_exit(::unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET) == 0 ? 0 : 1);
    }
    int status = 1;
    while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

result<> enter_namespaces(const workplace &place) {
    if (::unshare(CLONE_NEWNS | (place.isolate ? CLONE_NEWNET : 0)) != 0) {
        return fail_errno(errno, "namespaces can't be made");
    }
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0 ||
        ::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0) {
        return fail_errno(errno, "mounts of its own can't be made");
    }
    FS_CHECK(show(place.socket, place.shown_socket()));
    for (const mounted_volume &m : place.mounts) { // one by one: the directory above is root's
        const std::string at = place.shown_mount() + "/" + m.name;
        if (::mkdir(at.c_str(), 0755) != 0) {
            return fail_errno(errno, "can't make the directory " + at);
        }
        FS_CHECK(show(m.path, at));
    }
    return place.isolate ? bring_lo_up() : result<>{};
}

std::vector<pid_t> children_of_this_thread() {
    std::vector<pid_t> all;
    std::ifstream list("/proc/thread-self/children");
    for (pid_t pid = 0; list >> pid;) {
        all.push_back(pid);
    }
    return all;
}

} // namespace farshore::rehearsal
