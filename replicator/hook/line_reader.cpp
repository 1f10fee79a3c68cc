#include "replicator/hook/line_reader.hpp"

#include <array>
#include <cerrno>
#include <unistd.h>

namespace farshore::hook {

line_reader::source line_reader::read_some() {
    std::array<char, 4096> some{};
    const ssize_t got = ::read(fd_, some.data(), some.size());
    if (got < 0) {
        return errno == EINTR || errno == EAGAIN ? source::open : source::closed;
    }
    if (got == 0) {
        return source::closed;
    }
    if (!too_long_) {
        kept_.append(some.data(), static_cast<std::size_t>(got));
        const auto end = kept_.rfind('\n');
        const std::size_t tail = end == std::string::npos ? kept_.size() : kept_.size() - end - 1;
        if (tail > bytes_max_) {
            kept_.resize(kept_.size() - tail);
            too_long_ = true;
        }
    }
    return source::open;
}

std::optional<std::string> line_reader::next() {
    const auto end = kept_.find('\n');
    if (end == std::string::npos) {
        return std::nullopt;
    }
    std::string line = kept_.substr(0, end);
    kept_.erase(0, end + 1);
    if (line.size() > bytes_max_) {
        too_long_ = true;
        kept_.clear();
        return std::nullopt;
    }
    return line;
}

} // namespace farshore::hook
