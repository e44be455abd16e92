#include "daemon/control/roster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "daemon/control/process.h"
#include "daemon/control/test_folder.h"

namespace tusk::control {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

struct RosterTest : testing::Test {
  TestFolder folder;
  Roster roster{folder.path()};
  Roster::Entry entry{"pandas-1", "pandas", "0abc", 4711, 123456, "77ab", 1024};
};

TEST_F(RosterTest, ReadsWhatItWrote) {
  ASSERT_TRUE(roster.write({entry, {}}));
  auto read = roster.read();
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 2u);
  const Roster::Entry& got = read->front();
  EXPECT_EQ(got.name, "pandas-1");
  EXPECT_EQ(got.worker, "pandas");
  EXPECT_EQ(got.token, "0abc");
  EXPECT_EQ(got.pid, 4711);
  EXPECT_EQ(got.start_time, 123456u);
  EXPECT_EQ(got.digest, "77ab");
  EXPECT_EQ(got.offset, 1024u);
}

TEST_F(RosterTest, NoFileIsAnEmptyList) { EXPECT_TRUE(roster.read().value().empty()); }

TEST_F(RosterTest, OneFromBeforeTheMachinesStartIsAnEmptyList) {
  folder.write("workers.json", R"({"version": 1, "boot": "another", "processes": [{"name": 1}]})");
  EXPECT_TRUE(roster.read().value().empty());
}

TEST_F(RosterTest, ADamagedOneIsAnError) {
  for (const char* text : {"", "{", "[]", "{\"version\": 1}", "{\"version\": \"x\"}"}) {
    folder.write("workers.json", text);
    auto read = roster.read();
    ASSERT_FALSE(read) << text;
    EXPECT_THAT(read.error(), HasSubstr("workers.json is ")) << text;
  }
}

TEST_F(RosterTest, OneThatCannotBeWrittenIsAnError) {
  Roster nowhere(folder / "missing");
  auto written = nowhere.write({entry});
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error(), EndsWith("/workers.json: No such file or directory"));
}

TEST_F(RosterTest, FindsAProcessByPidAndStartTimeOnly) {
  entry.pid = ::getpid();
  entry.start_time = start_time(::getpid()).value();
  EXPECT_EQ(find(entry), ::getpid());
  ++entry.start_time;  // the number was given to another process since
  EXPECT_EQ(find(entry), 0);
}

}  // namespace
}  // namespace tusk::control
