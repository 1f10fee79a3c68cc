#include "bench/wan/line.hpp"

#include <algorithm>

namespace farshore::wan {
namespace {

span_of_time from_ms(double ms) { return span_of_time(static_cast<std::int64_t>(ms * 1e6)); }

} // namespace

double *line_settings::find(std::string_view name) {
    const std::pair<std::string_view, double *> all[] = {
        {"delay", &delay_ms},           {"jitter", &jitter_ms},  {"rate", &rate_mbit},
        {"queue", &queue_ms},           {"loss", &loss_percent}, {"reorder", &reorder_percent},
        {"reorder-delay", &reorder_ms},
    };
    for (const auto &[key, value] : all) {
        if (key == name) {
            return value;
        }
    }
    return nullptr;
}

bool line_settings::shaped() const { return delay_ms > 0 || jitter_ms > 0 || rate_mbit > 0; }

bool line::chance(double percent) {
    return percent > 0 && std::uniform_real_distribution<double>(0, 100)(random_) < percent;
}

bool line::accept(std::uint32_t slot, std::uint32_t length, moment now) {
    counters_.packets_in += 1;
    counters_.bytes_in += length;
    if (fate_ != line_fate::carry) {
        counters_.cut_dropped += 1;
        return false;
    }
    if (chance(settings_.loss_percent)) {
        counters_.lost += 1;
        return false;
    }
    moment sent = now;
    if (settings_.rate_mbit > 0) {
        const auto start = std::max(now, free_at_);
        if (start - now > from_ms(settings_.queue_ms)) {
            counters_.queue_dropped += 1;
            return false;
        }
        sent = start + span_of_time(static_cast<std::int64_t>(length * 8e3 / settings_.rate_mbit));
    }
    if (flight_.size() >= packets_max) {
        counters_.queue_dropped += 1;
        return false;
    }
    free_at_ = sent;
    auto due = sent + from_ms(settings_.delay_ms);
    if (settings_.jitter_ms > 0) {
        due += from_ms(std::uniform_real_distribution<double>(0, settings_.jitter_ms)(random_));
    }
    if (chance(settings_.reorder_percent)) {
        counters_.reordered += 1;
        due += from_ms(settings_.reorder_ms);
    } else {
        due = std::max(due, last_arrival_);
        last_arrival_ = due;
    }
    flight_.push({due, order_++, slot, length});
    return true;
}

std::optional<line::arrival> line::take_due(moment now) {
    if (flight_.empty() || flight_.top().due > now) {
        return std::nullopt;
    }
    arrival a{flight_.top(), fate_ == line_fate::carry};
    flight_.pop();
    if (a.deliver) {
        counters_.packets_out += 1;
        counters_.bytes_out += a.packet.length;
    } else {
        counters_.cut_dropped += 1;
    }
    return a;
}

std::optional<moment> line::next_due() const {
    if (flight_.empty()) {
        return std::nullopt;
    }
    return flight_.top().due;
}

} // namespace farshore::wan
