#include "daemon/tuskctl/table.h"

#include <gtest/gtest.h>

namespace tusk::ctl {
namespace {

TEST(CtlTable, NumbersStandAtTheRightAndTextAtTheLeft) {
  EXPECT_EQ(table({{"NAME", "SLOTS"}, {"pandas", "4"}, {"go", "16"}}),
            "NAME    SLOTS\n"
            "pandas      4\n"
            "go         16\n");
}

TEST(CtlTable, AColumnWithTextIsNotNumeric) {
  EXPECT_EQ(table({{"A"}, {"1"}, {"x"}}), "A\n1\nx\n");
}

TEST(CtlTable, WidthsCountLettersNotBytes) {
  EXPECT_EQ(table({{"N", "X"}, {"ä", "y"}, {"bb", "z"}}), "N   X\nä   y\nbb  z\n");
}

TEST(CtlTable, NothingIsNothing) { EXPECT_EQ(table({}), ""); }

}  // namespace
}  // namespace tusk::ctl
