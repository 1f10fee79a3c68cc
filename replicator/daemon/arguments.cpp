#include "replicator/daemon/arguments.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

/// Longer waits than a hundred years are not meant, and nanoseconds could not hold them.
constexpr std::uint64_t milliseconds_max = 100ULL * 365 * 24 * 3600 * 1000;

} // namespace

const control::json *arguments::find(const char *key) {
    const auto it = given_.find(key);
    if (it == given_.end()) {
        return nullptr;
    }
    ++taken_;
    return &*it;
}

void arguments::note(std::string what) {
    if (!problem_) {
        problem_ = std::move(what);
    }
}

std::string arguments::text(const char *key) {
    std::string value = text_or(key, "");
    if (value.empty()) {
        note(fmt::format("argument \"{}\" is missing", key));
    }
    return value;
}

std::string arguments::text_or(const char *key, std::string otherwise) {
    const control::json *value = find(key);
    if (value == nullptr || value->is_null()) {
        return otherwise;
    }
    if (!value->is_string()) {
        note(fmt::format("argument \"{}\" is text", key));
        return otherwise;
    }
    return value->get<std::string>();
}

std::vector<std::string> arguments::texts(const char *key, std::size_t max) {
    const control::json *value = find(key);
    std::vector<std::string> all;
    if (value == nullptr) {
        return all;
    }
    const bool list = value->is_array() && value->size() <= max;
    for (std::size_t i = 0; list && i < value->size(); ++i) {
        const control::json &one = (*value)[i];
        all.push_back(one.is_string() ? one.get<std::string>() : "");
    }
    if (!list || std::ranges::find(all, "") != all.end()) {
        note(fmt::format("argument \"{}\" is a list of at most {} texts", key, max));
        return {};
    }
    return all;
}

bool arguments::flag(const char *key) {
    const control::json *value = find(key);
    if (value == nullptr) {
        return false;
    }
    if (!value->is_boolean()) {
        note(fmt::format("argument \"{}\" is true or false", key));
        return false;
    }
    return value->get<bool>();
}

std::optional<std::uint64_t> arguments::number(const char *key) {
    const control::json *value = find(key);
    if (value == nullptr || value->is_null()) {
        return std::nullopt;
    }
    if (!value->is_number_unsigned() &&
        !(value->is_number_integer() && value->get<std::int64_t>() >= 0)) {
        note(fmt::format("argument \"{}\" is a whole number", key));
        return std::nullopt;
    }
    return value->get<std::uint64_t>();
}

std::optional<duration> arguments::milliseconds(const char *key) {
    const auto value = number(key);
    if (!value) {
        return std::nullopt;
    }
    if (*value > milliseconds_max) {
        note(fmt::format("argument \"{}\" is too long a time", key));
        return std::nullopt;
    }
    return std::chrono::milliseconds(*value);
}

std::optional<control::failure> arguments::problem() {
    if (!problem_ && taken_ != given_.size()) {
        problem_ = "an argument is not known to this version";
    }
    if (problem_) {
        return usage_failure(*problem_);
    }
    return std::nullopt;
}

} // namespace farshore
