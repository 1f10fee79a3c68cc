#include "replicator/hook/connect_words.hpp"

#include "replicator/base/clean_text.hpp"
#include "replicator/hook/hook_limits.hpp"
#include "replicator/hook/refusal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>

namespace farshore::hook {
namespace {

std::unexpected<error> bad(std::string_view key, std::string_view what) {
    return refusal(
        fmt::format("connect: \"{}\" {}", clean_text(key, limits::fact_key_bytes_max), what));
}

/// Takes one value from the front of `rest`. No value: a quote is not closed.
std::optional<std::string> take_value(std::string_view &rest) {
    std::string value;
    const bool quoted = rest.starts_with('\'');
    rest.remove_prefix(quoted ? 1 : 0);
    while (!rest.empty()) {
        const char c = rest.front();
        if (quoted ? c == '\'' : c == ' ') {
            break;
        }
        rest.remove_prefix(c == '\\' && rest.size() > 1 ? 1 : 0);
        value += rest.front();
        rest.remove_prefix(1);
    }
    if (quoted && rest.empty()) {
        return std::nullopt;
    }
    rest.remove_prefix(quoted ? 1 : 0);
    return value;
}

} // namespace

result<connect_words> connect_words::parse(std::string_view rest,
                                           std::initializer_list<std::string_view> keys) {
    connect_words found;
    for (;;) {
        rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
        if (rest.empty()) {
            return found;
        }
        const auto equals = rest.find('=');
        const std::string key(rest.substr(0, std::min(equals, rest.find(' '))));
        if (std::ranges::find(keys, key) == keys.end()) {
            return bad(key, "is no key of this type");
        }
        if (equals == std::string_view::npos || equals != key.size()) {
            return bad(key, "has no value");
        }
        rest.remove_prefix(equals + 1);
        auto value = take_value(rest);
        if (!value || (!rest.empty() && rest.front() != ' ')) {
            return bad(key, "has a quote that is not closed at the end of its value");
        }
        if (!found.all_.emplace(key, std::move(*value)).second) {
            return bad(key, "is there twice");
        }
    }
}

std::string connect_words::get(std::string_view key) const {
    const auto found = all_.find(key);
    return found == all_.end() ? "" : found->second;
}

result<int> connect_words::port(int otherwise) const {
    const auto found = all_.find("port");
    if (found == all_.end()) {
        return otherwise;
    }
    const std::string &text = found->second;
    int number = 0;
    const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (wrong != std::errc{} || end != text.data() + text.size() || number < 1 || number > 65535) {
        return bad("port", "is no number from 1 to 65535");
    }
    return number;
}

result<std::string> connect_words::password() const {
    const std::string path = get("password_file");
    if (path.empty()) {
        return get("password");
    }
    errno = 0;
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line)) {
        return fail_errno(errno == 0 ? EIO : errno, "password_file " + path);
    }
    return line;
}

} // namespace farshore::hook
