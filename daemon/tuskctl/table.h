// Tables for a terminal.
#pragma once

#include <string>
#include <vector>

namespace tusk::ctl {

// Rows in columns as wide as their widest cell; the first row is the header. Cells that are numbers
// stand at the right. Widths count UTF-8 code points.
//
//   NAME  SLOTS
//   pandas    4
std::string table(const std::vector<std::vector<std::string>>& rows);

}  // namespace tusk::ctl
