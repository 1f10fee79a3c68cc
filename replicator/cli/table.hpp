#pragma once
// Tables for people, by libsmartcols.

#include <string>
#include <vector>

namespace farshore {

struct column {
    std::string title;
    bool right = false; ///< align to the right: numbers
};

/// Lines with a heading; every row has as many cells as there are columns. Cells are never cut;
/// what is not printable comes out escaped.
std::string format_table(const std::vector<column> &columns,
                         const std::vector<std::vector<std::string>> &rows);

} // namespace farshore
