#include "daemon/control/state_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "daemon/control/test_folder.h"

namespace tusk::control {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

struct StateFolderTest : testing::Test {
  ~StateFolderTest() override { ::unsetenv("STATE_DIRECTORY"); }
  TestFolder folder;
};

TEST_F(StateFolderTest, IsMadeForNobodyElse) {
  auto state = StateFolder::open(folder / "a/b/");
  ASSERT_TRUE(state) << state.error();
  EXPECT_EQ(state->path(), folder / "a/b");
  struct stat status;
  ASSERT_EQ(::stat(state->path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
}

TEST_F(StateFolderTest, ASecondHolderIsRefusedAndToldTheFirst) {
  auto first = StateFolder::open(folder.path());
  ASSERT_TRUE(first) << first.error();
  auto second = StateFolder::open(folder.path());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), "the state folder " + folder.path() + " is in use by process " +
                                std::to_string(::getpid()) +
                                " (one tuskd per folder); another one: `state` in [tuskd]");
}

TEST_F(StateFolderTest, IsFreeWhenItsHolderIsGone) {
  { ASSERT_TRUE(StateFolder::open(folder.path())); }
  EXPECT_TRUE(StateFolder::open(folder.path()));
}

TEST_F(StateFolderTest, ComesFromSystemdWhereTheConfigNamesNone) {
  ::setenv("STATE_DIRECTORY", (folder / "x" + ":/other").c_str(), 1);
  auto state = StateFolder::open(std::nullopt);
  ASSERT_TRUE(state) << state.error();
  EXPECT_EQ(state->path(), folder / "x");
}

TEST_F(StateFolderTest, SaysWhatIsWrong) {
  folder.write("file", "");
  auto file = StateFolder::open(folder / "file");
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error(), HasSubstr("/file cannot be made: Not a directory"));
  EXPECT_THAT(file.error(), EndsWith("`state` in [tuskd]"));
  EXPECT_THAT(StateFolder::open(folder / "file/x").error(), HasSubstr("Not a directory"));
  EXPECT_THAT(StateFolder::open("/proc/tuskd").error(), HasSubstr("cannot be made: "));
  std::filesystem::create_directories(folder / "y/lock");
  EXPECT_THAT(StateFolder::open(folder / "y").error(), HasSubstr("cannot be written: Is a dir"));
}

}  // namespace
}  // namespace tusk::control
