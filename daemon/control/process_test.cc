#include "daemon/control/process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <functional>
#include <thread>

#include "daemon/control/fd.h"
#include "daemon/control/test_folder.h"

namespace tusk::control {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

struct ProcessTest : testing::Test {
  TestFolder folder;
  boost::asio::io_context io;
  Fd output{::open((folder / "out").c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600)};
  Launch shell(const std::string& script) { return {{"sh", "-c", script}, folder.path(), {}}; }

  std::string error(const Launch& launch) {
    auto pid = spawn(launch, output.get());
    EXPECT_FALSE(pid);
    return pid ? "" : pid.error();
  }
  // Runs it to its end.
  Ending run(const Launch& launch) {
    auto pid = spawn(launch, output.get());
    EXPECT_TRUE(pid) << (pid ? "" : pid.error());
    auto process = Process::watch(io, *pid, true);
    EXPECT_TRUE(process);
    Ending ending;
    (*process)->on_end([&] { ending = (*process)->reap(); });
    io.restart();
    io.run_for(std::chrono::seconds(20));
    return ending;
  }
  static bool eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
};

TEST_F(ProcessTest, RunsInItsFolderAndAppendsWhatItPrints) {
  Ending ending = run(shell("pwd; echo error >&2; cat; exit 3"));
  EXPECT_EQ(folder.read("out"), folder.path() + "\nerror\n");
  EXPECT_EQ(text(ending), "exit code 3");
}

TEST_F(ProcessTest, TellsTheSignalThatEndedIt) {
  EXPECT_EQ(text(run(shell("kill -SEGV $$"))), "signal SIGSEGV");
}

TEST_F(ProcessTest, HasItsEnvironmentOnTopOfOursWithoutWhatSystemdSaidToUs) {
  ::setenv("TUSK_TEST_OURS", "1", 1);
  ::setenv("NOTIFY_SOCKET", "/run/x", 1);
  Launch launch = shell("echo $TUSK_TEST_OURS $A ${NOTIFY_SOCKET-none}");
  launch.environment.entries = {{"A", "first"}, {"A", "last"}};
  run(launch);
  ::unsetenv("NOTIFY_SOCKET");
  EXPECT_EQ(folder.read("out"), "1 last none\n");
}

TEST_F(ProcessTest, InheritsNoDescriptorAndNoSignalSetting) {
  Fd leak(::open("/dev/null", O_RDONLY));  // without O_CLOEXEC
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t blocked, before;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &blocked, &before);
  run({{"python3", "-c",
        "import os, signal\n"
        "fds = sorted(os.listdir('/proc/self/fd'))\n"
        "print(len([f for f in fds if os.path.exists('/proc/self/fd/' + f)]))\n"
        "status = open('/proc/self/status').read().split('\\n')\n"
        "print([l.split()[1] for l in status if l.startswith('SigBlk')])\n"
        "print(os.getsid(0) == os.getpid())"},
       "",
       {}});
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  EXPECT_EQ(folder.read("out"), "3\n['0000000000000000']\nTrue\n");
}

TEST_F(ProcessTest, FindsTheProgramByTheWorkersOwnPath) {
  std::filesystem::create_directory(folder / "bin");
  folder.write("bin/hello", "#!/bin/sh\necho hello\n");
  std::filesystem::permissions(folder / "bin/hello", std::filesystem::perms::owner_all);
  Launch launch{{"hello"}, folder.path(), {}};
  launch.environment.entries = {{"PATH", "/nowhere:bin"}};
  run(launch);
  launch.command = {"./bin/hello"};
  run(launch);
  EXPECT_EQ(folder.read("out"), "hello\nhello\n");
}

TEST_F(ProcessTest, SaysWhyACommandDoesNotRun) {
  std::string where = " in " + folder.path() + ": ";
  EXPECT_EQ(error({{"no-such-program", "-x"}, folder.path(), {}}),
            "cannot run `no-such-program -x`" + where + "`no-such-program` is not in PATH");
  EXPECT_EQ(error({{"./missing"}, folder.path(), {}}),
            "cannot run `./missing`" + where + "No such file or directory");
  EXPECT_EQ(error({{"sh"}, "/no/such/folder", {}}),
            "cannot run `sh` in /no/such/folder: the folder: No such file or directory");
  folder.write("text", "not executable");
  EXPECT_THAT(error({{folder / "text"}, "", {}}), EndsWith("Permission denied"));
  folder.write("script", "#!/no/such/interpreter\n");
  std::filesystem::permissions(folder / "script", std::filesystem::perms::owner_all);
  EXPECT_THAT(error({{folder / "script"}, folder.path(), {}}),
              HasSubstr("the interpreter of its first line"));
}

TEST_F(ProcessTest, AFailedStartLeavesNoZombie) {
  while (::waitpid(-1, nullptr, WNOHANG) > 0) continue;  // of tests before
  error({{"./missing"}, folder.path(), {}});
  EXPECT_LE(::waitpid(-1, nullptr, WNOHANG), 0);
}

TEST_F(ProcessTest, AZombieHasNoStartTimeAndIsNoLivingGroup) {
  auto pid = spawn(shell("read x < fifo || sleep 1000"), output.get());
  ASSERT_TRUE(pid);
  EXPECT_TRUE(start_time(*pid));
  EXPECT_EQ(start_time(*pid), start_time(*pid));
  EXPECT_TRUE(group_alive(*pid));
  ::kill(-*pid, SIGKILL);
  EXPECT_TRUE(eventually([&] { return !start_time(*pid); }));
  EXPECT_TRUE(eventually([&] { return !group_alive(*pid); }));
  EXPECT_EQ(::waitpid(*pid, nullptr, 0), *pid);
}

TEST_F(ProcessTest, IsFoundByItsEnvironmentIfItLeadsASession) {
  Launch launch = shell("sleep 1000 & wait");
  launch.environment.entries = {{"TUSK_LAUNCH", "of-this-test-" + folder.path()}};
  auto pid = spawn(launch, output.get());
  ASSERT_TRUE(pid);
  std::string token = "of-this-test-" + folder.path();
  EXPECT_TRUE(eventually([&] { return find_session_leader("TUSK_LAUNCH", token) == *pid; }));
  EXPECT_EQ(find_session_leader("TUSK_LAUNCH", token.substr(0, token.size() - 1)), 0);
  ::kill(-*pid, SIGKILL);
  ::waitpid(*pid, nullptr, 0);
  EXPECT_EQ(find_session_leader("TUSK_LAUNCH", token), 0);
}

TEST_F(ProcessTest, SignalsWhatIsLeftOfTheGroupAfterItsLeader) {
  auto pid = spawn(shell("sleep 1000 & echo ready"), output.get());
  ASSERT_TRUE(pid);
  auto process = Process::watch(io, *pid, true);
  ASSERT_TRUE(process);
  (*process)->on_end([&] { (*process)->reap(); });
  io.run_for(std::chrono::seconds(20));
  EXPECT_TRUE(group_alive(*pid));
  (*process)->signal_group(SIGTERM);
  EXPECT_TRUE(eventually([&] { return !group_alive(*pid); }));
}

TEST_F(ProcessTest, WatchingAProcessThatIsGoneIsAnError) {
  auto pid = spawn(shell(":"), output.get());
  ASSERT_TRUE(pid);
  ::waitpid(*pid, nullptr, 0);
  EXPECT_FALSE(Process::watch(io, *pid, false));
}

}  // namespace
}  // namespace tusk::control
