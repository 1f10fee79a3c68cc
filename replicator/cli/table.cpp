#include "replicator/cli/table.hpp"

#include "replicator/base/assert.hpp"

#include <cstdlib>
#include <libsmartcols/libsmartcols.h>
#include <memory>

namespace farshore {
namespace {

struct table_deleter {
    void operator()(libscols_table *t) const { scols_unref_table(t); }
};

} // namespace

std::string format_table(const std::vector<column> &columns,
                         const std::vector<std::vector<std::string>> &rows) {
    const std::unique_ptr<libscols_table, table_deleter> table(scols_new_table());
    REPL_ASSERT(table);
    // A pipe has no width, and a script wants whole cells: the terminal's width is left out.
    scols_table_set_termforce(table.get(), SCOLS_TERMFORCE_NEVER);
    for (const column &c : columns) {
        REPL_ASSERT(scols_table_new_column(table.get(), c.title.c_str(), 0,
                                           c.right ? SCOLS_FL_RIGHT : 0) != nullptr);
    }
    for (const auto &row : rows) {
        REPL_ASSERT(row.size() == columns.size());
        libscols_line *line = scols_table_new_line(table.get(), nullptr);
        REPL_ASSERT(line != nullptr);
        for (std::size_t i = 0; i < row.size(); ++i) {
            REPL_ASSERT(scols_line_set_data(line, i, row[i].c_str()) == 0);
        }
    }
    if (rows.empty()) {
        return "";
    }
    char *text = nullptr;
    REPL_ASSERT(scols_print_table_to_string(table.get(), &text) == 0 && text != nullptr);
    std::string out(text);
    std::free(text);
    if (!out.empty() && out.back() != '\n') {
        out += '\n';
    }
    return out;
}

} // namespace farshore
