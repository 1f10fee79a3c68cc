// Fuzz target: the lines between the daemon and farshore-hook, and what a hook reads of a guest
// agent, a script, and words of the configuration. The first byte chooses, the rest is the text.
// Checks: what is accepted is within its limits and comes back equal when it is said again; what
// the daemon asks the hook takes, what the hook answers the daemon takes, and it fits the label of
// a point; no line that is too long is taken, however it comes in pieces.

#include "replicator/base/assert.hpp"
#include "replicator/base/plain_name.hpp"
#include "replicator/format/point_label.hpp"
#include "replicator/hook/agent_link.hpp"
#include "replicator/hook/answer.hpp"
#include "replicator/hook/channel.hpp"
#include "replicator/hook/connect_words.hpp"
#include "replicator/hook/hook_limits.hpp"
#include "replicator/hook/line_reader.hpp"
#include "replicator/hook/redis_session.hpp"
#include "replicator/hook/request.hpp"
#include "replicator/hook/script.hpp"
#include "replicator/quiesce/hook_words.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <map>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>

using namespace farshore;

namespace {

namespace limits = hook::limits;

/// As the daemon would have asked for it.
std::string asked_again(const hook::request &asked) {
    hook_config config;
    config.name = asked.name;
    config.type = hook::name_of(asked.type);
    config.timeout = asked.timeout;
    config.run = asked.run;
    config.user = asked.user;
    config.outside = asked.outside;
    const std::map<std::string, std::string hook_config::*> places{
        {"filesystem", &hook_config::mount},
        {"sqlite", &hook_config::file},
        {"qemu-guest-agent", &hook_config::socket}};
    if (asked.type != hook::application::script) {
        const auto at = places.find(config.type);
        config.*(at == places.end() ? &hook_config::connect : at->second) = asked.where;
    }
    hook_context context{asked.group, asked.bookmark, {}};
    for (const hook::group_volume &one : asked.volumes) {
        context.volumes.emplace_back(one.name, one.path);
    }
    std::string line = hook_request(config, context, asked.never);
    REPL_ASSERT(line.ends_with('\n') && line.find('\n') == line.size() - 1);
    line.pop_back();
    return line;
}

void check_request(std::string_view text) {
    const auto asked = hook::parse_request(text);
    if (!asked) {
        REPL_ASSERT(!asked.error().text().empty());
        return;
    }
    REPL_ASSERT(asked->timeout >= limits::timeout_min && asked->timeout <= limits::timeout_max);
    REPL_ASSERT(asked->volumes.size() <= limits::volumes_max);
    REPL_ASSERT(asked->never.size() <= limits::never_max);
    REPL_ASSERT(asked->run.size() <= limits::words_max);
    REPL_ASSERT((asked->type == hook::application::script) == !asked->run.empty());
    const std::string line = asked_again(*asked);
    if (line.size() > limits::request_bytes_max) { // what it left out was said
        return;
    }
    const auto again = hook::parse_request(line);
    REPL_ASSERT(again && *again == *asked);
}

constexpr std::size_t short_line = 48; ///< a bound that inputs often reach

/// Lines as the hook reads them of its pipe, in pieces of any size.
void check_reader(std::string_view text) {
    std::array<int, 2> ends{};
    if (text.empty() || ::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
        return;
    }
    const unique_fd from(ends[0]);
    const unique_fd to(ends[1]);
    hook::line_reader reader(from.get(), short_line);
    std::vector<std::string> taken;
    const std::size_t piece = 1 + static_cast<unsigned char>(text.front()) * 7U;
    for (std::size_t at = 0; at < text.size(); at += piece) {
        const auto part = text.substr(at, piece);
        REPL_ASSERT(::write(to.get(), part.data(), part.size()) == ssize_t(part.size()));
        REPL_ASSERT(reader.read_some() == hook::line_reader::source::open);
        while (const auto line = reader.next()) {
            taken.push_back(*line);
        }
    }
    bool too_long = false;
    std::size_t count = 0;
    for (std::size_t at = 0; at < text.size() && !too_long;) {
        const auto end = std::min(text.find('\n', at), text.size());
        too_long = end - at > short_line;
        if (!too_long && end < text.size()) {
            REPL_ASSERT(count < taken.size() && taken[count] == text.substr(at, end - at));
            ++count;
        }
        at = end + 1;
    }
    REPL_ASSERT(count == taken.size());
    REPL_ASSERT(reader.too_long() == too_long);
}

/// A point's label takes it, through the line and the catalogue.
void check_label(const hook_event &event) {
    hook_result one;
    one.name = "db";
    one.type = "script";
    one.ok = event.proved;
    one.freeze = event.frozen;
    one.message = event.message;
    one.facts = event.facts;
    point_label label;
    label.name = "nightly";
    label.hooks.push_back(one);
    const auto bytes = encode_label(label);
    const auto again = parse_label(bytes);
    REPL_ASSERT(again && *again == label);
}

/// Answers as the daemon hears them, in pieces of any size.
void check_answers(std::string_view text) {
    if (text.empty()) {
        return;
    }
    hook_answers answers;
    const std::size_t piece = 1 + static_cast<unsigned char>(text.front()) * 7U;
    std::size_t behind = 0;
    for (std::size_t at = 0; at < text.size(); at += piece) {
        answers.add(text.substr(at, piece));
        for (;;) {
            const auto event = answers.next();
            const auto end = text.find('\n', behind);
            if (!event || !*event) {
                REPL_ASSERT(!event || end == std::string_view::npos || end >= at + piece);
                if (!event) {
                    return;
                }
                break;
            }
            REPL_ASSERT(end != std::string_view::npos && end - behind <= hook_line_bytes_max);
            behind = end + 1;
            check_label(**event);
        }
    }
}

hook_event heard(const std::string &line) {
    REPL_ASSERT(line.size() <= limits::line_bytes_max && line.find('\n') == line.size() - 1);
    hook_answers answers;
    answers.add(line);
    const auto event = answers.next();
    REPL_ASSERT(event && *event);
    check_label(**event);
    return **event;
}

/// Facts of a line are the first ones, but for keys that a label does not take.
void check_facts(const hook_event &event, const hook::facts &known) {
    std::map<std::string, std::string> said;
    for (const auto &[key, value] : known.all()) {
        REPL_ASSERT(key.size() <= limits::fact_key_bytes_max);
        REPL_ASSERT(value.size() <= limits::fact_value_bytes_max);
        if (is_plain_name(key)) {
            said.emplace(key, value);
        }
    }
    REPL_ASSERT(event.facts.size() <= said.size());
    for (const auto &[key, value] : event.facts) {
        const auto at = said.find(key);
        REPL_ASSERT(at != said.end() && at->second == value);
    }
}

/// What a script prints becomes facts and messages, the hook's lines, and the daemon's events.
void check_said(std::string_view text) {
    hook::facts known;
    for (std::size_t at = 0; at < text.size();) {
        const auto end = std::min(text.find('\n', at), text.size());
        if (const auto fact = hook::fact_of(std::string(text.substr(at, end - at)))) {
            known.add(fact->first, fact->second);
        }
        at = end + 1;
    }
    REPL_ASSERT(known.all().size() <= limits::facts_max);
    const hook_event frozen = heard(hook::frozen_line(std::chrono::milliseconds(7), known));
    REPL_ASSERT(frozen.what == "frozen");
    check_facts(frozen, known);
    const std::string message = hook::message_of(text);
    REPL_ASSERT(message.size() <= limits::message_bytes_max);
    const hook_event released =
        heard(hook::released_line({true, std::chrono::milliseconds(9), known, std::string(text)}));
    REPL_ASSERT(released.what == "released" && released.proved);
    REPL_ASSERT(released.frozen == std::chrono::milliseconds(9) && released.message == message);
    check_facts(released, known);
    for (const auto &[line, what] : {std::pair(hook::failed_line(text), "failed"),
                                     std::pair(hook::expired_line(text), "expired")}) {
        const hook_event event = heard(line);
        REPL_ASSERT(event.what == what && event.message == message && !event.proved);
    }
}

/// What the worker tells its guard.
void check_channel(std::string_view text) {
    auto ends = hook::make_channel();
    REPL_ASSERT(ends);
    if (text.empty() || ::send(ends->first.get(), text.data(), text.size(), MSG_DONTWAIT) < 0) {
        return;
    }
    const auto word = hook::next_worker_word(ends->second.get());
    if (!word) {
        return;
    }
    REPL_ASSERT(*word && (*word)->known.all().size() <= limits::facts_max);
    REPL_ASSERT(hook::send_word(ends->first.get(), **word));
    const auto again = hook::next_worker_word(ends->second.get());
    REPL_ASSERT(again && *again && (*again)->what == (*word)->what);
    REPL_ASSERT((*again)->text == (*word)->text && (*again)->freeze == (*word)->freeze);
    REPL_ASSERT((*again)->proved == (*word)->proved && (*again)->known == (*word)->known);
}

void check_agent(std::string_view text) {
    const std::string line(text);
    constexpr std::int64_t step = 4711;
    if (hook::agent_in_step(line, step)) {
        REPL_ASSERT(line.contains('\xFF') && line.contains("return"));
        REPL_ASSERT(!hook::agent_in_step(line, step + 1));
    }
    if (const auto value = hook::agent_value(line, "guest-info"); !value) {
        REPL_ASSERT(value.error().text().contains("guest-info"));
    }
}

void check_words(std::string_view text) {
    constexpr std::array keys{"host", "port", "socket", "user", "password"};
    const auto words =
        hook::connect_words::parse(text, {"host", "port", "socket", "user", "password"});
    if (words) {
        std::string again;
        for (const char *key : keys) {
            again += fmt::format("{}='", key);
            for (const char c : words->get(key)) {
                again += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
            }
            again += "' ";
        }
        const auto same =
            hook::connect_words::parse(again, {"host", "port", "socket", "user", "password"});
        REPL_ASSERT(same);
        for (const char *key : keys) {
            REPL_ASSERT(same->get(key) == words->get(key));
        }
    }
    for (const auto &[key, value] : hook::info_fields(std::string(text))) {
        REPL_ASSERT(!key.contains(':') && !value.contains('\n') && !value.contains('\r'));
    }
}

constexpr std::array checks = {check_request, check_reader, check_answers, check_said,
                               check_channel, check_agent,  check_words};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    if (size > 0) { // '0', '1', ... in the corpus
        const std::string_view text(reinterpret_cast<const char *>(data) + 1, size - 1);
        checks[(data[0] - std::size_t{'0'}) % checks.size()](text);
    }
    return 0;
}
