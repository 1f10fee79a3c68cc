#include "replicator/base/log.hpp"

#include "replicator/base/clean_text.hpp"

namespace farshore::log {
namespace {
constexpr std::size_t message_bytes_max = 16 * 1024;

sink &current_sink() {
    static sink instance;
    return instance;
}
} // namespace

void set_sink(sink s) { current_sink() = std::move(s); }

void write(level l, std::string_view message) {
    if (current_sink()) {
        current_sink()(l, clean_text(message, message_bytes_max));
    }
}

} // namespace farshore::log
