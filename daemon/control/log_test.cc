#include "daemon/control/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "daemon/control/test_folder.h"

namespace tusk::control {
namespace {

using config::LogLevel;
using testing::EndsWith;
using testing::HasSubstr;
using testing::MatchesRegex;

struct LogTest : testing::Test {
  ~LogTest() override {
    spdlog::set_default_logger(before);
    ::unsetenv("JOURNAL_STREAM");
  }
  // What goes to standard error meanwhile.
  template <class Action>
  std::string captured(Action action) {
    testing::internal::CaptureStderr();
    action();
    return testing::internal::GetCapturedStderr();
  }

  std::shared_ptr<spdlog::logger> before = spdlog::default_logger();
  TestFolder folder;
  config::Tuskd tuskd;
};

TEST_F(LogTest, AFileGetsLinesWithTheirTimeAtOnce) {
  tuskd.log = folder / "log";
  ASSERT_TRUE(log::open(tuskd));
  log::write(LogLevel::warning, "{} is no format");
  EXPECT_THAT(folder.read("log"),
              MatchesRegex("[0-9-]+T[0-9:]+\\.[0-9]{3}[+-][0-9]{2}:[0-9]{2} warning "
                           "\\{\\} is no format\n"));
}

TEST_F(LogTest, ATextThatEndsItsLineGetsNoEmptyOne) {
  tuskd.log = folder / "log";
  ASSERT_TRUE(log::open(tuskd));
  log::write(LogLevel::error, "a.tsk:1:1: odd\n  1 | x\n    | ^\n");
  EXPECT_THAT(folder.read("log"), EndsWith(" error a.tsk:1:1: odd\n  1 | x\n    | ^\n"));
}

TEST_F(LogTest, TheLevelCanChange) {
  tuskd.log = folder / "log";
  tuskd.log_level = LogLevel::error;
  ASSERT_TRUE(log::open(tuskd));
  log::write(LogLevel::warning, "too little");
  log::set_level(LogLevel::debug);
  log::write(LogLevel::debug, "enough");
  EXPECT_THAT(folder.read("log"), EndsWith(" debug enough\n"));
  EXPECT_EQ(folder.read("log").find("too little"), std::string::npos);
}

TEST_F(LogTest, AJournalGetsNoTime) {
  std::string text = captured([&] {
    struct stat status;
    ::fstat(STDERR_FILENO, &status);
    std::string journal = std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
    ::setenv("JOURNAL_STREAM", journal.c_str(), 1);
    ASSERT_TRUE(log::open(tuskd));
    log::write(LogLevel::info, "hello");
  });
  EXPECT_EQ(text, "info hello\n");
}

TEST_F(LogTest, SomebodyElsesJournalChangesNothing) {
  ::setenv("JOURNAL_STREAM", "1:2", 1);
  std::string text = captured([&] {
    ASSERT_TRUE(log::open(tuskd));
    log::write(LogLevel::info, "hello");
  });
  EXPECT_THAT(text, MatchesRegex("[0-9].*T.* info hello\n"));
}

TEST_F(LogTest, AFileThatCannotBeOpenedIsAnError) {
  tuskd.log = folder.path();
  auto opened = log::open(tuskd);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error(), HasSubstr("`log` in [tuskd]"));
}

}  // namespace
}  // namespace tusk::control
