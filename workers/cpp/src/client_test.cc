// What a client asks and what it is answered, against a broker that is told what to do.
#include "tusk/client.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <future>
#include <thread>

#include "client_fixture.h"
#include "proto/lz4.h"

namespace tusk {
namespace {

TEST_F(ClientTest, SaysWhoItIsAndNothingElseBeforeWelcome) {
  auto task = client.submit<int>("add", map("a", 1));
  Json hello = broker.hello();
  EXPECT_EQ(hello["role"], "client");
  EXPECT_EQ(hello["language"], "cpp");
  EXPECT_EQ(hello["acks"], true);
  EXPECT_EQ(hello["instance"]["hex"].get<std::string>().size(), 32u);
  EXPECT_EQ(hello["pid"], getpid());
  EXPECT_GT(hello["pid_ns"], 0);
  EXPECT_EQ(hello["boot_id"].get<std::string>().size(), 36u);
  EXPECT_TRUE(hello["sdk"].get<std::string>().starts_with("tuskd-cpp "));
  EXPECT_FALSE(hello.contains("session"));
  EXPECT_TRUE(broker.silent_for(milliseconds(20)));
  broker.welcome();
  Json submit = broker.next("submit");
  EXPECT_EQ(submit[2]["hex"], task.id().hex());
  EXPECT_EQ(submit[3], "add");
  EXPECT_EQ(value_of(submit[4]), Value(map("a", 1)));
  EXPECT_EQ(submit.size(), 5u) << "no attribute that has its default";
  answer(submit, 3);
  EXPECT_EQ(task.get(), 3);
  EXPECT_EQ(task.get(), 3) << "often";
}

TEST_F(ClientTest, OptionsBecomeAttributes) {
  meet();
  const TaskId id = TaskId::make();
  client.submit("add", 1,
                {.id = id, .resent = true, .rerun_ok = true, .trace = "00-ab", .baggage = "k=v"});
  Json submit = broker.next("submit");
  EXPECT_EQ(submit[2]["hex"], id.hex());
  EXPECT_EQ(submit[5],
            (Json{{"resent", true}, {"rerun_ok", true}, {"trace", "00-ab"}, {"baggage", "k=v"}}));
  answer(submit, 1);
}

TEST_F(ClientTest, EachEndingIsAnErrorOfItsOwn) {
  meet();
  const Json error = {
      {"type", "Boom"}, {"message", "it broke"}, {"language", "python"}, {"stack", "line 1"}};
  auto end = [&](int state, Json attributes) {
    auto task = client.submit<int>("add", 1);
    Json submit = broker.next("submit");
    broker.send({{"result", submit[1], state, nullptr, attributes}});
    return task;
  };
  auto failed = end(2, {{"error", error}, {"attempt", 3}, {"worker", "py-1"}, {"no_retry", true}});
  try {
    failed.get();
    FAIL();
  } catch (const TaskDead&) {
    FAIL();
  } catch (const TaskFailed& e) {
    EXPECT_EQ(e.code(), "failed");
    EXPECT_EQ(e.task(), failed.id());
    EXPECT_EQ(e.type(), "Boom");
    EXPECT_EQ(e.message(), "it broke");
    EXPECT_EQ(e.language(), "python");
    EXPECT_EQ(e.stack(), "line 1");
    EXPECT_EQ(e.worker(), "py-1");
    EXPECT_EQ(e.attempt(), 3u);
    EXPECT_FALSE(e.retry());
    EXPECT_STREQ(e.what(), "Boom: it broke (python, py-1)");
  }
  EXPECT_THROW(end(5, {{"error", error}}).get(), TaskDead);
  EXPECT_THROW(end(4, Json::object()).get(), TaskCancelled);
  EXPECT_THROW(end(3, Json::object()).get(), TaskExpired);
  EXPECT_THROW(end(2, Json::object()).get(), TaskFailed) << "without an error map";
}

TEST_F(ClientTest, EachCodeIsAnErrorOfItsOwn) {
  meet();
  auto refuse = [&](const char* code, Json details) {
    auto task = client.submit<int>("add", 1);
    Json submit = broker.next("submit");
    broker.send({{"error", submit[1], code, "because", details}});
    return task;
  };
  EXPECT_THROW(refuse("unserved", Json::object()).get(), Unserved);
  EXPECT_THROW(refuse("busy", Json::object()).get(), Busy);
  EXPECT_THROW(refuse("full", Json::object()).get(), Full);
  EXPECT_THROW(refuse("id_conflict", Json::object()).get(), IdConflict);
  EXPECT_THROW(refuse("already_ended", Json::object()).get(), AlreadyEnded);
  EXPECT_THROW(refuse("unknown_outcome", Json::object()).get(), UnknownOutcome);
  EXPECT_THROW(refuse("timeout", Json::object()).get(), Timeout);
  try {
    refuse("too_large", {{"limit", "body"}, {"value", 7}}).get();
    FAIL();
  } catch (const TooLarge& e) {
    EXPECT_EQ(e.limit(), "body");
    EXPECT_EQ(e.value(), 7u);
    EXPECT_STREQ(e.what(), "because");
  }
  try {
    refuse("brand_new", Json::object()).get();
    FAIL();
  } catch (const BrokerError& e) {
    EXPECT_EQ(e.code(), "brand_new");
  }
}

TEST_F(ClientTest, AResultOfAnotherTypeIsAnErrorOfTheReader) {
  meet();
  auto task = client.submit<std::string>("add", 1);
  answer(broker.next("submit"), 3);
  EXPECT_THROW(task.get(), ValueError);
}

TEST(ClientAlone, FailsWithTheUrlWhenNoBrokerIsThere) {
  Client client("ipc:///tmp/tusk-test-nobody");
  try {
    client.call<int>("add", 1, {.timeout = milliseconds(50)});
    FAIL();
  } catch (const Unavailable& e) {
    EXPECT_EQ(e.url(), "ipc:///tmp/tusk-test-nobody");
    EXPECT_NE(std::string(e.what()).find(e.url()), std::string::npos);
  }
}

TEST(ClientAlone, AUrlThatIsNoneIsSaidAtOnce) { EXPECT_THROW(Client("nonsense"), Unavailable); }

TEST_F(ClientTest, WaitsNoLongerThanItWasTold) {
  meet({{"timeout", 60'000}});
  auto task = client.submit<int>("add", 1, {.timeout = milliseconds(30)});
  Json submit = broker.next("submit");
  EXPECT_THROW(task.get(), Timeout);
  answer(submit, 1);  // too late: nobody waits, and nothing breaks
  auto again = client.submit<int>("add", 1);
  answer(broker.next("submit"), 2);
  EXPECT_EQ(again.get(), 2);
}

TEST_F(ClientTest, TheBrokersTimeoutIsTheDefault) {
  auto task = client.submit<int>("add", 1);
  meet({{"timeout", 30}});
  EXPECT_THROW(task.get(), Timeout);
}

TEST_F(ClientTest, LimitsAreKeptBeforeSending) {
  auto early = client.submit<int>("add", std::string(2000, 'x'));
  meet({{"limits", {{"body", 1000}}}});
  EXPECT_THROW(early.get(), TooLarge) << "handed over before the limit was known";
  try {
    client.submit<int>("add", std::string(2000, 'x'));
    FAIL();
  } catch (const TooLarge& e) {
    EXPECT_EQ(e.limit(), "body");
    EXPECT_EQ(e.value(), 1000u);
  }
  EXPECT_THROW(client.submit(std::string(256, 'n'), 1), TooLarge);
  EXPECT_THROW(client.submit("", 1), ValueError);
  EXPECT_THROW(client.submit("\xFF", 1), ValueError);
  EXPECT_TRUE(broker.silent_for(milliseconds(20)));
}

TEST_F(ClientTest, PacketsKeepTheirLimits) {
  std::vector<Task<>> tasks;
  for (int i = 0; i < 20; ++i) tasks.push_back(client.submit("add", std::string(300, 'x')));
  for (int i = 0; i < 20; ++i) tasks.push_back(client.submit("add", std::string(9000, 'x')));
  meet({{"limits", {{"records", 7}, {"frames", 3}, {"frame", 40'000}}}});
  std::size_t seen = 0;
  while (seen < tasks.size()) {
    Json packet = broker.next_packet();
    const std::size_t records = packet["records"].size() - 1;
    EXPECT_LE(records, 7u);
    EXPECT_LE(packet["frames"].size(), 3u);
    EXPECT_LE(broker.last_packet[0].size(), 40'000u);
    seen += records;
  }
  EXPECT_EQ(seen, tasks.size());
}

TEST_F(ClientTest, SmallFramesTakeTheirBodiesBeside) {
  meet({{"limits", {{"frame", 2000}}}});
  auto task = client.submit("add", std::string(1500, 'x'));
  Json submit = broker.next("submit");
  EXPECT_EQ(submit[4], 1) << "the body is frame 1";
  EXPECT_LE(broker.last_packet[0].size(), 2000u);
}

TEST_F(ClientTest, UnacknowledgedBytesAreBounded) {
  meet({{"limits", {{"session_bytes", 100'000}}}});
  broker.acknowledges = false;
  auto first = client.submit("add", std::string(60'000, 'x'));
  Json submit = broker.next("submit");
  EXPECT_THROW(client.submit("add", std::string(60'000, 'x')), Busy);
  broker.acknowledges = true;
  broker.send({{"result", submit[1], 1, body_of(1)}});
  EXPECT_EQ(first.get(), Value(1));
  auto second = client.submit("add", std::string(60'000, 'x'));
  broker.next("submit");
}

TEST_F(ClientTest, LargeBodiesAreCompressedWhenThatPays) {
  meet({{"compression", "lz4"}, {"compression_threshold", 1000}});
  const std::string text(20'000, 'x');
  auto task = client.submit<std::string>("add", text);
  Json submit = broker.next("submit");
  ASSERT_EQ(submit[5], (Json{{"compression", 1}}));
  const std::string frame = *proto::hex_decode(submit[4]["hex"].get<std::string>());
  EXPECT_EQ(from_body<std::string>(*proto::lz4_decompress(frame, 1 << 20)), text);
  broker.send({{"result", submit[1], 1, 1, {{"compression", 1}}}}, {frame});
  EXPECT_EQ(task.get(), text);

  std::string noise;
  for (std::uint32_t n = 1; noise.size() < 3000; n = n * 1664525 + 1013904223) {
    noise += static_cast<char>(n >> 24);
  }
  client.submit("add", to_bytes(noise));
  EXPECT_EQ(broker.next("submit").size(), 5u) << "what does not get smaller goes as it is";
}

const Json kMessages = {{"compression", "lz4"},
                        {"compression_threshold", 1000},
                        {"messages",
                         {{"types",
                           {{"json", {{"codec", 1}}},
                            {"plain", {{"codec", 2}}},
                            {"packed", {{"codec", 0}, {"compress", true}}},
                            {"loose", {{"compress", false}}},
                            {"later", {{"codec", 9}}}}},
                          {"stages", {{"json", {{"codec", 1}, {"compress", true}}}}},
                          {"topics", {{"plain", {{"codec", 2}}}}}}}};

// The first is asked before the welcome.
TEST_F(ClientTest, BodiesAreWrittenAsTheBrokersMessageTypesSay) {
  auto bytes = [](const Json& body) { return *proto::hex_decode(body["hex"].get<std::string>()); };
  auto wrong = client.submit<int>("plain", 5);
  client.submit("json", map("text", "äö\"ü", "n", List{1, 2.5, 1.0, {}, true, -3}));
  meet(kMessages);
  Json record = broker.next("submit");
  EXPECT_EQ(bytes(record[4]), R"({"n":[1,2.5,1.0,null,true,-3],"text":"äö\"ü"})");
  EXPECT_EQ(record[5], (Json{{"codec", 1}}));
  EXPECT_THROW(wrong.get(), BrokerError);
  auto task = client.submit<Value>("plain", to_bytes("\n\1x"));
  record = broker.next("submit");
  EXPECT_EQ(bytes(record[4]), "\n\1x");
  EXPECT_EQ(record[5], (Json{{"codec", 2}}));
  broker.send({{"result", record[1], 1, Json{{"hex", proto::hex_encode("[1]")}}, {{"codec", 1}}}});
  EXPECT_EQ(task.get(), Value(List{1}));

  for (auto& [type, size, compressed] :
       std::vector<std::tuple<const char*, std::size_t, bool>>{{"packed", 62, true},
                                                               {"packed", 61, false},
                                                               {"loose", 5000, false},
                                                               {"t", 2000, true}}) {
    client.submit(type, std::string(size, 'a'));
    record = broker.next("submit");
    EXPECT_EQ(record.size() > 5 && record[5].contains("compression"), compressed) << type << size;
  }
  for (auto& [type, value] : std::vector<std::pair<const char*, Value>>{
           {"json", Value(to_bytes("x"))}, {"json", Value(NAN)}, {"later", Value(1)}}) {
    EXPECT_THROW(client.submit<int>(type, value).get(), BrokerError) << type;
  }
}

TEST_F(ClientTest, ABombIsRefusedBeforeItGoesOff) {
  meet({{"limits", {{"body", 1 << 20}}}});
  auto task = client.submit<std::string>("add", 1);
  const std::string bomb = proto::lz4_compress(std::string(8 << 20, '\0'));
  broker.send({{"result", broker.next("submit")[1], 1, 1, {{"compression", 1}}}}, {bomb});
  EXPECT_THROW(task.get(), ValueError);
}

TEST_F(ClientTest, PostWaitsForTheBrokerOnly) {
  std::thread side([&] {
    meet();
    Json submit = broker.next("submit");
    EXPECT_EQ(submit[5], (Json{{"reply", 1}}));
    broker.send({{"accepted", submit[1]}});
  });
  EXPECT_NE(client.post("add", 1), TaskId{});
  side.join();
}

TEST_F(ClientTest, QueriesAndCancelsAreAnswered) {
  const TaskId id = TaskId::make();
  std::thread side([&] {
    meet();
    Json query = broker.next("query");
    EXPECT_EQ(query[2], "task");
    EXPECT_EQ(query[3], (Json{{"id", {{"hex", id.hex()}}}}));
    broker.send({{"answer", query[1], {{"state", "running"}, {"attempts", 2}}}});
    Json cancel = broker.next("cancel");
    EXPECT_EQ(cancel[2]["hex"], id.hex());
    broker.send({{"answer", cancel[1], {{"state", "cancelling"}}}});
    broker.send({{"error", broker.next("cancel")[1], "unknown_task", "no such task"}});
  });
  Bytes bytes(id.bytes.size());
  std::memcpy(bytes.data(), id.bytes.data(), bytes.size());
  EXPECT_EQ(client.query("task", map("id", bytes))["attempts"].as<int>(), 2);
  EXPECT_EQ(client.cancel(id), "cancelling");
  EXPECT_THROW(client.cancel(id), UnknownTask);
  Value deep;
  for (int i = 0; i < 10; ++i) deep = list(deep);
  EXPECT_THROW(client.query("task", deep), ValueError) << "a record nests 8 deep at most";
  side.join();
}

TEST_F(ClientTest, ATaskCanBeCancelledByItsHandle) {
  meet();
  auto task = client.submit<int>("add", 1);
  Json submit = broker.next("submit");
  task.cancel();
  Json cancel = broker.next("cancel");
  EXPECT_EQ(cancel[2], submit[2]);
  broker.send({{"answer", cancel[1], {{"state", "cancelled"}}}, {"result", submit[1], 4}});
  EXPECT_THROW(task.get(), TaskCancelled);
}

TEST_F(ClientTest, PushesKeepTheirWindow) {
  meet({{"limits", {{"push_window", 2}}}});
  std::atomic<int> accepted{0};
  for (int i = 0; i < 4; ++i) {
    client.push("clean", i, [&](const Ending& e) { accepted += e.ok(); });
  }
  Json first = broker.next("push");
  Json second = broker.next("push");
  EXPECT_TRUE(broker.silent_for(milliseconds(20))) << "two are unanswered";
  broker.send({{"accepted", first[1]}});
  Json third = broker.next("push");
  EXPECT_TRUE(broker.silent_for(milliseconds(20)));
  broker.send({{"accepted", second[1]}, {"accepted", third[1]}});
  broker.send({{"accepted", broker.next("push")[1]}});
  while (accepted < 4) std::this_thread::yield();
}

TEST_F(ClientTest, PushManyWaitsForAllAndSaysTheFirstError) {
  std::thread side([&] {
    meet({{"limits", {{"push_window", 8}}}});
    for (int i = 0; i < 100; ++i) broker.send({{"accepted", broker.next("push")[1]}});
    broker.send({{"error", broker.next("push")[1], "unknown_stage", "no"}});
  });
  std::vector<int> items(100);
  EXPECT_EQ(client.push_many("clean", items), 100u);
  EXPECT_THROW(client.push_many("clena", std::vector<int>{1}), UnknownStage);
  side.join();
}

TEST_F(ClientTest, CallManyKeepsTheOrderAndTheBound) {
  std::atomic<int> most{0};
  std::thread side([&] {
    meet();
    // The answers come in pairs, the later one first.
    for (int round = 0; round < 50; ++round) {
      Json a = broker.next("submit"), b = broker.next("submit");
      most = std::max<int>(most, static_cast<int>(b[1]) - 2 * round);
      broker.send({{"result", b[1], 1, b[4]}, {"result", a[1], 1, a[4]}});
    }
  });
  std::vector<int> in;
  for (int i = 0; i < 100; ++i) in.push_back(i);
  EXPECT_EQ(client.call_many<int>("echo", in, 2), in);
  EXPECT_EQ(most, 2) << "never more than two in flight";
  side.join();
}

TEST_F(ClientTest, ACallbackMustNotWait) {
  meet();
  std::promise<std::string> code;
  client.submit("add", 1, [&](const Ending&) {
    try {
      client.call("add", 2);
    } catch (const Error& e) {
      code.set_value(e.code());
    }
  });
  answer(broker.next("submit"), 1);
  EXPECT_EQ(code.get_future().get(), "deadlock");
}

}  // namespace
}  // namespace tusk
