#include "replicator/cli/promote_run.hpp"

#include "replicator/base/clean_text.hpp"
#include "replicator/base/unique_fd.hpp"
#include "replicator/cli/json_fields.hpp"
#include "replicator/rehearsal/rehearsal.hpp"
#include "replicator/rehearsal/start_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

namespace farshore {
namespace {

rehearsal::copy_facts facts_of(const control::json &answer) {
    rehearsal::copy_facts f;
    f.group = text_field(answer, "/group");
    f.point = text_field(answer, "/point");
    f.time = text_field(answer, "/time");
    f.kind = text_field(answer, "/kind");
    f.name = text_field(answer, "/name");
    for (const control::json &v : list_field(answer, "/volumes")) {
        f.volumes.push_back({text_field(v, "/volume"), text_field(v, "/nbd")});
    }
    if (!f.volumes.empty()) { // each volume may have a server of its own: its URI says which
        f.socket = rehearsal::socket_of_uri(f.volumes.front().uri).value_or("");
    }
    return f;
}

/// Of what lasts, so no pipe or terminal of ours; -1: there is none.
int output_file(const std::string &group, std::string &path) {
    const char *directory = std::getenv("TMPDIR");
    path = fmt::format("{}/farshore-start-{}.XXXXXX",
                       directory != nullptr && *directory != '\0' ? directory : "/tmp", group);
    return ::mkostemp(path.data(), O_CLOEXEC);
}

/// The last lines of what they printed.
std::string end_of(int file) {
    constexpr off_t most = 2000;
    const off_t size = ::lseek(file, 0, SEEK_END);
    std::string text(static_cast<std::size_t>(std::clamp<off_t>(size, 0, most)), '\0');
    const ssize_t got = ::pread(file, text.data(), text.size(), std::max<off_t>(size - most, 0));
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
}

} // namespace

void start_promoted(control::json &answer, const terminal &term) {
    const control::json told = answer.value("start", control::json::array());
    answer.erase("start");
    answer["started"] = control::json::array();
    answer["start_failed"] = nullptr;
    const auto failed = [&answer](const std::string &name, const std::string &why) {
        answer["start_failed"] = {{"name", name}, {"message", why}};
    };
    const auto steps = rehearsal::steps_of(told);
    if (!steps) {
        failed("-", steps.error().text());
        return;
    }
    if (steps->empty()) {
        return;
    }
    std::string path;
    const unique_fd output(output_file(text_field(answer, "/group"), path));
    if (output.get() < 0) {
        failed(steps->front().name, "no file for what it prints: " + path);
        return;
    }
    term.err("what the steps print: " + path + "\n");
    const auto done = rehearsal::start_applications(
        *steps, facts_of(answer), output.get(),
        [&](const std::string &step) { term.err("start: " + step + "\n"); });
    answer["started"] = done.started;
    answer["start_output"] = path;
    if (!done.failed.empty()) {
        failed(done.failed, done.why);
        term.err(clean_text(end_of(output.get()), 2000));
    }
}

} // namespace farshore
