#include "replicator/base/log.hpp"

namespace farshore::log {
namespace {
sink &current_sink() {
    static sink instance;
    return instance;
}
} // namespace

void set_sink(sink s) { current_sink() = std::move(s); }

void write(level l, std::string_view message) {
    if (current_sink()) {
        current_sink()(l, message);
    }
}

} // namespace farshore::log
