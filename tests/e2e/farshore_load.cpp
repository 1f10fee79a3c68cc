// farshore-load: writes through NBD that can be checked afterwards.
//
//   farshore-load fill  --seed S [--chains C] --volume I FILE     content before the first write
//   farshore-load write --seed S [--chains C] [limits] URI...     dependent writes, volumes in turns
//   farshore-load check --seed S [--chains C] [--filled] [--floor FILE] [--exact] FILE-OR-URI...
//
// See load_plan.hpp for what is written, load_check.hpp for what is promised. Exit: 0 ok, 1 the
// check or a write failed, 2 usage.

#include "tests/e2e/load_check.hpp"
#include "tests/e2e/load_plan.hpp"
#include "tests/e2e/load_write.hpp"

#include <fmt/format.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace {

using namespace farshore;

std::atomic<bool> stop_asked{false};

struct command_line {
    std::string verb;
    load::write_options write;
    load::check_options check;
    std::uint32_t volume = 0;
    std::string floor;
};

const char *usage =
    "usage: farshore-load fill  --seed S [--chains C] --volume I FILE\n"
    "       farshore-load write --seed S [--chains C] [--seconds T] [--writes N] [--rate N]\n"
    "                     [--retry T] [--flush-every N] [--progress FILE] [--resume] URI...\n"
    "       farshore-load check --seed S [--chains C] [--filled] [--floor FILE] [--exact] "
    "FILE-OR-URI...\n";

template <class Number>
bool number(const std::string &text, Number &value) {
    const auto end = text.data() + text.size();
    const auto [at, code] = std::from_chars(text.data(), end, value);
    return code == std::errc() && at == end;
}

bool set_option(command_line &c, const std::string &name, const std::string &value) {
    auto &w = c.write;
    if (name == "--seed") {
        return number(value, w.plan.seed);
    }
    if (name == "--chains") {
        return number(value, w.plan.chains) && w.plan.chains > 0;
    }
    if (name == "--seconds") {
        return number(value, w.seconds);
    }
    if (name == "--writes") {
        return number(value, w.writes_max);
    }
    if (name == "--rate") {
        return number(value, w.writes_per_second);
    }
    if (name == "--retry") {
        return number(value, w.retry_seconds);
    }
    if (name == "--flush-every") {
        return number(value, w.flush_every);
    }
    if (name == "--volume") {
        return number(value, c.volume);
    }
    if (name == "--progress") {
        w.progress = value;
        return true;
    }
    if (name == "--floor") {
        c.floor = value;
        return true;
    }
    return false;
}

bool parse(command_line &c, const std::vector<std::string> &words) {
    if (words.empty()) {
        return false;
    }
    c.verb = words[0];
    for (std::size_t i = 1; i < words.size(); ++i) {
        if (words[i] == "--resume") {
            c.write.resume = true;
        } else if (words[i] == "--filled") {
            c.check.filled = true;
        } else if (words[i] == "--exact") {
            c.check.exact = true;
        } else if (!words[i].starts_with("--")) {
            c.write.volumes.push_back(words[i]);
        } else if (i + 1 >= words.size() || !set_option(c, words[i], words[i + 1])) {
            return false;
        } else {
            ++i;
        }
    }
    return !c.write.volumes.empty();
}

result<> run_check(command_line &c) {
    c.check.plan = c.write.plan;
    c.check.volumes = c.write.volumes;
    if (!c.floor.empty()) {
        FS_TRY(floor, load::read_progress(c.floor, c.check.plan.chains));
        c.check.floor = floor;
    }
    FS_TRY(prefixes, load::check_prefix(c.check));
    fmt::print("{{\"prefix\": [{}]}}\n", fmt::join(prefixes, ", "));
    return {};
}

result<> run(command_line &c) {
    if (c.verb == "fill") {
        return load::fill(c.write.volumes[0], c.write.plan, c.volume);
    }
    if (c.verb == "write") {
        return load::run_writes(c.write, stop_asked);
    }
    return run_check(c);
}

} // namespace

int main(int argc, char **argv) {
    command_line c;
    if (!parse(c, {argv + 1, argv + argc}) ||
        (c.verb != "fill" && c.verb != "write" && c.verb != "check")) {
        std::fputs(usage, stderr);
        return 2;
    }
    struct sigaction action{};
    action.sa_handler = [](int) { stop_asked.store(true); };
    ::sigaction(SIGTERM, &action, nullptr);
    ::sigaction(SIGINT, &action, nullptr);
    const auto done = run(c);
    if (!done) {
        fmt::print(stderr, "farshore-load: {}\n", done.error().text());
        return 1;
    }
    return 0;
}
