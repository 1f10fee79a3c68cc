#include "replicator/receiver/mount_cases.hpp"

#include <algorithm>
#include <ranges>

namespace farshore {
namespace {

template <class F>
void each_line(std::string_view text, F f) {
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        f(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
}

std::vector<std::string_view> words_of(std::string_view line) {
    std::vector<std::string_view> words;
    while (!line.empty()) {
        const auto end = std::min(line.find(' '), line.size());
        if (end > 0) {
            words.push_back(line.substr(0, end));
        }
        line.remove_prefix(std::min(end + 1, line.size()));
    }
    return words;
}

/// The kernel writes blanks and the like as \NNN, octal.
std::string unescaped(std::string_view text) {
    const auto digit = [](char c) { return c >= '0' && c <= '7'; };
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size() && digit(text[i + 1]) && digit(text[i + 2]) &&
            digit(text[i + 3])) {
            const int code = (text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + text[i + 3] - '0';
            out += static_cast<char>(code);
            i += 3;
        } else {
            out += text[i];
        }
    }
    return out;
}

bool below(const std::string &path, const std::string &directory) {
    return path.starts_with(directory + "/");
}

} // namespace

std::string disk_content::what() const {
    if (!type.empty()) {
        return "it holds " + type + ", which is no file system";
    }
    return partition.empty() ? "no known file system is on it"
                             : "a partition table (" + partition + ") is on it, no file system";
}

disk_content parse_blkid(std::string_view text) {
    disk_content found;
    each_line(text, [&](std::string_view line) {
        const auto equals = line.find('=');
        if (equals == line.npos) {
            return;
        }
        const std::string_view key = line.substr(0, equals);
        const std::string_view value = line.substr(equals + 1);
        if (key == "TYPE") {
            found.type = value;
        } else if (key == "USAGE") {
            found.usage = value;
        } else if (key == "PTTYPE") {
            found.partition = value;
        }
    });
    return found;
}

// The content is another machine's: no device or set-uid program of it counts here.
std::vector<std::string> mount_options(const std::string &type, bool writable) {
    const std::string common = ",nosuid,nodev";
    if (writable) {
        return {"rw" + common + (type == "xfs" ? ",nouuid" : "")};
    }
    if (type == "ext3" || type == "ext4") {
        return {"ro" + common + ",noload"};
    }
    if (type == "xfs") {
        return {"ro" + common + ",norecovery,nouuid"};
    }
    if (type == "btrfs") { // the old name goes away, and kernels before 5.9 know no other
        return {"ro" + common + ",rescue=nologreplay", "ro" + common + ",nologreplay"};
    }
    return {"ro" + common};
}

std::vector<mounted> parse_mountinfo(std::string_view text) {
    std::vector<mounted> all;
    each_line(text, [&](std::string_view line) {
        const auto words = words_of(line);
        const auto dash = std::ranges::find(words, "-");
        if (words.size() < 5 || words.end() - dash < 3) {
            return;
        }
        all.push_back({unescaped(dash[2]), unescaped(words[4]), std::string(dash[1])});
    });
    return all;
}

leftovers leftovers_of(const std::string &directory, const std::vector<mounted> &mounts,
                       const std::vector<loop_device> &loops) {
    leftovers left;
    for (const loop_device &l : loops) {
        if (below(l.backing_file, directory)) {
            left.loops.push_back(l.device);
        }
    }
    for (const mounted &m : mounts | std::views::reverse) { // the newest lies on the others
        if (std::ranges::find(left.loops, m.source) != left.loops.end()) {
            left.file_systems.push_back(m.target);
        } else if (below(m.target, directory)) {
            left.fuses.push_back(m.target);
        }
    }
    return left;
}

} // namespace farshore
