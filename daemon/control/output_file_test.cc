#include "daemon/control/output_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "daemon/control/test_folder.h"

namespace tusk::control {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;

struct OutputFileTest : testing::Test {
  OutputFile open(std::optional<std::uint64_t> offset = 0) {
    auto file = OutputFile::open(folder / "out", offset, bounds);
    EXPECT_TRUE(file) << (file ? "" : file.error());
    return std::move(*file);
  }
  // Follows to the end and returns what was handed on.
  std::vector<std::string> lines(OutputFile& file) {
    std::vector<std::string> all;
    auto sink = [&](std::string_view line) { all.emplace_back(line); };
    while (file.follow(now, sink)) continue;
    return all;
  }
  std::vector<std::string> finish(OutputFile& file) {
    std::vector<std::string> all;
    file.finish(now, [&](std::string_view line) { all.emplace_back(line); });
    return all;
  }

  TestFolder folder;
  OutputFile::Bounds bounds;
  OutputFile::Clock::time_point now = OutputFile::Clock::now();
};

TEST_F(OutputFileTest, HandsOnWholeLinesOnly) {
  auto file = open();
  folder.append("out", "one\ntw");
  EXPECT_THAT(lines(file), ElementsAre("one"));
  folder.append("out", "o\n\nthree");
  EXPECT_THAT(lines(file), ElementsAre("two", ""));
  EXPECT_THAT(finish(file), ElementsAre("three"));
}

TEST_F(OutputFileTest, GoesOnWhereAFormerOneStoodAtTheStartOfALine) {
  auto first = open();
  folder.append("out", "one\ntw");
  lines(first);
  auto second = open(first.offset());
  folder.append("out", "o\n");
  EXPECT_THAT(lines(second), ElementsAre("two"));
}

TEST_F(OutputFileTest, WithoutAnOffsetStartsAtTheEnd) {
  folder.write("out", "of yesterday\n");
  auto file = open(std::nullopt);
  folder.append("out", "new\n");
  EXPECT_THAT(lines(file), ElementsAre("new"));
}

TEST_F(OutputFileTest, CutsLongLines) {
  bounds.max_line = 10;
  bounds.step = 7;
  auto file = open();
  folder.append("out", "0123456789\n0123456789abc\n" + std::string(100, 'x') + "\nend\n");
  EXPECT_THAT(lines(file),
              ElementsAre("0123456789", "0123456789 ... (cut)", "xxxxxxxxxx ... (cut)", "end"));
}

TEST_F(OutputFileTest, CountsWhatExceedsTheRate) {
  bounds.lines_per_second = 3;
  auto file = open();
  folder.append("out", "1\n2\n3\n4\n5\n");
  EXPECT_THAT(lines(file), ElementsAre("1", "2", "3"));
  EXPECT_THAT(file.last_lines(), ElementsAre("1", "2", "3", "4", "5"));
  now += std::chrono::seconds(1);
  folder.append("out", "6\n");
  EXPECT_THAT(lines(file), ElementsAre("(2 lines left out: more than 3 a second)", "6"));
}

TEST_F(OutputFileTest, IsEmptiedWhenLargeAndRead) {
  bounds.max_file = 1000;
  bounds.step = 100;
  auto file = open();
  std::size_t count = 0;
  for (int i = 0; i < 20; ++i) {
    folder.append("out", std::string(99, 'x') + "\n");
    count += lines(file).size();
    EXPECT_LE(std::filesystem::file_size(folder / "out"), 1000u);
  }
  EXPECT_EQ(count, 20u);
}

TEST_F(OutputFileTest, ALineThatSpansTheEmptyingIsWhole) {
  bounds.max_file = 1000;
  auto file = open();
  folder.append("out", std::string(599, 'x') + "\n");
  EXPECT_EQ(lines(file).size(), 1u);
  folder.append("out", std::string(599, 'x') + "\nhal");
  EXPECT_EQ(lines(file).size(), 1u);
  EXPECT_EQ(std::filesystem::file_size(folder / "out"), 0u);
  EXPECT_EQ(file.offset(), 0u);
  folder.append("out", "f\n");
  EXPECT_THAT(lines(file), ElementsAre("half"));
}

TEST_F(OutputFileTest, SkipsWhatItCannotCatchUpWith) {
  bounds.max_file = 1000;
  bounds.step = 100;
  auto file = open();
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "line " + std::to_string(1000 + i) + "\n";
  folder.append("out", text);
  auto got = lines(file);
  EXPECT_THAT(got.front(), HasSubstr("bytes skipped"));
  EXPECT_EQ(got.back(), "line 1999");
  EXPECT_LT(got.size(), 15u);
  EXPECT_EQ(std::filesystem::file_size(folder / "out"), 0u);
}

TEST_F(OutputFileTest, StartsOverWhenSomebodyElseEmptiedIt) {
  auto file = open();
  folder.append("out", "a long line\n");
  lines(file);
  folder.write("out", "new\n");
  EXPECT_THAT(lines(file), ElementsAre("new"));
}

TEST_F(OutputFileTest, ReopenFollowsANewFileWhenTheOldWasMoved) {
  auto file = open();
  folder.append("out", "old\n");
  lines(file);
  ASSERT_TRUE(file.reopen());
  EXPECT_EQ(file.offset(), 4u);
  std::filesystem::rename(folder / "out", folder / "out.1");
  ASSERT_TRUE(file.reopen());
  folder.append("out", "new\n");
  EXPECT_THAT(lines(file), ElementsAre("new"));
}

TEST_F(OutputFileTest, ShowsWhatATerminalWouldWithoutMovingItsCursor) {
  auto file = open();
  folder.append("out", "\x1b[31mred\n10 %\r20 %\r\ntab\there\n");
  EXPECT_THAT(lines(file), ElementsAre("?[31mred", "20 %", "tab\there"));
}

TEST_F(OutputFileTest, KeepsTheLastLines) {
  bounds.last_lines = 2;
  auto file = open();
  folder.append("out", "1\n2\n3");
  finish(file);
  EXPECT_THAT(file.last_lines(), ElementsAre("2", "3"));
  file.forget_last_lines();
  EXPECT_THAT(file.last_lines(), IsEmpty());
}

TEST_F(OutputFileTest, SaysWhyItCannotBeWritten) {
  std::filesystem::create_directory(folder / "out");
  auto file = OutputFile::open(folder / "out", 0, bounds);
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error(), EndsWith("/out: Is a directory"));
}

}  // namespace
}  // namespace tusk::control
