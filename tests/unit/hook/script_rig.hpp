#pragma once
// A script of the hook type `script` that does what the contract says but where a test lets it go
// wrong. Frozen is a file of its directory; whoever releases removes it.

#include "replicator/hook/request.hpp"
#include "tests/support/temp_directory.hpp"

#include <fmt/format.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/stat.h>
#include <thread>

namespace farshore::hook {

/// Within five seconds.
template <class Condition>
bool comes_true(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
}

/// It ended; a zombie, too.
inline bool process_gone(pid_t pid) {
    std::ifstream file(fmt::format("/proc/{}/stat", pid));
    std::string line;
    std::getline(file, line);
    const auto name_end = line.rfind(") ");
    return name_end == std::string::npos || line[name_end + 2] == 'Z' || line[name_end + 2] == 'X';
}

struct script_parts {
    std::string before = ":"; ///< it is frozen: shell
    std::string during = ":"; ///< it waits for the release
    std::string after = ":";  ///< it has released
    int code = 0;
};

struct script_rig {
    temp_directory directory;
    request asked;

    explicit script_rig(const script_parts &parts = {}) {
        asked.type = application::script;
        asked.name = "app";
        asked.group = "shop";
        asked.bookmark = "nightly";
        asked.timeout = std::chrono::seconds(60);
        asked.run = {directory / "hook.sh"};
        std::ofstream(asked.run[0])
            << fmt::format(R"(#!/bin/sh
cd "{}" || exit 99
[ "$1" = release ] && {{ echo >>forced; rm -f state; exit 0; }}
echo $$ >pid
: >state
{}
echo frozen
{}
read -r word
rm -f state
{}
echo "fact word $word"
echo released
exit {}
)",
                           directory.path(), parts.before, parts.during, parts.after, parts.code);
        ::chmod(asked.run[0].c_str(), 0755);
        ::chmod(directory.path().c_str(), 0777);
    }
    /// Kills what is left of it when its handling was wrong: what works in its directory.
    ~script_rig() {
        for (const char *file : {"pid", "child"}) {
            const pid_t pid = number_in(file);
            std::error_code ignored;
            const auto where =
                std::filesystem::read_symlink(fmt::format("/proc/{}/cwd", pid), ignored);
            if (pid > 1 && where == directory.path()) {
                ::kill(pid, SIGKILL);
            }
        }
    }
    script_rig(const script_rig &) = delete;
    script_rig &operator=(const script_rig &) = delete;

    bool has(const std::string &file) const { return std::filesystem::exists(directory / file); }
    pid_t number_in(const std::string &file) const {
        std::ifstream text(directory / file);
        pid_t number = 0;
        text >> number;
        return number;
    }
};

} // namespace farshore::hook
