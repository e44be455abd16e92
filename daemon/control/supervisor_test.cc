// The supervisor over one life of tuskd: start, restart, reload, stop, output.
#include "daemon/control/supervisor_harness.h"

namespace tusk::control {
namespace {

using config::LogLevel;
using config::Orchestration;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Contains;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
using State = WorkerStatus::State;

TEST_F(SupervisorTest, StartsEachInstanceWithItsNameAndEnvironment) {
  config::Worker& two = add("two",
                            "echo $TUSK_URL $TUSK_POOL ${TUSK_SLOTS-none} $TUSK_SUPERVISED $A "
                            "$TUSK_LABELS; exec sleep 1000");
  two.instances = 2;
  two.labels.entries = {{"gpu", {"", 2}}, {"region", {"eu", 0}}};
  two.slots = 7;
  two.environment.entries = {{"A", "b"}};
  add("one", kPrintAndStay);
  start();
  EXPECT_TRUE(
      until_line("[two-1] tcp://127.0.0.1:7420 python 7 1 b {\"gpu\":2,\"region\":\"eu\"}"));
  EXPECT_TRUE(
      until_line("[two-2] tcp://127.0.0.1:7420 python 7 1 b {\"gpu\":2,\"region\":\"eu\"}"));
  EXPECT_TRUE(until_line("[one] one up"));
  EXPECT_THAT(names(), ElementsAre("one", "two-1", "two-2"));
  EXPECT_EQ(status("one")->state, State::running);
  EXPECT_FALSE(status("one")->adopted);
}

TEST_F(SupervisorTest, StopEndsAllInOrder) {
  add("a", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done").instances = 3;
  start();
  for (int i = 1; i <= 3; ++i) {
    EXPECT_TRUE(until_line("[a-" + std::to_string(i) + "] up"));
  }
  std::vector<pid_t> all = {pid("a-1"), pid("a-2"), pid("a-3")};
  stop();
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(),
                          [](const std::string& line) { return line.ends_with("] bye"); }),
            3);
  for (pid_t pid : all) EXPECT_FALSE(group_alive(pid));
  EXPECT_THAT(errors, IsEmpty());
}

TEST_F(SupervisorTest, StopKillsWhatIgnoresSigtermAfterItsGrace) {
  config.tuskd.times.shutdown_grace = milliseconds(100);
  add("deaf", "trap '' TERM; echo up; while :; do sleep 0.01; done");
  start();
  ASSERT_TRUE(until_line("[deaf] up"));
  pid_t deaf = pid("deaf");
  stop();
  EXPECT_FALSE(group_alive(deaf));
  EXPECT_THAT(log, Contains("worker deaf did not end within 100 ms of SIGTERM: killed"));
}

TEST_F(SupervisorTest, ASecondStopKillsAtOnce) {
  config.tuskd.times.shutdown_grace = seconds(1000);
  add("deaf", "trap '' TERM; echo up; while :; do sleep 0.01; done");
  start();
  ASSERT_TRUE(until_line("[deaf] up"));
  supervisor->stop([] { FAIL() << "the second one takes its place"; });
  EXPECT_EQ(status("deaf")->state, State::ending);
  stop();
}

TEST_F(SupervisorTest, StopEndsAShellsChildrenToo) {
  add("shell",
      "(trap 'echo child ends; exit 0' TERM; echo up; while :; do sleep 0.01; done) & wait");
  start();
  ASSERT_TRUE(until_line("[shell] up"));
  pid_t shell = pid("shell");
  stop();
  EXPECT_FALSE(group_alive(shell));
}

TEST_F(SupervisorTest, StopWithoutWorkersIsDoneAtOnce) {
  start();
  stop();
}

TEST_F(SupervisorTest, ACommandThatDoesNotExistIsOneClearErrorAndThenGivenUp) {
  add("ghost", "").command = {"no-such-program", "--fast"};
  add("fine", kPrintAndStay);
  start();
  EXPECT_TRUE(until_error(HasSubstr("given up")));
  ASSERT_EQ(errors.size(), 2u);
  EXPECT_EQ(errors[0], "worker ghost cannot run `no-such-program --fast` in " + folder.path() +
                           ": `no-such-program` is not in PATH");
  EXPECT_THAT(errors[1], StartsWith("worker ghost is given up until the next reload, after 4 deaths"
                                    " in a row, each within 10.0 s; the last: cannot run"));
  EXPECT_EQ(status("ghost")->state, State::given_up);
  EXPECT_TRUE(until_line("[fine] fine up"));
}

TEST_F(SupervisorTest, AReloadTriesAgainWhatWasGivenUp) {
  add("late", "").command = {"./late"};
  start();
  ASSERT_TRUE(until_error(HasSubstr("given up")));
  folder.write("late", "#!/bin/sh\necho here\nexec sleep 1000\n");
  std::filesystem::permissions(folder / "late", std::filesystem::perms::owner_all);
  reload();
  EXPECT_TRUE(until_line("[late] here"));
}

TEST_F(SupervisorTest, RestartsWithPausesAndGivesUpWithTheLastLines) {
  add("crash", "for i in 1 2 3 4 5 6 7 8 9 10 11; do echo line $i; done; printf partial; exit 3");
  start();
  ASSERT_TRUE(until_error(HasSubstr("given up")));
  EXPECT_EQ(status("crash")->restarts, 4u);
  EXPECT_EQ(status("crash")->pid, 0);
  for (const char* pause : {"again in 1 ms", "again in 2 ms", "again in 4 ms"}) {
    EXPECT_THAT(log, Contains(HasSubstr(pause)));
  }
  EXPECT_EQ(std::count(lines.begin(), lines.end(), "[crash] line 11"), 4);
  EXPECT_THAT(errors.back(), HasSubstr("ended by itself, exit code 3, after "));
  EXPECT_THAT(errors.back(), HasSubstr("; it printed last:\n    line 3\n    line 4\n"));
  EXPECT_THAT(errors.back(), EndsWith("\n    line 11\n    partial"));
}

TEST_F(SupervisorTest, NamesTheSignalAndRestartsWhatWasKilled) {
  add("victim", kPrintAndStay);
  start();
  pid_t first = pid("victim");
  ::kill(first, SIGSEGV);
  EXPECT_TRUE(until([&] { return pid("victim") != first && pid("victim") != 0; }));
  EXPECT_EQ(status("victim")->restarts, 1u);
  EXPECT_THAT(log, Contains(HasSubstr("ended by itself, signal SIGSEGV, after ")));
}

TEST_F(SupervisorTest, ReplacesAWorkerByThePidOfAnyOfItsProcesses) {
  add("a", "sleep 1000 & echo \"child $!\"; wait");
  start();
  ASSERT_TRUE(until([&] { return !lines.empty(); }));
  const auto child = static_cast<pid_t>(std::stol(lines[0].substr(lines[0].rfind(' '))));
  EXPECT_TRUE(supervisor->runs(child));
  EXPECT_FALSE(supervisor->runs(getpid()));
  EXPECT_FALSE(supervisor->runs(0));
  const pid_t old = supervisor->status()[0].pid;
  supervisor->replace(child);
  EXPECT_TRUE(until([&] { return lines.size() >= 2; })) << "it runs again";
  EXPECT_NE(supervisor->status()[0].pid, old);
  supervisor->replace(child);  // gone: nothing happens
}

TEST_F(SupervisorTest, WhatACrashedWorkerLeavesBehindIsKilled) {
  add("parent", "sleep 1000 & echo up; wait");
  start();
  ASSERT_TRUE(until_line("[parent] up"));
  pid_t parent = pid("parent");
  ::kill(parent, SIGKILL);
  EXPECT_TRUE(until([&] { return pid("parent") != parent; }));
  EXPECT_TRUE(until([&] { return !group_alive(parent); }));
}

// --- reload --------------------------------------------------------------------------------------

TEST_F(SupervisorTest, ReloadStartsTheAddedDrainsTheRemovedAndLeavesTheRest) {
  add("stays", kPrintAndStay);
  add("goes", "trap 'echo drained; exit 0' TERM; echo up; while :; do sleep 0.01; done");
  start();
  ASSERT_TRUE(until_line("[goes] up"));
  pid_t stays = pid("stays"), goes = pid("goes");
  config.workers.entries.pop_back();
  add("comes", kPrintAndStay);
  reload();
  EXPECT_TRUE(until_line("[comes] comes up"));
  EXPECT_TRUE(until_line("[goes] drained"));
  EXPECT_TRUE(until([&] { return names() == std::vector<std::string>({"comes", "stays"}); }));
  EXPECT_FALSE(group_alive(goes));
  EXPECT_EQ(pid("stays"), stays);
}

TEST_F(SupervisorTest, ReloadChangesTheNumberOfInstances) {
  add("a", kPrintAndStay).instances = 2;
  start();
  pid_t first = pid("a-1"), second = pid("a-2");
  worker("a").instances = 3;
  reload();
  EXPECT_TRUE(until_line("[a-3] a-3 up"));
  EXPECT_EQ(pid("a-1"), first);
  worker("a").instances = 1;
  reload();
  EXPECT_TRUE(until([&] { return names() == std::vector<std::string>{"a"}; }));
  worker("a").instances = 0;
  reload();
  EXPECT_TRUE(until([&] { return names().empty(); }));
  EXPECT_FALSE(group_alive(first));
  EXPECT_FALSE(group_alive(second));
}

TEST_F(SupervisorTest, ReloadReplacesTheChangedOneByOne) {
  add("a", kPrintAndStay).instances = 3;
  start();
  std::set<pid_t> before = {pid("a-1"), pid("a-2"), pid("a-3")};
  worker("a").environment.entries = {{"NEW", "1"}};
  reload();
  auto running = [&] {
    int count = 0;
    for (const WorkerStatus& one : supervisor->status()) count += one.state == State::running;
    return count;
  };
  auto replaced = [&] {
    EXPECT_GE(running(), 2);
    for (const WorkerStatus& one : supervisor->status()) {
      if (one.outdated || one.pid == 0) return false;
    }
    return true;
  };
  EXPECT_TRUE(until(replaced));
  for (int i = 1; i <= 3; ++i) EXPECT_FALSE(before.contains(pid("a-" + std::to_string(i))));
}

TEST_F(SupervisorTest, SettingsThatDoNotWorkCostOneInstance) {
  add("a", kPrintAndStay).instances = 3;
  start();
  pid_t second = pid("a-2"), third = pid("a-3");
  worker("a").command = {"no-such-program"};
  reload();
  ASSERT_TRUE(until_error(HasSubstr("given up")));
  EXPECT_EQ(status("a-1")->state, State::given_up);
  EXPECT_EQ(pid("a-2"), second);
  EXPECT_EQ(pid("a-3"), third);
  EXPECT_TRUE(status("a-3")->outdated);
  worker("a").command = {"sh", "-c", kPrintAndStay};
  reload();
  EXPECT_TRUE(until([&] { return status("a-1")->state == State::running; }));
  EXPECT_EQ(pid("a-2"), second);  // these are as the config says again
}

TEST_F(SupervisorTest, OneThatIsNamedAgainWhileItDrainsIsStartedAgainAfterwards) {
  add("a", "trap 'sleep 0.05; exit 0' TERM; echo up; while :; do sleep 0.01; done");
  start();
  ASSERT_TRUE(until_line("[a] up"));
  pid_t before = pid("a");
  Orchestration with = config;
  config.workers.entries.clear();
  reload();
  EXPECT_EQ(status("a")->state, State::ending);
  config = with;
  reload();
  EXPECT_TRUE(until([&] { return pid("a") != before && pid("a") != 0; }));
  EXPECT_FALSE(group_alive(before));
}

TEST_F(SupervisorTest, AReloadThatCannotBeWrittenDownChangesNothing) {
  add("a", kPrintAndStay);
  start();
  pid_t a = pid("a");
  std::filesystem::create_directory(folder / "workers.json.new");
  config.workers.entries.clear();
  add("b", kPrintAndStay);
  auto reloaded = supervisor->reload(config);
  ASSERT_FALSE(reloaded);
  EXPECT_THAT(reloaded.error(), HasSubstr("cannot write"));
  EXPECT_THAT(names(), ElementsAre("a"));
  EXPECT_EQ(pid("a"), a);
  std::filesystem::remove(folder / "workers.json.new");
}

TEST_F(SupervisorTest, TwoProcessesOfOneNameAreAProblem) {
  add("a", "").instances = 2;
  add("b", "");
  EXPECT_THAT(Supervisor::problems(config), IsEmpty());
  add("a-2", "");
  EXPECT_THAT(Supervisor::problems(config),
              ElementsAre("[workers]: a and a-2 both have a process a-2; rename one of them"));
}

// --- output --------------------------------------------------------------------------------------

TEST_F(SupervisorTest, AnOutputFolderThatCannotBeMadeIsAnError) {
  folder.write("workers", "a file");
  add("a", kPrintAndStay);
  make();
  auto started = supervisor->start(config);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error(),
            "cannot make the folder " + folder.path() + "/workers: Not a directory");
}

TEST_F(SupervisorTest, AnOutputFileThatCannotBeWrittenIsAnErrorOfThatWorkerOnly) {
  std::filesystem::create_directories(folder / "workers/a.log");
  add("a", kPrintAndStay);
  add("b", kPrintAndStay);
  start();
  EXPECT_THAT(errors, ElementsAre("worker a cannot write " + folder.path() +
                                  "/workers/a.log: Is a directory"));
  EXPECT_TRUE(until_line("[b] b up"));
  EXPECT_TRUE(until_error(HasSubstr("worker a is given up")));
}

TEST_F(SupervisorTest, AnyNameHasAnOutputFile) {
  add("a/../b é", kPrintAndStay);
  add(std::string(255, '/'), kPrintAndStay);
  start();
  EXPECT_TRUE(until_line("[a/../b é] a/../b é up"));
  EXPECT_TRUE(std::filesystem::exists(folder / "workers/a%2f..%2fb%20%c3%a9.log"));
  EXPECT_THAT(errors, IsEmpty());
}

}  // namespace
}  // namespace tusk::control
