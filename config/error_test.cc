#include "config/error.h"

#include <gtest/gtest.h>

namespace tusk::config {
namespace {

Place at(int line, int column) {
  return {std::make_shared<const std::string>("a.tsk"), line, column};
}

TEST(Errors, ShowTheLineAndACaret) {
  EXPECT_EQ(format(Error{at(7, 3), "unknown key \"wokers\"", "  wokers: 3"}),
            "a.tsk:7:3: unknown key \"wokers\"\n"
            "  7 |   wokers: 3\n"
            "    |   ^\n");
}

TEST(Errors, CountCharactersNotBytes) {
  EXPECT_EQ(format(Error{at(12, 4), "odd", "\tä: x"}),
            "a.tsk:12:4: odd\n"
            "  12 | \tä: x\n"
            "     | \t  ^\n");
}

TEST(Errors, OfAWholeFileHaveNoLine) {
  EXPECT_EQ(format(Error{at(0, 0), "cannot be read", ""}), "a.tsk: cannot be read\n");
}

TEST(Errors, ShowOnlyTheNeighbourhoodInALongLine) {
  std::string line(1000, 'a');
  line[500] = 'X';
  std::string shown = format(Error{at(1, 501), "odd", line});
  EXPECT_LT(shown.size(), 400u);
  std::size_t start = shown.find("| ") + 2;
  std::size_t caret = shown.rfind("| ") + 2;
  EXPECT_EQ(shown.find('X') - start, shown.find('^') - caret);
}

TEST(Nearest, ForgivesAThirdOfTheLetters) {
  std::vector<std::string_view> names = {"worker_languages", "master_language", "lz4"};
  EXPECT_EQ(nearest("worker_langages", names), "worker_languages");
  EXPECT_EQ(nearest("wroker_languages", names), "worker_languages");
  EXPECT_EQ(nearest("lz5", names), "lz4");
  EXPECT_EQ(nearest("something_else", names), "");
  EXPECT_EQ(did_you_mean("lz", names), "; did you mean \"lz4\"?");
  EXPECT_EQ(did_you_mean("zstd", names), "");
}

}  // namespace
}  // namespace tusk::config
