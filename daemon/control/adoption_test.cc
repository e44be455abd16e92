// The supervisor over several lives of tuskd: what one left running the next finds.
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/control/supervisor_harness.h"

namespace tusk::control {
namespace {

using testing::Contains;
using testing::HasSubstr;

struct AdoptionTest : SupervisorTest {};

TEST_F(AdoptionTest, AdoptsWhatAFormerOneLeftAndStartsNoSecond) {
  add("a", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.002; done");
  start();
  ASSERT_TRUE(until_line("[a] line 20"));
  pid_t before = pid("a");
  vanish();
  start();
  EXPECT_EQ(pid("a"), before);
  EXPECT_TRUE(status("a")->adopted);
  std::size_t seen = lines.size();
  ASSERT_TRUE(until([&] { return lines.size() > seen + 100; }));
  EXPECT_EQ(pid("a"), before);
  // Every line: some twice, as offsets are saved now and then, but none was missed.
  int last = 0;
  for (const std::string& line : lines) {
    int number = std::stoi(line.substr(9));
    EXPECT_LE(number, last + 1);
    last = std::max(last, number);
  }
  stop();
  EXPECT_TRUE(until([&] { return !group_alive(before); }));
}

TEST_F(AdoptionTest, AnAdoptedOneThatDiesIsStartedAgain) {
  add("a", kPrintAndStay);
  start();
  pid_t before = pid("a");
  vanish();
  start();
  ASSERT_EQ(pid("a"), before);
  ::kill(before, SIGKILL);
  EXPECT_TRUE(until([&] { return pid("a") != before && pid("a") != 0; }));
  EXPECT_FALSE(status("a")->adopted);
}

TEST_F(AdoptionTest, OneThatDiedMeanwhileIsStarted) {
  add("a", kPrintAndStay);
  start();
  pid_t before = pid("a");
  vanish();
  ::kill(before, SIGKILL);
  ::waitpid(before, nullptr, 0);
  start();
  EXPECT_NE(pid("a"), before);
  EXPECT_FALSE(status("a")->adopted);
}

TEST_F(AdoptionTest, OneThatTheConfigNoLongerNamesIsEnded) {
  add("a", kPrintAndStay);
  add("b", kPrintAndStay);
  start();
  pid_t a = pid("a"), b = pid("b");
  vanish();
  config.workers.entries.erase(config.workers.entries.begin());
  start();
  EXPECT_TRUE(until([&] { return !group_alive(a); }));
  EXPECT_TRUE(until([&] { return names() == std::vector<std::string>{"b"}; }));
  EXPECT_EQ(pid("b"), b);
}

TEST_F(AdoptionTest, OneThatTheConfigDescribesAnotherWayIsReplaced) {
  add("a", kPrintAndStay);
  start();
  pid_t before = pid("a");
  vanish();
  worker("a").environment.entries = {{"NEW", "1"}};
  start();
  EXPECT_TRUE(until([&] { return pid("a") != before && pid("a") != 0; }));
  EXPECT_FALSE(group_alive(before));
}

TEST_F(AdoptionTest, ADamagedRosterIsAWarning) {
  folder.write("workers.json", "{");
  add("a", kPrintAndStay);
  start();
  EXPECT_THAT(log, Contains(HasSubstr("workers.json is damaged")));
  EXPECT_TRUE(until_line("[a] a up"));
}

// In a process of its own: a supervisor that says when its workers are up.
[[noreturn]] void supervise_until_killed(const SupervisorOptions& options,
                                         const config::Orchestration& config, int ready) {
  boost::asio::io_context io;
  Supervisor supervisor(io, options,
                        {.on_line = [&](auto, auto) { (void)!::write(ready, "x", 1); },
                         .on_log = [](auto, auto&) {}});
  if (!supervisor.start(config)) ::_exit(1);
  io.run();
  ::_exit(1);
}

TEST_F(AdoptionTest, WorkersOutliveAKilledTuskdPrintOnAndAreNotDoubled) {
  add("a", "echo $$ >> starts; echo up; while :; do echo tick; sleep 0.005; done").instances = 2;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  pid_t tuskd = ::fork();
  if (tuskd == 0) supervise_until_killed(options, config, ready[1]);
  char lines_of_both[64];
  ASSERT_GT(::read(ready[0], lines_of_both, sizeof lines_of_both), 0);
  auto starts = [&] {
    std::string text = folder.read("starts");
    return std::count(text.begin(), text.end(), '\n');
  };
  ASSERT_TRUE(until([&] { return starts() == 2; }));
  ::kill(tuskd, SIGKILL);
  ASSERT_EQ(::waitpid(tuskd, nullptr, 0), tuskd);
  ::close(ready[0]);
  ::close(ready[1]);

  auto size = [&] { return std::filesystem::file_size(folder / "workers/a-1.log"); };
  auto before = size();
  EXPECT_TRUE(until([&] { return size() > before; }));
  start();
  EXPECT_TRUE(status("a-1")->adopted);
  EXPECT_TRUE(status("a-2")->adopted);
  EXPECT_TRUE(until_line("[a-1] tick"));
  EXPECT_TRUE(until_line("[a-2] tick"));
  EXPECT_EQ(starts(), 2);
}

TEST_F(AdoptionTest, OneStartedJustBeforeTheKillIsFoundThoughItsPidWasNotSaved) {
  add("a", kPrintAndStay);
  start();
  // As on disk between the start of the process and the next save.
  std::string before_save = folder.read("workers.json");
  ASSERT_THAT(before_save, HasSubstr("\"pid\": 0"));
  pid_t a = pid("a");
  vanish();
  folder.write("workers.json", before_save);
  start();
  EXPECT_EQ(pid("a"), a);
  EXPECT_TRUE(status("a")->adopted);
}

}  // namespace
}  // namespace tusk::control
