// Streams, as a handler sends them, against a broker that is told what to do.
#include "worker_fixture.h"

namespace tusk {
namespace {

struct SendingTest : WorkerTest {
  std::atomic<bool> was_cancelled = false;

  void begin() {
    make(8, 2);
    worker->task("count", [&](int n, Context& context) {
      try {
        for (int i = 1; i <= n; ++i) context.send(i);
      } catch (const Cancelled&) {
        was_cancelled = true;
        throw;
      }
      return n;
    });
    start();
    meet();
  }
  void chunks(int from, int to) {
    for (int n = from; n <= to; ++n)
      EXPECT_EQ(broker.next("chunk"), (Json{"chunk", 1, body_of(n)}));
  }
};

TEST_F(SendingTest, ChunksComeAsFarAsThereIsCreditAndBeforeTheResult) {
  begin();
  broker.send({task(1, "count", body_of(5), 1, {{"stream", 2}})});
  chunks(1, 2);
  EXPECT_TRUE(broker.silent_for(milliseconds(100)));
  broker.send({{"credit", 1, 1}});
  chunks(3, 3);
  broker.send({{"credit", 1, 1000}});
  chunks(4, 5);
  EXPECT_EQ(broker.next("result"), (Json{"result", 1, 1, body_of(5)}));
}

TEST_F(SendingTest, AHandlerThatWaitsForCreditIsCancelled) {
  begin();
  broker.send({task(1, "count", body_of(5), 1, {{"stream", 1}})});
  broker.next("chunk");
  broker.send({{"cancel", 1, {{"hex", hex_id(1)}}}});
  EXPECT_EQ(broker.next("result")[2], 4);
  EXPECT_TRUE(was_cancelled);
}

TEST_F(SendingTest, WithoutAStreamNothingIsSent) {
  begin();
  broker.forget_skipped();
  broker.send({task(1, "count", body_of(5))});
  EXPECT_EQ(broker.next("result")[2], 1);
  EXPECT_EQ(broker.skipped(), std::vector<Json>{});
}

TEST_F(SendingTest, AChunkThatIsTooLargeIsAnErrorThere) {
  make();
  worker->task("large", [](int size, Context& context) {
    context.send(std::string(static_cast<std::size_t>(size), 'x'));
    return 0;
  });
  start();
  meet({{"limits", {{"body", 1000}}}});
  broker.send({task(1, "large", body_of(2000), 1, {{"stream", 1}})});
  Json failed = broker.next("result");
  EXPECT_EQ(failed[4]["error"]["message"], "the chunk has 2003 bytes, the limit \"body\" is 1000");
}

}  // namespace
}  // namespace tusk
