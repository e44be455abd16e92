// Streams, as who asks for them reads them, against a broker that is told what to do.
#include <future>

#include "client_fixture.h"
#include "proto/lz4.h"

namespace tusk {
namespace {

struct StreamTest : ClientTest {
  Json submit;

  Stream<int> open(CallOptions options = {}) {
    meet();
    Stream<int> stream = client.stream<int>("count", 5, options);
    submit = broker.next("submit");
    return stream;
  }
  void chunk(unsigned attempt, unsigned index, const Json& body) {
    broker.send({{"chunk", submit[1], body, {{"attempt", attempt}, {"index", index}}}});
  }
  void end(const Json& attributes, int state = 1) {
    broker.send({{"result", submit[1], state, body_of(5), attributes}});
  }
  // What there is, as text, until the stream ends.
  static std::vector<std::string> read(Stream<int>& stream) {
    std::vector<std::string> found;
    for (;;) {
      try {
        const auto chunk = stream.next();
        if (!chunk) return found;
        found.push_back(std::to_string(*chunk));
      } catch (const StreamRestarted& e) {
        found.push_back("attempt " + std::to_string(e.attempt()));
      } catch (const StreamBroken& e) {
        found.push_back("missing " + std::to_string(e.missing()));
      }
    }
  }
};

TEST_F(StreamTest, ChunksComeInOrderAndTheResultBehindThem) {
  auto stream = open({.window = 4});
  EXPECT_EQ(submit[5], (Json{{"stream", 4}}));
  EXPECT_EQ(submit[2]["hex"], stream.id().hex());
  EXPECT_THROW(stream.result(), Invalid) << "too early";
  for (unsigned n = 1; n <= 4; ++n) chunk(1, n, body_of(10 * n));
  for (int n = 1; n <= 3; ++n) EXPECT_EQ(stream.next(), 10 * n);
  // Half of the window was taken, and one more.
  Json credit = broker.next("credit");
  EXPECT_EQ(credit, (Json{"credit", submit[1], {{"hex", stream.id().hex()}}, 2}));
  chunk(1, 5, body_of(50));
  end({{"attempt", 1}, {"chunks", 5}});
  EXPECT_EQ(read(stream), (std::vector<std::string>{"40", "50"}));
  EXPECT_EQ(stream.result<int>(), 5);
  EXPECT_EQ(stream.next(), std::nullopt);
}

TEST_F(StreamTest, AWindowOfOneGivesCreditForEachChunk) {
  auto stream = open({.window = 1});
  for (unsigned n = 1; n <= 3; ++n) {
    chunk(1, n, body_of(n));
    EXPECT_EQ(stream.next(), static_cast<int>(n));
    EXPECT_EQ(broker.next("credit")[3], 1);
  }
}

TEST_F(StreamTest, AnotherAttemptIsToldOnceIfChunksHadBeenRead) {
  auto stream = open();
  chunk(1, 1, body_of(11));
  chunk(1, 2, body_of(12));
  chunk(2, 1, body_of(21));
  end({{"attempt", 2}, {"chunks", 1}});
  EXPECT_EQ(read(stream), (std::vector<std::string>{"11", "12", "attempt 2", "21"}));
}

TEST_F(StreamTest, GapsAreTold) {
  auto stream = open();
  chunk(1, 1, body_of(11));
  chunk(1, 4, body_of(14));
  chunk(3, 2, body_of(32));
  chunk(2, 1, body_of(21));  // late, of a run that is over
  end({{"attempt", 3}, {"chunks", 5}});
  EXPECT_EQ(read(stream), (std::vector<std::string>{"11", "missing 2", "14", "attempt 3",
                                                    "missing 1", "32", "missing 3"}));
  EXPECT_EQ(stream.result<int>(), 5);
}

TEST_F(StreamTest, WhatTheLastAttemptSentAndNobodyGotIsMissing) {
  auto stream = open();
  chunk(1, 1, body_of(11));
  end({{"attempt", 2}, {"chunks", 2}});
  EXPECT_EQ(read(stream), (std::vector<std::string>{"11", "missing 2"}));
}

TEST_F(StreamTest, ARunThatFailsDoesSoBehindItsChunks) {
  auto stream = open();
  chunk(1, 1, body_of(1));
  chunk(1, 2, body_of("text"));  // is no int
  end({{"attempt", 1}, {"chunks", 2}, {"error", {{"type", "E"}, {"message", "no"}}}}, 2);
  EXPECT_EQ(stream.next(), 1);
  EXPECT_THROW(stream.next(), ValueError);
  EXPECT_THROW(stream.next(), TaskFailed);
  EXPECT_THROW(stream.result(), TaskFailed);
}

TEST_F(StreamTest, ACompressedChunkIsReadAndABombIsNot) {
  auto stream = open();
  const std::string frame = proto::lz4_compress(to_body(std::vector<int>(100, 7)));
  auto list = client.stream<std::vector<int>>("list", 1);
  Json other = broker.next("submit");
  broker.send({{"chunk",
                other[1],
                {{"hex", proto::hex_encode(frame)}},
                {{"compression", 1}, {"attempt", 1}, {"index", 1}}}});
  EXPECT_EQ(list.next()->size(), 100u);
  broker.send({{"chunk",
                submit[1],
                {{"hex", "04224d1860707301000080780000"}},
                {{"compression", 1}, {"attempt", 1}, {"index", 1}}}});
  EXPECT_THROW(stream.next(), ValueError);
}

TEST_F(StreamTest, DroppingItCancelsTheTask) {
  auto stream = std::make_unique<Stream<int>>(open());
  chunk(1, 1, body_of(1));
  EXPECT_EQ(stream->next(), 1);
  const std::string id = stream->id().hex();
  stream.reset();
  EXPECT_EQ(broker.next("cancel")[2]["hex"], id);
}

TEST_F(StreamTest, AClosedStreamSaysSo) {
  auto stream = open();
  stream.close();
  EXPECT_THROW(stream.next(), Closed);
  EXPECT_EQ(broker.next("cancel")[2]["hex"], stream.id().hex());
}

// A broker that was restarted is asked again, with the whole window: what was read before earns
// nothing.
TEST_F(StreamTest, ItIsAskedForAgainInAnotherSession) {
  auto stream = open({.window = 4});
  chunk(1, 1, body_of(1));
  EXPECT_EQ(stream.next(), 1);
  broker.send_bare({{"error", 0, "stale_session", "restarted"}});
  meet();
  submit = broker.next("submit");
  EXPECT_EQ(submit[5], (Json{{"resent", true}, {"stream", 4}}));
  chunk(2, 1, body_of(2));
  end({{"attempt", 2}, {"chunks", 1}});
  EXPECT_EQ(read(stream), (std::vector<std::string>{"attempt 2", "2"}));
  EXPECT_TRUE(broker.silent_for(milliseconds(100)));
}

TEST_F(StreamTest, AWindowThatIsOutOfRangeIsNotSent) {
  for (std::size_t window : {0, 1025}) {
    try {
      client.stream("f", 1, {.window = window});
      FAIL();
    } catch (const Invalid& e) {
      EXPECT_EQ(e.what(),
                "window is " + std::to_string(window) + " chunks, and has to be from 1 to 1024");
    }
  }
}

struct PatientTest : testing::Test {
  ScriptedBroker broker;
  Client client{
      {.url = broker.url(), .timeout = milliseconds(50), .close_timeout = milliseconds(100)}};
};

TEST_F(PatientTest, WithoutABrokerItEndsInTime) {
  auto stream = client.stream<int>("count", 1);
  EXPECT_THROW(stream.next(), Unavailable);
}

TEST_F(PatientTest, WithABrokerItMayTakeLonger) {
  broker.hello();
  broker.welcome();
  auto stream = client.stream<int>("count", 1);
  Json submit = broker.next("submit");
  EXPECT_TRUE(broker.silent_for(milliseconds(150))) << "it was not given up";
  broker.send({{"chunk", submit[1], body_of(1), {{"attempt", 1}, {"index", 1}}}});
  EXPECT_EQ(stream.next(), 1);
  auto hurried = client.stream<int>("count", 1, {.timeout = milliseconds(20)});
  EXPECT_THROW(hurried.next(), Timeout);
}

}  // namespace
}  // namespace tusk
