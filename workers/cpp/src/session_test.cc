#include "session.h"

#include <gtest/gtest.h>

#include "proto/decoder.h"

namespace tusk {
namespace {

using Arrival = Session::Arrival;
using Clock = Session::Clock;

struct SessionTest : testing::Test {
  Session session;
  proto::Writer out;
  SessionTest() {
    Session::start(out);
    session.open(7, 0, false);
  }
  void add(std::uint64_t token = 1) {
    out.ping(token);
    session.add(out);
  }
  proto::Record header_of(const proto::Bytes& records) {
    proto::Decoder decoder;
    auto packet = decoder.decode(records.view(), 0);
    EXPECT_TRUE(packet.ok());
    return packet.records[0];
  }
  std::vector<std::uint64_t> send_all() {
    std::vector<std::uint64_t> seqs;
    while (auto* packet = session.next()) {
      seqs.push_back(packet->seq);
      session.sent();
    }
    return seqs;
  }
  using Seqs = std::vector<std::uint64_t>;
};

TEST_F(SessionTest, NumbersPacketsAndKeepsThemUntilTheyAreAcknowledged) {
  add();
  add();
  EXPECT_EQ(send_all(), (Seqs{1, 2}));
  EXPECT_EQ(session.kept().size(), 2u);
  EXPECT_GT(session.unacked_bytes(), 0u);
  EXPECT_EQ(session.arrived(7, 0, 1), Arrival::kNew);
  EXPECT_EQ(session.kept().size(), 1u);
  session.arrived(7, 0, 2);
  EXPECT_EQ(session.unacked_bytes(), 0u);
}

TEST_F(SessionTest, AWriterIsReadyForTheNextPacket) {
  add(1);
  add(2);
  proto::Decoder decoder;
  auto packet = decoder.decode(session.kept()[1].records.view(), 0);
  ASSERT_TRUE(packet.ok());
  ASSERT_EQ(packet.records.size(), 2u);
  EXPECT_EQ(packet.records[0].seq, 2u);
  EXPECT_EQ(packet.records[1].ref, 2u);
}

TEST_F(SessionTest, TellsNewFromOldAndForeignAndTooEarly) {
  EXPECT_EQ(session.arrived(7, 1, 0), Arrival::kNew);
  EXPECT_EQ(session.arrived(7, 1, 0), Arrival::kDuplicate);
  EXPECT_EQ(session.arrived(7, 3, 0), Arrival::kGap);
  EXPECT_EQ(session.arrived(7, 2, 0), Arrival::kNew);
  EXPECT_EQ(session.arrived(8, 3, 0), Arrival::kForeign);
  EXPECT_EQ(session.received(), 2u);
}

TEST_F(SessionTest, AResumedSessionSendsTheRestAgain) {
  for (int i = 0; i < 4; ++i) add();
  send_all();
  session.suspend();
  EXPECT_EQ(session.next(), nullptr);
  session.open(7, 2, true);
  EXPECT_EQ(send_all(), (Seqs{3, 4}));
}

TEST_F(SessionTest, AnotherSessionStartsAtOne) {
  add();
  session.arrived(7, 1, 0);
  session.open(9, 0, false);
  EXPECT_EQ(session.received(), 0u);
  EXPECT_TRUE(session.kept().empty());
  add();
  EXPECT_EQ(header_of(session.next()->records).ref, 9u);
  EXPECT_EQ(send_all(), (Seqs{1}));
}

TEST_F(SessionTest, AGapIsSentAgainFromThere) {
  for (int i = 0; i < 4; ++i) add();
  send_all();
  session.arrived(7, 0, 1);
  EXPECT_TRUE(session.resend_from(3));
  EXPECT_EQ(send_all(), (Seqs{3, 4}));
  EXPECT_FALSE(session.resend_from(1)) << "acknowledged: not kept";
  EXPECT_FALSE(session.resend_from(5)) << "never made";
}

TEST_F(SessionTest, AnAcknowledgementOfTheFutureIsNotBelieved) {
  add();
  send_all();
  session.arrived(7, 0, 99);
  EXPECT_EQ(session.kept().size(), 1u);
}

TEST_F(SessionTest, AcknowledgesAfter50MillisecondsOr64Packets) {
  const auto now = Clock::now();
  session.arrived(7, 1, 0);
  session.schedule_ack(now);
  EXPECT_EQ(session.ack_due(), now + std::chrono::milliseconds(50));
  for (std::uint64_t seq = 2; seq <= 64; ++seq) {
    session.arrived(7, seq, 0);
    session.schedule_ack(now);
  }
  EXPECT_EQ(session.ack_due(), now);
  const proto::Record header = header_of(session.lone_ack());
  EXPECT_EQ(header.seq, 0u);
  EXPECT_EQ(header.ack, 64u);
  EXPECT_EQ(session.ack_due(), Clock::time_point::max());
}

TEST_F(SessionTest, EveryPacketAcknowledges) {
  session.arrived(7, 1, 0);
  session.schedule_ack(Clock::now());
  add();
  EXPECT_EQ(header_of(session.next()->records).ack, 1u);
  EXPECT_EQ(session.ack_due(), Clock::time_point::max());
}

TEST_F(SessionTest, ABlankKeepsItsNumberAndLosesItsContent) {
  out.submit(1, {}, "a", {true, {}, proto::Bytes::copy(std::string(10'000, 'x'))}, {});
  session.add(out);
  add();
  session.blank(session.kept()[0]);
  EXPECT_LT(session.unacked_bytes(), 200u);
  EXPECT_EQ(header_of(session.kept()[0].records).seq, 1u);
  EXPECT_TRUE(session.kept()[0].frames.empty());
  EXPECT_EQ(send_all(), (Seqs{1, 2}));
}

}  // namespace
}  // namespace tusk
