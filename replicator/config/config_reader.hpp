#pragma once
// Walks a TOML table: takes the keys it is asked for, notes everything that is wrong with its
// place, and at the end names every key that nobody asked for. The only header that includes
// toml++.

#include "replicator/base/error.hpp"
#include "replicator/config/config_file.hpp"

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
// The parser's own asserts would end the program on some malformed files ("[[["); it reports the
// error by itself when they are off.
#define TOML_ASSERT(expr) static_cast<void>(0)
#include <toml++/toml.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace farshore {

void note(config_problems &problems, const toml::source_region &where, std::string what);

class table_reader {
  public:
    /// `title` is the table as the operator wrote it, such as "[[group]]". Both references outlive
    /// the reader.
    table_reader(const toml::table &table, std::string title, config_problems &problems)
        : table_(table), title_(std::move(title)), problems_(problems) {}

    /// Text of a key. A required one that is missing is noted; empty text always is.
    std::optional<std::string> text(const char *key, bool required);
    /// Text turned into a value by a parser of units.hpp; what it refuses is noted.
    template <class T>
    std::optional<T> parsed(const char *key, bool required, result<T> (*parse)(std::string_view)) {
        const auto given = text(key, required);
        if (!given) {
            return std::nullopt;
        }
        auto value = parse(*given);
        if (!value) {
            note_at(key, std::string(key) + ": " + value.error().context);
            return std::nullopt;
        }
        return std::move(*value);
    }
    std::optional<bool> flag(const char *key);
    std::optional<std::int64_t> integer(const char *key, std::int64_t least, std::int64_t most);
    /// The tables of an array of tables such as [[group]]; empty when the key is missing.
    std::vector<const toml::table *> tables(const char *key);
    const toml::table *table(const char *key);
    /// Strings of an array with the place of each; nothing when the key is missing.
    struct placed_text {
        std::string text;
        toml::source_region where;
    };
    std::optional<std::vector<placed_text>> texts(const char *key);

    /// Notes a problem at a key's value (at the table when there is no such key).
    void note_at(const char *key, std::string what);
    void note_here(std::string what) { note(problems_, table_.source(), std::move(what)); }
    /// Notes keys that were never asked for. Call last.
    void finish();

  private:
    const toml::node *find(const char *key);

    const toml::table &table_;
    std::string title_;
    config_problems &problems_;
    std::set<std::string, std::less<>> known_;
};

} // namespace farshore
