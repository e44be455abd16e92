#include "daemon/transport/mailbox.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <thread>

namespace tusk::transport {
namespace {

bool readable(const Mailbox& mailbox) {
  pollfd fd{mailbox.descriptor(), POLLIN, 0};
  return poll(&fd, 1, 0) == 1;
}

TEST(Mailbox, HandsEventsOverInOrder) {
  Mailbox mailbox;
  for (uint64_t i = 1; i <= 3; ++i) EXPECT_TRUE(mailbox.post(core::ProcessEnded{i}));
  std::vector<uint64_t> got;
  EXPECT_TRUE(mailbox.take(
      [&](core::Event&& event) { got.push_back(std::get<core::ProcessEnded>(event).session); }));
  EXPECT_EQ(got, (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_FALSE(mailbox.take([](core::Event&&) { FAIL(); }));
}

TEST(Mailbox, ItsDescriptorIsReadableWhileSomethingIsInIt) {
  Mailbox mailbox;
  EXPECT_FALSE(readable(mailbox));
  mailbox.post(core::Tick{});
  mailbox.post(core::Tick{});
  EXPECT_TRUE(readable(mailbox));
  mailbox.take([](core::Event&&) {});
  EXPECT_FALSE(readable(mailbox));
  mailbox.post(core::Tick{});
  EXPECT_TRUE(readable(mailbox));
}

TEST(Mailbox, IsBoundedAndSaysSo) {
  Mailbox mailbox;
  for (size_t i = 0; i < Mailbox::kBound; ++i) ASSERT_TRUE(mailbox.post(core::Tick{}));
  EXPECT_FALSE(mailbox.post(core::Tick{}));
  size_t got = 0;
  mailbox.take([&](core::Event&&) { ++got; });
  EXPECT_EQ(got, Mailbox::kBound);
  EXPECT_TRUE(mailbox.post(core::Tick{}));
}

TEST(Mailbox, AnEventThatIsPostedWhileOthersAreTakenComesNext) {
  Mailbox mailbox;
  mailbox.post(core::Tick{});
  mailbox.take([&](core::Event&&) { EXPECT_TRUE(mailbox.post(core::Shutdown{})); });
  EXPECT_TRUE(readable(mailbox));
  bool stopped = false;
  mailbox.take(
      [&](core::Event&& event) { stopped = std::holds_alternative<core::Shutdown>(event); });
  EXPECT_TRUE(stopped);
}

TEST(Mailbox, LosesNothingBetweenThreads) {
  Mailbox mailbox;
  constexpr uint64_t kEach = 20'000;
  auto sender = [&](uint64_t who) {
    for (uint64_t i = 0; i < kEach; ++i) {
      while (!mailbox.post(core::ProcessEnded{who << 32 | i})) std::this_thread::yield();
    }
  };
  std::thread a(sender, 0), b(sender, 1);
  uint64_t next[2] = {0, 0};
  while (next[0] + next[1] < 2 * kEach) {
    pollfd fd{mailbox.descriptor(), POLLIN, 0};
    ASSERT_EQ(poll(&fd, 1, 10'000), 1) << "an event without a wake-up";
    mailbox.take([&](core::Event&& event) {
      const uint64_t session = std::get<core::ProcessEnded>(event).session;
      EXPECT_EQ(session & 0xFFFFFFFF, next[session >> 32]++);
    });
  }
  a.join();
  b.join();
}

}  // namespace
}  // namespace tusk::transport
