// The supervisor with real processes. Tests wait for conditions, up to a deadline that only a
// broken one reaches.
#include "daemon/control/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "daemon/control/test_folder.h"

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

struct SupervisorTest : testing::Test {
  SupervisorTest() { config.tuskd.times.shutdown_grace = seconds(20); }
  ~SupervisorTest() override {
    if (supervisor) stop();
    for (pid_t pid : pids) ::kill(-pid, SIGKILL);
  }

  config::Worker& add(const std::string& name, const std::string& script) {
    config::Worker worker{.language = "python",
                          .command = {"sh", "-c", script},
                          .directory = folder.path(),
                          .environment = {},
                          .slots = {},
                          .pool = "python"};
    config.workers.entries.emplace_back(name, worker);
    return config.workers.entries.back().second;
  }
  config::Worker& worker(const std::string& name) {
    for (auto& [key, value] : config.workers.entries) {
      if (key == name) return value;
    }
    throw std::out_of_range(name);
  }

  void make() {
    supervisor = std::make_unique<Supervisor>(
        io, options,
        SupervisorHooks{.on_line =
                            [this](auto process, auto line) {
                              lines.push_back("[" + std::string(process) + "] " +
                                              std::string(line));
                            },
                        .on_log =
                            [this](LogLevel level, const std::string& text) {
                              (level == LogLevel::error ? errors : log).push_back(text);
                            }});
  }
  void start() {
    make();
    auto started = supervisor->start(config);
    ASSERT_TRUE(started) << started.error();
  }
  void reload() {
    auto reloaded = supervisor->reload(config);
    ASSERT_TRUE(reloaded) << reloaded.error();
  }
  void stop() {
    bool stopped = false;
    supervisor->stop([&] { stopped = true; });
    EXPECT_TRUE(until([&] { return stopped; }));
    EXPECT_THAT(supervisor->status(), IsEmpty());
    supervisor.reset();
  }
  // tuskd is gone, its workers are not. (That it was killed is another test.)
  void vanish() {
    supervisor.reset();
    io.poll();
  }

  template <class Condition>
  bool until(Condition condition) {
    auto deadline = std::chrono::steady_clock::now() + seconds(30);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      io.restart();
      io.run_one_for(milliseconds(10));
    }
    return true;
  }
  bool until_line(const std::string& line) {
    return until([&] { return std::count(lines.begin(), lines.end(), line) > 0; });
  }
  template <class Matcher>
  bool until_error(const Matcher& matcher) {
    return until([&] { return testing::Value(errors, Contains(matcher)); });
  }
  template <class Matcher>
  bool until_log(const Matcher& matcher) {
    return until([&] { return testing::Value(log, Contains(matcher)); });
  }
  std::optional<WorkerStatus> status(const std::string& name) {
    for (WorkerStatus& one : supervisor->status()) {
      if (one.pid > 0) pids.insert(one.pid);
      if (one.name == name) return one;
    }
    return {};
  }
  pid_t pid(const std::string& name) {
    auto one = status(name);
    return one ? one->pid : 0;
  }
  std::vector<std::string> names() {
    std::vector<std::string> all;
    for (const WorkerStatus& one : supervisor->status()) all.push_back(one.name);
    return all;
  }

  TestFolder folder;
  boost::asio::io_context io;
  Orchestration config;
  SupervisorOptions options{
      .state = folder.path(),
      .url = "tcp://127.0.0.1:7420",
      .restart = {.first_pause = milliseconds(1), .max_pause = milliseconds(4), .max_deaths = 4},
      .poll = milliseconds(5),
      .settled = milliseconds(20)};
  std::unique_ptr<Supervisor> supervisor;
  std::vector<std::string> lines, log, errors;
  std::set<pid_t> pids;
};

constexpr const char* kPrintAndStay = "echo \"$TUSK_WORKER up\"; exec sleep 1000";

TEST_F(SupervisorTest, StartsEachInstanceWithItsNameAndEnvironment) {
  config::Worker& two = add(
      "two", "echo $TUSK_URL $TUSK_POOL ${TUSK_SLOTS-none} $TUSK_SUPERVISED $A; exec sleep 1000");
  two.instances = 2;
  two.slots = 7;
  two.environment.entries = {{"A", "b"}};
  add("one", kPrintAndStay);
  start();
  EXPECT_TRUE(until_line("[two-1] tcp://127.0.0.1:7420 python 7 1 b"));
  EXPECT_TRUE(until_line("[two-2] tcp://127.0.0.1:7420 python 7 1 b"));
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

TEST_F(SupervisorTest, WhatACrashedWorkerLeavesBehindIsKilled) {
  add("parent", "sleep 1000 & echo up; wait");
  start();
  ASSERT_TRUE(until_line("[parent] up"));
  pid_t parent = pid("parent");
  ::kill(parent, SIGKILL);
  EXPECT_TRUE(until([&] { return pid("parent") != parent; }));
  EXPECT_TRUE(until([&] { return !group_alive(parent); }));
}

// --- a former tuskd ------------------------------------------------------------------------------

TEST_F(SupervisorTest, AdoptsWhatAFormerOneLeftAndStartsNoSecond) {
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

TEST_F(SupervisorTest, AnAdoptedOneThatDiesIsStartedAgain) {
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

TEST_F(SupervisorTest, OneThatDiedMeanwhileIsStarted) {
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

TEST_F(SupervisorTest, OneThatTheConfigNoLongerNamesIsEnded) {
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

TEST_F(SupervisorTest, OneThatTheConfigDescribesAnotherWayIsReplaced) {
  add("a", kPrintAndStay);
  start();
  pid_t before = pid("a");
  vanish();
  worker("a").environment.entries = {{"NEW", "1"}};
  start();
  EXPECT_TRUE(until([&] { return pid("a") != before && pid("a") != 0; }));
  EXPECT_FALSE(group_alive(before));
}

TEST_F(SupervisorTest, ADamagedRosterIsAWarning) {
  folder.write("workers.json", "{");
  add("a", kPrintAndStay);
  start();
  EXPECT_THAT(log, Contains(HasSubstr("workers.json is damaged")));
  EXPECT_TRUE(until_line("[a] a up"));
}

// In a process of its own: a supervisor that says when its workers are up.
[[noreturn]] void supervise_until_killed(const SupervisorOptions& options,
                                         const Orchestration& config, int ready) {
  boost::asio::io_context io;
  Supervisor supervisor(io, options,
                        {.on_line = [&](auto, auto) { (void)!::write(ready, "x", 1); },
                         .on_log = [](auto, auto&) {}});
  if (!supervisor.start(config)) ::_exit(1);
  io.run();
  ::_exit(1);
}

TEST_F(SupervisorTest, WorkersOutliveAKilledTuskdPrintOnAndAreNotDoubled) {
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

TEST_F(SupervisorTest, OneStartedJustBeforeTheKillIsFoundThoughItsPidWasNotSaved) {
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
