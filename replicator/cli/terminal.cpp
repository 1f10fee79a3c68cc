#include "replicator/cli/terminal.hpp"

#include <cstdio>
#include <unistd.h>

namespace farshore {
namespace {

void write_to(std::FILE *stream, std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stream);
    std::fflush(stream);
}

std::optional<std::string> line_from(std::FILE *stream) {
    char text[8192];
    if (std::fgets(text, sizeof text, stream) == nullptr) {
        return std::nullopt;
    }
    std::string line(text);
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) {
        line.pop_back();
    }
    return line;
}

} // namespace

terminal process_terminal() {
    return {[](std::string_view text) { write_to(stdout, text); },
            [](std::string_view text) { write_to(stderr, text); },
            ::isatty(STDOUT_FILENO) == 1,
            ::isatty(STDERR_FILENO) == 1,
            [] { return line_from(stdin); },
            ::isatty(STDIN_FILENO) == 1};
}

} // namespace farshore
