#include "replicator/config/config_reader.hpp"

#include "replicator/config/suggest.hpp"

#include <fmt/format.h>

#include <string_view>

namespace farshore {
namespace {

std::string_view toml_kind_of(const toml::node &node) {
    switch (node.type()) {
    case toml::node_type::none:
        return "nothing";
    case toml::node_type::table:
        return "a table";
    case toml::node_type::array:
        return "an array";
    case toml::node_type::string:
        return "text";
    case toml::node_type::integer:
        return "a number";
    case toml::node_type::floating_point:
        return "a number";
    case toml::node_type::boolean:
        return "true or false";
    case toml::node_type::date:
        return "a date";
    case toml::node_type::time:
        return "a time";
    case toml::node_type::date_time:
        return "a time";
    }
    return "something else";
}

} // namespace

void note(config_problems &problems, const toml::source_region &where, std::string what) {
    problems.push_back({where.begin.line == 0 ? 1 : where.begin.line,
                        where.begin.column == 0 ? 1 : where.begin.column, std::move(what)});
}

const toml::node *table_reader::find(const char *key) {
    known_.insert(key);
    return table_.get(key);
}

void table_reader::note_at(const char *key, std::string what) {
    const toml::node *node = table_.get(key);
    note(problems_, node != nullptr ? node->source() : table_.source(), std::move(what));
}

std::optional<std::string> table_reader::text(const char *key, bool required) {
    const toml::node *node = find(key);
    if (node == nullptr) {
        if (required) {
            note_here(fmt::format("{} needs \"{}\"", title_, key));
        }
        return std::nullopt;
    }
    const auto value = node->value_exact<std::string>();
    if (!value) {
        const char *why = node->is_number() ? " (quantities are text with a unit)" : "";
        note_at(key, fmt::format("{} is text in quotes, not {}{}", key, toml_kind_of(*node), why));
        return std::nullopt;
    }
    if (value->empty()) {
        note_at(key, fmt::format("{} is empty", key));
        return std::nullopt;
    }
    if (value->find('\0') != std::string::npos) {
        note_at(key, fmt::format("{} contains a zero byte", key));
        return std::nullopt;
    }
    return value;
}

std::optional<bool> table_reader::flag(const char *key) {
    const toml::node *node = find(key);
    if (node == nullptr) {
        return std::nullopt;
    }
    const auto value = node->value_exact<bool>();
    if (!value) {
        note_at(key, fmt::format("{} is true or false, not {}", key, toml_kind_of(*node)));
    }
    return value;
}

std::optional<std::int64_t> table_reader::integer(const char *key, std::int64_t least,
                                                  std::int64_t most) {
    const toml::node *node = find(key);
    if (node == nullptr) {
        return std::nullopt;
    }
    const auto value = node->value_exact<std::int64_t>();
    if (!value) {
        note_at(key, fmt::format("{} is a whole number, not {}", key, toml_kind_of(*node)));
        return std::nullopt;
    }
    if (*value < least || *value > most) {
        note_at(key, fmt::format("{} is {} to {}", key, least, most));
        return std::nullopt;
    }
    return value;
}

std::vector<const toml::table *> table_reader::tables(const char *key) {
    std::vector<const toml::table *> found;
    const toml::node *node = find(key);
    if (node == nullptr) {
        return found;
    }
    const toml::array *array = node->as_array();
    if (array == nullptr) {
        const char *hint = node->is_table() ? " (write it in double brackets)" : "";
        note_at(key,
                fmt::format("{} is a list of tables, not {}{}", key, toml_kind_of(*node), hint));
        return found;
    }
    for (const toml::node &element : *array) {
        if (const toml::table *t = element.as_table()) {
            found.push_back(t);
        } else {
            note(problems_, element.source(),
                 fmt::format("{} is a list of tables, not of {}", key, toml_kind_of(element)));
        }
    }
    return found;
}

const toml::table *table_reader::table(const char *key) {
    const toml::node *node = find(key);
    if (node == nullptr) {
        return nullptr;
    }
    const toml::table *t = node->as_table();
    if (t == nullptr) {
        const char *hint = node->is_array_of_tables() ? " (write it in single brackets)" : "";
        note_at(key, fmt::format("{} is one table, not {}{}", key, toml_kind_of(*node), hint));
    }
    return t;
}

std::optional<std::vector<table_reader::placed_text>> table_reader::texts(const char *key) {
    const toml::node *node = find(key);
    if (node == nullptr) {
        return std::nullopt;
    }
    std::vector<placed_text> found;
    const toml::array *array = node->as_array();
    if (array == nullptr) {
        note_at(key, fmt::format("{} is a list of texts, not {}", key, toml_kind_of(*node)));
        return found;
    }
    for (const toml::node &element : *array) {
        if (auto value = element.value_exact<std::string>()) {
            found.push_back({std::move(*value), element.source()});
        } else {
            note(problems_, element.source(),
                 fmt::format("{} is a list of texts, not of {}", key, toml_kind_of(element)));
        }
    }
    return found;
}

void table_reader::finish() {
    const std::vector<std::string> candidates(known_.begin(), known_.end());
    for (const auto &[key, value] : table_) {
        if (known_.contains(key.str())) {
            continue;
        }
        const std::string near = nearest(key.str(), candidates);
        note(problems_, key.source(),
             fmt::format("unknown key \"{}\" in {}{}", key.str(), title_,
                         near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near)));
    }
}

} // namespace farshore
