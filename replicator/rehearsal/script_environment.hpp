#pragma once
// What a script is told of the copy that it runs on: variables of its environment. Pure.
//
//   FARSHORE_GROUP, FARSHORE_POINT               which copy; the id of the point
//   FARSHORE_POINT_TIME, _KIND, _NAME            the point's facts
//   FARSHORE_VOLUMES                             the names of the volumes, with blanks between
//   FARSHORE_URI_<VOLUME>                        where it is served, for each
//   FARSHORE_NBD_SOCKET                          of that server; exports are named by volume
//   FARSHORE_MOUNT, FARSHORE_MOUNT_<VOLUME>      where they are mounted, when that was asked for
//   FARSHORE_DIR                                 an empty directory, removed afterwards
//
// In <VOLUME> letters are upper-case, and what is no letter or digit is "_". Of volumes that would
// have the same variable the second has "_2" behind it, and so on, in the order of the names.
//
// Of what the program around had, all is passed on but its own FARSHORE_ variables and what service
// managers mean for it alone.

#include "replicator/base/error.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace farshore::rehearsal {

struct copy_volume {
    std::string name;
    std::string uri;
    std::string mount = {}; ///< empty: not mounted
};
struct copy_facts {
    std::string group;
    std::string point;
    std::string time;
    std::string kind;
    std::string name;
    std::string socket;
    std::string mount = {}; ///< empty: nothing is
    std::string directory;
    std::vector<copy_volume> volumes; ///< sorted by name
};

/// "NAME=VALUE" each. `around`: the environment of this program, likewise.
std::vector<std::string> environment_of(const copy_facts &facts,
                                        const std::vector<std::string> &around);

/// That of this process.
std::vector<std::string> own_environment();

/// The socket's path in "nbd+unix:///data?socket=%2Frun%2Fx". errc::invalid: there is none.
result<std::string> socket_of_uri(std::string_view uri);
/// The same export at another socket.
std::string uri_at_socket(std::string_view uri, std::string_view socket);

} // namespace farshore::rehearsal
