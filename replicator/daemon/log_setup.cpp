#include "replicator/daemon/log_setup.hpp"

#include "replicator/base/log.hpp"

#include <spdlog/async.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>

namespace farshore {
namespace {

constexpr std::size_t queued_messages_max = 1024;

spdlog::level::level_enum level_of(log::level l) {
    switch (l) {
    case log::level::debug:
        return spdlog::level::debug;
    case log::level::info:
        return spdlog::level::info;
    case log::level::warning:
        return spdlog::level::warn;
    case log::level::error:
        return spdlog::level::err;
    }
    return spdlog::level::err;
}

/// "<6>": the syslog priority that journald takes from the front of a line.
class priority_flag final : public spdlog::custom_flag_formatter {
  public:
    void format(const spdlog::details::log_msg &message, const std::tm &,
                spdlog::memory_buf_t &out) override {
        const char digit = message.level >= spdlog::level::err    ? '3'
                           : message.level == spdlog::level::warn ? '4'
                           : message.level == spdlog::level::info ? '6'
                                                                  : '7';
        for (const char c : {'<', digit, '>'}) {
            out.push_back(c);
        }
    }
    std::unique_ptr<custom_flag_formatter> clone() const override {
        return std::make_unique<priority_flag>();
    }
};

} // namespace

void set_up_log(bool debug) {
    spdlog::init_thread_pool(queued_messages_max, 1);
    auto logger = spdlog::async_factory_impl<spdlog::async_overflow_policy::overrun_oldest>::create<
        spdlog::sinks::stderr_sink_mt>("daemon");
    auto formatter = std::make_unique<spdlog::pattern_formatter>();
    formatter->add_flag<priority_flag>('*');
    formatter->set_pattern(
        std::getenv("JOURNAL_STREAM") != nullptr ? "%*%v" : "%Y-%m-%dT%H:%M:%S.%e%z %l: %v");
    logger->set_formatter(std::move(formatter));
    logger->set_level(debug ? spdlog::level::debug : spdlog::level::info);
    logger->flush_on(spdlog::level::info);
    log::set_sink([logger](log::level l, std::string_view message) {
        logger->log(level_of(l), spdlog::string_view_t(message.data(), message.size()));
    });
}

void shut_down_log() {
    // The writing thread ends before the logger does: that it let go of it is otherwise known to
    // the count of a shared_ptr inside spdlog's library only, which a sanitizer can't see.
    const auto logger = spdlog::get("daemon");
    log::set_sink(nullptr);
    spdlog::shutdown();
}

} // namespace farshore
