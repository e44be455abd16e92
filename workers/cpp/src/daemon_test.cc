// Client and worker against the real tuskd, which dies, comes back and has the last word.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <semaphore>
#include <stop_token>
#include <thread>

#include "tusk/client.h"
#include "tusk/worker.h"

extern char** environ;

namespace tusk {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Tuskd {
 public:
  explicit Tuskd(const std::string& more = "") {
    char name[] = "/tmp/tusk-daemon-XXXXXX";
    folder_ = mkdtemp(name);
    std::ofstream config(folder_ + "/t.tsk");
    config << "[tuskd]\nendpoint: \"" << url() << "\"\n"
           << "events_in: null\nevents_out: null\npipeline_in: null\npipeline_out: null\n"
           << more;
    config.close();
    start();
  }
  ~Tuskd() {
    kill_now();
    std::filesystem::remove_all(folder_);
  }
  std::string url() const { return "ipc://" + folder_ + "/router"; }

  void start() {
    const std::string config = folder_ + "/t.tsk";
    const std::string log = folder_ + "/log";
    const char* given = std::getenv("TUSKD");  // another one than this build's
    const char* program = given ? given : TUSKD;
    const char* arguments[] = {program, config.c_str(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    ASSERT_EQ(
        posix_spawn(&pid_, program, &actions, nullptr, const_cast<char**>(arguments), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  void kill_now() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  void stop() {
    ::kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  std::string log() const {
    std::ifstream file(folder_ + "/log");
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  std::string folder_;
  pid_t pid_ = -1;
};

// A worker that runs while it lives.
class Running {
 public:
  explicit Running(Worker& worker) : worker_(worker), thread_([&] { worker.run(); }) {}
  ~Running() {
    worker_.stop();
    thread_.join();
  }

 private:
  Worker& worker_;
  std::thread thread_;
};

struct Add {
  int a = 0, b = 0;
  TUSK_FIELDS(a, b);
};

constexpr auto kPatient = seconds(30);

// The worker may be a moment later than the client.
template <class R, class In>
R call_when_served(Client& client, const std::string& type, const In& in) {
  const auto until = std::chrono::steady_clock::now() + kPatient;
  for (;;) {
    try {
      return client.call<R>(type, in, {.timeout = kPatient});
    } catch (const Unserved&) {
      if (std::chrono::steady_clock::now() > until) throw;
      std::this_thread::yield();
    }
  }
}

TEST(Daemon, RunsTasksAndSaysHowTheyFailed) {
  Tuskd tuskd;
  Worker worker({.url = tuskd.url(), .slots = 8, .name = "tester"});
  worker.task("add", [](const Add& in) { return in.a + in.b; });
  worker.task("fail", [](int) -> int { throw NoRetry("never"); });
  Running running(worker);
  Client client(tuskd.url());
  EXPECT_EQ(call_when_served<int>(client, "add", Add{1, 2}), 3);
  try {
    client.call("fail", 1, {.timeout = kPatient});
    FAIL();
  } catch (const TaskFailed& e) {
    EXPECT_EQ(e.type(), "tusk::NoRetry");
    EXPECT_EQ(e.message(), "never");
    EXPECT_EQ(e.language(), "cpp");
    EXPECT_EQ(e.worker(), "tester");
    EXPECT_EQ(e.attempt(), 1u);
  }
  EXPECT_THROW(client.call("add", "text", {.timeout = kPatient}), TaskFailed);
}

TEST(Daemon, LargeBodiesGoThereAndBack) {
  Tuskd tuskd;
  Worker worker({.url = tuskd.url(), .slots = 4});
  worker.task("echo", [](const Bytes& in) { return in; });
  Running running(worker);
  Client client(tuskd.url());
  for (std::size_t size : {100ul, 9'000ul, 300'000ul, 5'000'000ul}) {
    Bytes noise(size);
    std::uint32_t n = 1;
    for (auto& byte : noise) byte = static_cast<std::byte>((n = n * 1664525 + 1013904223) >> 24);
    EXPECT_EQ(call_when_served<Bytes>(client, "echo", noise), noise);
    EXPECT_EQ(client.call<Bytes>("echo", Bytes(size), {.timeout = kPatient}), Bytes(size));
  }
}

TEST(Daemon, ACancelReachesTheHandler) {
  Tuskd tuskd;
  std::atomic<bool> started = false;
  Worker worker({.url = tuskd.url(), .slots = 1});
  worker.task("loop", [&](int, Context& run) -> int {
    started = true;
    while (!run.cancelled()) std::this_thread::yield();
    throw Cancelled();
  });
  worker.task("ready", [](int i) { return i; });
  Running running(worker);
  Client client(tuskd.url());
  call_when_served<int>(client, "ready", 1);
  auto running_task = client.submit("loop", 1, {.timeout = kPatient});
  while (!started) std::this_thread::yield();
  auto waiting_task = client.submit("loop", 1, {.timeout = kPatient});
  waiting_task.cancel();
  EXPECT_THROW(waiting_task.get(), TaskCancelled);
  EXPECT_EQ(client.cancel(running_task.id()), "cancelling");
  EXPECT_THROW(running_task.get(), TaskCancelled);
}

// Tasks keep coming; in their midst `trouble` happens. Each must end once, with its own result.
void all_end_through(Tuskd& tuskd, const std::function<void()>& trouble) {
  constexpr int kTasks = 20'000, kInFlight = 500;
  std::atomic<int> runs = 0;
  Worker worker({.url = tuskd.url(), .slots = 100});
  worker.task("twice", [&](int i) {
    ++runs;
    return 2 * i;
  });
  Running running(worker);
  Client client(tuskd.url());
  call_when_served<int>(client, "twice", 0);

  std::mutex mutex;
  std::condition_variable changed;
  int next = 0, in_flight = 0, ended = 0;
  std::vector<int> endings(kTasks);
  std::string wrong;
  bool troubled = false;
  while (true) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return ended == kTasks || (next < kTasks && in_flight < kInFlight); });
    if (ended == kTasks) break;
    const int i = next++;
    ++in_flight;
    lock.unlock();
    client.submit("twice", i,
                  [&, i](const Ending& ending) {
                    std::lock_guard inner(mutex);
                    ++endings[static_cast<std::size_t>(i)];
                    try {
                      if (ending.get<int>() != 2 * i) wrong = "another's result";
                    } catch (const Error& e) {
                      wrong = e.what();
                    }
                    --in_flight;
                    ++ended;
                    changed.notify_one();
                  },
                  {.timeout = kPatient, .rerun_ok = true});
    if (i == kTasks / 4 && !troubled) {
      troubled = true;
      trouble();
    }
  }
  EXPECT_EQ(wrong, "");
  EXPECT_EQ(std::count(endings.begin(), endings.end(), 1), kTasks);
  EXPECT_GE(runs, kTasks);
}

TEST(Daemon, AKilledBrokerLosesNoTaskThatSomebodyWaitsFor) {
  Tuskd tuskd;
  all_end_through(tuskd, [&] {
    tuskd.kill_now();
    tuskd.start();
  });
}

TEST(Daemon, ABrokerThatStopsInOrderLosesNoTaskEither) {
  Tuskd tuskd;
  all_end_through(tuskd, [&] {
    tuskd.stop();
    tuskd.start();
  });
}

TEST(Daemon, ItemsGoThroughTheirStages) {
  Tuskd tuskd("[data_pipeline]\nclean:\n  function: \"clean\"\nstore:\n  function: \"store\"\n");
  constexpr int kItems = 5000;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<int> stored(kItems);
  int count = 0;
  Worker worker({.url = tuskd.url(), .slots = 200});
  worker.stage("clean", [](int i) -> std::optional<int> {
    if (i % 2 == 1) return drop;
    return i;
  });
  worker.stage("store", Batch{.items = 50, .time = milliseconds(5)},
               [&](const std::vector<int>& items) {
                 std::lock_guard lock(mutex);
                 for (int i : items) ++stored[static_cast<std::size_t>(i)];
                 count += static_cast<int>(items.size());
                 changed.notify_one();
                 return std::vector<std::optional<int>>(items.size());
               });
  Running running(worker);
  Client client({.url = tuskd.url(), .timeout = kPatient});
  std::vector<int> items;
  for (int i = 0; i < kItems; ++i) items.push_back(i);
  EXPECT_EQ(client.push_many("clean", items), items.size());
  std::unique_lock lock(mutex);
  ASSERT_TRUE(changed.wait_for(lock, kPatient, [&] { return count == kItems / 2; })) << count;
  for (int i = 0; i < kItems; ++i) EXPECT_EQ(stored[static_cast<std::size_t>(i)], i % 2 == 0);
}

TEST(Daemon, AnItemOfABatchBeginsWhereItStopped) {
  Tuskd tuskd("[data_pipeline]\nstore:\n  function: \"store\"\n");
  std::promise<std::vector<int>> done;
  std::vector<int> seen;  // item, attempt, checkpoint
  Worker worker({.url = tuskd.url(), .slots = 2});
  worker.stage("store", Batch{.items = 2, .time = milliseconds(200)},
               [&](const std::vector<int>& items, std::vector<Context>& runs) {
                 std::vector<Output<int>> out;
                 for (std::size_t i = 0; i < items.size(); ++i) {
                   seen.insert(seen.end(), {items[i], static_cast<int>(runs[i].attempt()),
                                            runs[i].last_checkpoint<int>().value_or(-1)});
                   if (items[i] == 2 && runs[i].attempt() < 3) {
                     runs[i].checkpoint(static_cast<int>(runs[i].attempt()) * 10);
                     out.push_back(Defer(milliseconds(1)));
                   } else {
                     out.push_back(drop);
                   }
                 }
                 if (seen.size() == 4 * 3) done.set_value(seen);
                 return out;
               });
  Running running(worker);
  Client client({.url = tuskd.url(), .timeout = kPatient});
  client.push_many("store", std::vector<int>{1, 2});
  auto end = done.get_future();
  ASSERT_EQ(end.wait_for(kPatient), std::future_status::ready);
  EXPECT_EQ(end.get(), (std::vector<int>{1, 1, -1, 2, 1, -1, 2, 2, 10, 2, 3, 20}));
}

// Another client than the submitter's looks after tasks by their ids, and keys keep one at a time.
TEST(Daemon, TasksAreUniqueChangedAndAwaitedByTheirIds) {
  Tuskd tuskd;
  std::counting_semaphore begun(0), gate(0);
  Worker worker({.url = tuskd.url(), .slots = 1});
  worker.task("double", [&](int n) {
    begun.release();
    gate.acquire();
    if (n < 0) throw TypedError("Negative", "no");
    return 2 * n;
  });
  Running running(worker);
  Client client({.url = tuskd.url(), .timeout = kPatient});
  Client other({.url = tuskd.url(), .timeout = kPatient});
  const auto submit = [&](int n, const char* policy) {
    return client.submit<int>("double", n, {.unique = "k", .unique_policy = policy});
  };
  const auto first = submit(1, "join");
  begun.acquire();
  const auto joined = submit(2, "join");
  const auto next = submit(3, "follow_up");
  const auto replaced = submit(4, "replace");  // next, which waits
  try {
    submit(5, "refuse").get();
    FAIL();
  } catch (const Duplicate& duplicate) {
    EXPECT_EQ(duplicate.id(), first.id());
    EXPECT_EQ(duplicate.state(), "running");
  }
  const TaskId bad = client.post(
      "double", -1, {.attempts = 2, .backoff = Backoff{}, .retention = std::chrono::minutes(1)});
  const TaskId late = client.post("double", 10, {.retention = std::chrono::minutes(1)});
  const Updated change = other.update(late, 11, {.priority = 50});
  EXPECT_TRUE(change.updated);
  EXPECT_EQ(change.state, "waiting");
  TaskStatus status = other.task(late);
  EXPECT_EQ(status.state, "waiting");
  EXPECT_EQ(status.type, "double");
  EXPECT_EQ(status.priority, 50);
  gate.release(100);
  EXPECT_EQ(first.get(), 2);
  EXPECT_EQ(joined.get(), 2);
  EXPECT_EQ(joined.joined_id(), first.id());
  EXPECT_EQ(next.get(), 8);
  EXPECT_EQ(replaced.get(), 8);
  EXPECT_EQ(replaced.joined_id(), next.id());
  const TaskId nobody = TaskId::make();
  const auto endings = other.await_all<int>({late, bad, nobody});
  EXPECT_EQ(endings.at(0).get(), 22);
  EXPECT_THROW(endings.at(1).get(), TaskDead);
  EXPECT_THROW(endings.at(2).get(), UnknownTask);
  status = other.task(bad);
  EXPECT_EQ(status.state, "dead");
  EXPECT_EQ(status.failures, 2u);
  EXPECT_EQ(status.history.size(), 2u);
  ASSERT_TRUE(status.error);
  EXPECT_EQ(status.error->type, "Negative");
  EXPECT_EQ(other.task(nobody).state, "unknown");
  EXPECT_FALSE(other.update(late, {.delay = seconds(0)}).updated);
}

TEST(Daemon, TasksAreListedAndCancelledByTheirLabels) {
  Tuskd tuskd;
  std::promise<std::map<std::string, std::string>> seen;
  Worker worker({.url = tuskd.url(), .slots = 1});
  worker.task("labelled", [&](int, Context& run) { seen.set_value(run.labels()); });
  Running running(worker);
  ASSERT_TRUE(worker.wait_until_ready(kPatient));
  Client client(tuskd.url());
  constexpr int kEach = 150;
  for (int n = 0; n < 2 * kEach; ++n) {
    client.post(
        "labelled", n,
        {.delay = std::chrono::hours(1),
         .labels = {{"customer", n % 2 == 0 ? "acme" : "other"}, {"n", std::to_string(n)}}});
  }
  const Filter acme{.labels = {{"customer", "acme"}, {"n", std::nullopt}}};
  int found = 0;
  client.tasks(
      acme,
      [&](const TaskStatus& task) {
        EXPECT_EQ(task.type, "labelled");
        EXPECT_EQ(task.state, "delayed");
        EXPECT_EQ(task.labels.size(), 2u);
        EXPECT_NE(task.id, TaskId{});
        ++found;
        return true;
      },
      40);
  EXPECT_EQ(found, kEach);
  EXPECT_EQ(client.tasks({.type = "labelled"}).size(), 2u * kEach);
  const Job counted = client.cancel_all(acme, {.dry_run = true});
  EXPECT_EQ(counted.matched, std::uint64_t{kEach});
  EXPECT_EQ(counted.changed, 0u);
  EXPECT_TRUE(counted.dry_run);
  EXPECT_EQ(client.cancel_all(acme).changed, std::uint64_t{kEach});
  const Filter one{.labels = {{"n", "1"}}};
  EXPECT_EQ(client.reprioritise_all(one, "high").changed, 1u);
  EXPECT_EQ(client.retry_all(one).changed, 1u);
  EXPECT_EQ(seen.get_future().get().at("customer"), "other");
  EXPECT_EQ(client.tasks({.state = "delayed"}).size(), kEach - 1u);
}

TEST(Daemon, ParentsOnAWorkerOfOneSlotWaitForTheirChildrenThere) {
  Tuskd tuskd;
  Worker worker({.url = tuskd.url(), .slots = 1});
  worker.task("tree", [](int depth, Context& run) {
    if (depth == 0) return 1;
    int sum = 1;
    for (int count : run.call_many<int>("tree", std::vector<int>(3, depth - 1))) sum += count;
    return sum;
  });
  worker.task("double", [](int n) { return 2 * n; });
  worker.task("late", [](int n, Context& run) {
    return run.call<int>("double", n, {.delay = milliseconds(300)});
  });
  Running running(worker);
  ASSERT_TRUE(worker.wait_until_ready(kPatient));
  Client client({.url = tuskd.url(), .timeout = kPatient});
  EXPECT_EQ(client.call<int>("tree", 4), 1 + 3 + 9 + 27 + 81);
  // They are all suspended at once: each of their children waits for longer than all of them take.
  std::vector<int> numbers(200);
  for (int n = 0; n < 200; ++n) numbers[static_cast<std::size_t>(n)] = n;
  const auto doubles = client.call_many<int>("late", numbers);
  for (int n = 0; n < 200; ++n) EXPECT_EQ(doubles.at(static_cast<std::size_t>(n)), 2 * n);
}

TEST(Daemon, AChildIsCancelledWithItsParent) {
  Tuskd tuskd;
  std::promise<void> running_child;
  std::promise<std::string> of_parent, of_child;
  Worker worker({.url = tuskd.url(), .slots = 1});
  worker.task("parent", [&](int, Context& run) {
    try {
      return run.call<int>("child", 1);
    } catch (const Cancelled&) {
      of_parent.set_value(std::string(run.cancel_reason()));
      throw;
    }
  });
  worker.task("child", [&](int, Context& run) {
    std::promise<void> told;
    const std::stop_callback tell(run.stop_token(), [&] { told.set_value(); });
    running_child.set_value();
    told.get_future().wait();
    of_child.set_value(std::string(run.cancel_reason()));
    throw Cancelled();
  });
  Running running(worker);
  ASSERT_TRUE(worker.wait_until_ready(kPatient));
  Client client({.url = tuskd.url(), .timeout = kPatient});
  auto task = client.submit("parent", 1, {.labels = {{"customer", "acme"}}});
  running_child.get_future().get();
  const auto children = client.tasks({.labels = {{"customer", "acme"}}, .parent = task.id()});
  ASSERT_EQ(children.size(), 1u);
  EXPECT_EQ(children[0].type, "child");
  EXPECT_EQ(children[0].parent, task.id());
  task.cancel();
  EXPECT_EQ(of_parent.get_future().get(), "cancelled");
  EXPECT_EQ(of_child.get_future().get(), "parent");
  EXPECT_THROW(task.get(), TaskCancelled);
}

TEST(Daemon, StreamsHoldTheirSenderUpAndBeginAnew) {
  Tuskd tuskd("[types]\nthrice: { attempts: 3 }\n");
  std::atomic<int> sent{0};
  Worker worker({.url = tuskd.url(), .slots = 1});
  worker.task("thrice", [&](int n, Context& run) {
    for (int i = 0; i < n; ++i) {
      run.send(i);
      ++sent;
      if (run.attempt() == 1 && i == n / 2) throw std::runtime_error("not yet");
    }
    return n;
  });
  Running running(worker);
  ASSERT_TRUE(worker.wait_until_ready(kPatient));
  Client client({.url = tuskd.url(), .timeout = kPatient});
  constexpr int kChunks = 500;
  auto stream = client.stream<int>("thrice", kChunks, {.window = 8});
  int next = 0;
  std::uint64_t attempts = 1;
  for (bool more = true; more;) {
    try {
      const auto chunk = stream.next();
      more = chunk.has_value();
      if (!more) break;
      EXPECT_EQ(*chunk, next++);
      if (attempts == 1) {
        EXPECT_LE(sent.load(), next + 2 * 8);
      }
    } catch (const StreamRestarted& restarted) {
      attempts = restarted.attempt();
      next = 0;
    }
  }
  EXPECT_EQ(next, kChunks);
  EXPECT_EQ(attempts, 2u);
  EXPECT_EQ(stream.result<int>(), kChunks);
}

TEST(Daemon, EventsReachTheirSubscribers) {
  Tuskd tuskd("[ipc_patterns]\npublish_subscribe:\n  topics: [\"prices\"]\n");
  Client client(tuskd.url());
  auto prices = client.subscribe("prices");
  for (int i = 1; i <= 100; ++i) client.publish("prices", i);
  for (int i = 1; i <= 100; ++i) {
    auto event = prices.next(kPatient);
    ASSERT_TRUE(event);
    EXPECT_EQ(event->get<int>(), i);
    EXPECT_EQ(event->missed, 0u);
  }
  EXPECT_THROW(client.subscribe("price"), UnknownTopic);
}

}  // namespace
}  // namespace tusk
