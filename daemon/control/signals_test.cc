#include "daemon/control/signals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <cstdlib>
#include <vector>

#include "daemon/control/fd.h"
#include "daemon/control/notify.h"
#include "daemon/control/test_folder.h"

namespace tusk::control {
namespace {

using testing::ElementsAre;
using testing::MatchesRegex;

TEST(Signals, EachIsHandedOnAsOftenAsItComes) {
  boost::asio::io_context io;
  std::vector<int> got;
  Signals signals(io, {.stop = [&](int signal) { got.push_back(signal); },
                       .reload = [&] { got.push_back(0); }});
  for (int signal : {SIGHUP, SIGTERM, SIGINT, SIGHUP}) {
    std::size_t before = got.size();
    ::raise(signal);
    while (got.size() == before && io.run_one_for(std::chrono::seconds(20)) > 0) continue;
  }
  ::raise(SIGPIPE);
  EXPECT_THAT(got, ElementsAre(0, SIGTERM, SIGINT, 0));
}

TEST(Notify, SpeaksTheLanguageOfSystemd) {
  TestFolder folder;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string path = folder / "notify";
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  auto next = [&] {
    char text[1000];
    ssize_t size = ::recv(socket.get(), text, sizeof text, MSG_DONTWAIT);
    return std::string(text, size > 0 ? static_cast<std::size_t>(size) : 0);
  };

  notify::ready("not by systemd");
  EXPECT_EQ(next(), "");
  ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  notify::ready("4 workers\nREADY=0");
  EXPECT_EQ(next(), "READY=1\nSTATUS=4 workers");
  notify::reloading();
  EXPECT_THAT(next(), MatchesRegex("RELOADING=1\nMONOTONIC_USEC=[0-9]+\nSTATUS=reloading"));
  notify::status("busy");
  EXPECT_EQ(next(), "STATUS=busy");
  notify::stopping();
  EXPECT_EQ(next(), "STOPPING=1\nSTATUS=stopping");
  ::unsetenv("NOTIFY_SOCKET");
}

}  // namespace
}  // namespace tusk::control
