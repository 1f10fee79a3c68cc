#include "replicator/rehearsal/verdict.hpp"

#include "replicator/base/clean_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

namespace farshore::rehearsal {
namespace {

constexpr std::size_t kept_bytes = 16 * 1024;
constexpr std::size_t lines_max = 20;

/// The part before the first blank, and the rest.
std::pair<std::string, std::string> split(const std::string &line) {
    const auto at = line.find(' ');
    return at == std::string::npos ? std::pair(line, std::string())
                                   : std::pair(line.substr(0, at), line.substr(at + 1));
}

std::string words_of_code(int code) {
    return code > 128 ? fmt::format("the script was ended by signal {}", code - 128)
                      : fmt::format("the script ended with {}", code);
}

} // namespace

bool verdict_maker::hear(const std::string &line) {
    const auto [word, rest] = split(line);
    if (word == "step") {
        step_ = rest;
        return false;
    }
    if (word == "script") {
        script_begun_ = true;
        return false;
    }
    if (how_ != ending::none) {
        return true;
    }
    if (word == "step_failed") {
        const auto [name, why] = split(rest);
        how_ = ending::step;
        words_ = fmt::format("step \"{}\" {}", name, why);
    } else if (word == "timed_out") {
        how_ = ending::timed_out;
    } else if (word == "trouble") {
        how_ = ending::trouble;
        words_ = rest;
    } else if (word == "ended") {
        int code = -1;
        std::from_chars(rest.data(), rest.data() + rest.size(), code);
        how_ = code == 0 ? ending::passed : ending::failed;
        words_ = code == 0 ? "" : words_of_code(code);
    }
    return how_ != ending::none;
}

verdict verdict_maker::made(duration timeout) const {
    switch (how_) {
    case ending::none:
        return {how_, "the process that runs the script was ended"};
    case ending::timed_out:
        return {how_, fmt::format("the script did not end within {:g} s, and was killed",
                                  seconds_of(timeout))};
    case ending::passed:
    case ending::failed:
    case ending::step:
    case ending::trouble:
        return {how_, words_};
    }
    return {};
}

void last_lines::add(const std::string &piece) {
    kept_ += piece;
    if (kept_.size() > kept_bytes) {
        kept_.erase(0, kept_.size() - kept_bytes);
    }
}

std::string last_lines::text(std::size_t bytes_max) const {
    std::vector<std::string> lines;
    std::size_t end = kept_.size();
    while (end > 0 && kept_[end - 1] == '\n') {
        --end;
    }
    std::size_t bytes = 0;
    while (end > 0 && lines.size() < lines_max) {
        const std::size_t before = kept_.rfind('\n', end - 1);
        const std::size_t begin = before == std::string::npos ? 0 : before + 1;
        std::string line =
            clean_text(std::string_view(kept_).substr(begin, end - begin), bytes_max);
        if (bytes + line.size() + 1 > bytes_max && !lines.empty()) {
            break;
        }
        bytes += line.size() + 1;
        lines.push_back(std::move(line));
        end = begin == 0 ? 0 : begin - 1;
    }
    std::ranges::reverse(lines);
    return fmt::format("{}", fmt::join(lines, "\n"));
}

} // namespace farshore::rehearsal
