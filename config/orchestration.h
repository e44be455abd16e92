// What tuskd runs on: one TuskLang file, read, checked and made into types.
//
//   auto loaded = load("/etc/tuskd/orchestration.tsk");
//   if (!loaded) { std::cerr << format(loaded.error()); return 2; }
//   for (const Error& w : loaded->warnings) spdlog::warn(format(w));
//   const Orchestration& config = loaded->orchestration;
//   config.tuskd.limits.max_body;            // 64 MB
//   config.type("data_analysis").pool;       // "python"
//
// Without a file tuskd runs on a default-constructed Orchestration. All of it are plain values:
// copy them, and share one between threads once nobody changes it.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/error.h"
#include "config/sections.h"
#include "config/units.h"
#include "config/value.h"

namespace tusk::config {

enum class LogLevel { trace, debug, info, warning, error };
enum class Unserved { error, wait };
// What a task that failed for good does to the others of its order key.
enum class OnDead { skip, block };

// --- [tuskd] -------------------------------------------------------------------------------------

// How much there may be of everything. What happens at each bound is in KEYS.md.
struct Limits {
  Bytes max_body = 64_MB;
  Bytes max_frame = 1_MB;          // the frame of records of one packet
  std::size_t max_records = 1024;  // in one packet
  std::size_t max_frames = 256;    // in one packet
  std::size_t max_sessions = 20'000;
  std::size_t max_types = 1000;
  std::size_t max_topics = 1000;
  std::size_t max_subscriptions = 1000;  // of one session
  std::size_t max_waiting = 1'000'000;   // waiting tasks of a type that says nothing else
  std::size_t max_tasks = 4'000'000;     // of all types, waiting and running
  Bytes max_memory = 4_GB;               // bodies held
  Bytes max_session_bytes = 256_MB;      // not yet acknowledged by one peer
  // Of events for one subscriber: when so much is on its way they wait, and so much may wait.
  Bytes subscriber_window = 4_MB, subscriber_backlog = 64_MB;
  std::size_t ended_window = 262'144;   // ids of ended tasks remembered
  std::size_t push_window = 1024;       // unanswered pushes of one pusher
  std::size_t stage_capacity = 10'000;  // items waiting in one pipeline stage
  Bytes compression_threshold = 4_KB;
  std::size_t max_crashes = 2;  // workers that one task may take down
  Bytes max_checkpoint = 256_KB;
  Bytes max_retained = 256_MB;            // endings kept for their retention
  std::size_t max_sticky_keys = 100'000;  // remembered of which no task is left
  std::size_t max_suspended = 10'000;     // runs of one worker
  std::size_t ageing_share = 8;  // of so many dispatches that pass over an aged task one may not
};

// How long everything may take.
struct Times {
  Duration session_ttl = std::chrono::seconds(60);
  Duration reconnect_grace = std::chrono::seconds(1);
  Duration adopt_grace = std::chrono::seconds(10);
  Duration unserved_grace = std::chrono::seconds(10);
  Duration cancel_grace = std::chrono::seconds(5);
  Duration shutdown_grace = std::chrono::seconds(10);
  Duration heartbeat = std::chrono::seconds(5);
  Duration retry_backoff = std::chrono::milliseconds(100);
  Duration max_backoff = std::chrono::seconds(30);
  Duration spin = std::chrono::microseconds(300);
  Duration lookahead = std::chrono::milliseconds(1);
  Duration ageing = std::chrono::seconds(30);
  Duration hang_kill = std::chrono::seconds(30);
  Duration sticky_ttl = std::chrono::minutes(10);
};

struct Tuskd {
  std::string endpoint = "tcp://127.0.0.1:7420";  // ROUTER, every SDK and REQ peer
  std::optional<std::string> ipc;                 // ipc:// beside it
  // The plain edges; an empty one is switched off.
  std::optional<std::string> events_in = "tcp://127.0.0.1:7422";     // XSUB
  std::optional<std::string> events_out = "tcp://127.0.0.1:7423";    // XPUB
  std::optional<std::string> pipeline_in = "tcp://127.0.0.1:7424";   // PULL
  std::optional<std::string> pipeline_out = "tcp://127.0.0.1:7425";  // PUSH
  std::optional<std::string> http = "tcp://127.0.0.1:7480";          // reserved
  std::optional<std::string> advertise;  // what WELCOME names instead of endpoint
  std::optional<std::string> state;      // a folder; empty: the daemon chooses
  LogLevel log_level = LogLevel::info;
  std::string log = "stderr";  // or a file
  Limits limits;
  Times times;
};

// --- [workers], [types], [topics] ----------------------------------------------------------------

// Processes that tuskd starts and keeps running.
struct Worker {
  std::string language;              // python, javascript, go or cpp
  std::vector<std::string> command;  // the program and its arguments; never empty
  std::string directory;             // where it runs; never empty after load
  Named<std::string> environment;    // on top of tuskd's own
  Named<Label> labels;               // what it has, told to it by its environment
  std::size_t instances = 1;
  std::optional<std::size_t> slots;  // empty: the worker decides
  std::string pool;                  // never empty after load
};

// What the file says of a task type; an empty field leaves it to the file's general settings.
struct TypeSection {
  std::optional<Duration> delay, deadline, timeout, heartbeat_timeout, retention;
  std::optional<std::size_t> attempts;
  std::optional<Duration> retry_backoff, max_backoff;
  std::optional<double> backoff_factor, backoff_jitter;
  std::optional<Texts> no_retry_on;
  std::optional<std::size_t> concurrency, burst, key_concurrency, key_burst;
  std::optional<Rate> rate, key_rate;
  std::optional<OnDead> order_on_dead;
  std::optional<Priority> priority;
  std::optional<bool> durable;
  Text message;
  Text pool;
  std::optional<std::size_t> max_waiting;
  std::optional<Unserved> unserved;
  std::optional<LoadBalancing> load_balancing;
  Named<Label> required, prefers;
  Named<std::size_t> consumes;
};

struct TopicSection {
  Text message;
  bool retain = false;
  std::optional<Rate> rate;
  std::optional<std::size_t> burst;
};

// --- resolved views: what the broker reads
// --------------------------------------------------------

// The settings of one task type, every default applied.
struct TaskType {
  std::optional<std::string> pool;  // only workers of this pool may serve it
  Duration delay{0};
  std::optional<Duration> deadline;
  std::optional<Duration> timeout;  // of one run
  std::optional<Duration> heartbeat_timeout;
  Duration retention{0};     // of its endings
  std::size_t attempts = 1;  // runs that may fail
  Duration retry_backoff = std::chrono::milliseconds(100);
  Duration max_backoff = std::chrono::seconds(30);
  double backoff_factor = 2, backoff_jitter = 0.25;
  Texts no_retry_on;
  // Limits of the type, and of each limit key in it. Rates in units a second.
  std::optional<std::size_t> concurrency, burst, key_concurrency, key_burst;
  std::optional<Rate> rate, key_rate;
  OnDead order_on_dead = OnDead::skip;
  Priority priority;
  bool durable = false;  // reserved
  std::optional<std::string> message;
  std::size_t max_waiting = 1'000'000;
  Unserved unserved = Unserved::error;
  LoadBalancing load_balancing = LoadBalancing::round_robin;
  // What a worker must have to run it.
  Named<Label> required, prefers;
  Named<std::size_t> consumes;
};

struct Topic {
  std::string name;
  std::optional<std::string> message{};
  bool retain = false;  // keeps its last event for those who subscribe later
  // Events a second, and how many at once.
  std::optional<Rate> rate{};
  std::optional<std::size_t> burst{};
};

// An entry of [message_types], with what whoever compiles its schema needs to say where it is
// wrong.
struct Message {
  MessageType entry;
  std::string schema_file;  // that it was read from, as the config names it; empty: from none
  // Errors at the places of the two keys, their message still to be written.
  Error schema_at, message_at;
};

// A step of the pipeline. `function` names the handler; where the file gives none it is the stage's
// name. `language` is empty where any may serve it. `settings` is the map that the file has under
// the stage's name (null for one that is only named).
struct Stage {
  std::string name;
  std::string language;
  std::string function;
  Value settings;
  std::optional<std::string> message{};  // that of its handler
};

struct Orchestration {
  // As in the file, with defaults. Paths are absolute if the file was read by load().
  Tuskd tuskd;
  Named<Worker> workers;
  Sections sections;
  Named<TypeSection> type_sections;
  Named<TopicSection> topic_sections;

  // Worked out from the above.
  std::chrono::milliseconds default_timeout{5000};  // how long a caller waits
  std::size_t retry_attempts = 0;                   // runs after the first
  LoadBalancing load_balancing = LoadBalancing::round_robin;
  std::string master_language = "cpp";
  std::optional<std::vector<std::string>> worker_languages;  // empty: any
  Serialization serialization = Serialization::msgpack;
  Compression compression = Compression::lz4;
  std::map<std::string, TaskType, std::less<>> types;    // those that the file names
  TaskType other_type;                                   // every type that it does not name
  std::map<std::string, Message, std::less<>> messages;  // by name
  std::vector<Topic> topics;                             // in the file's order, each once
  std::vector<Stage> stages;                             // first to last

  // The settings of a type, named in the file or not.
  const TaskType& type(std::string_view name) const {
    auto it = types.find(name);
    return it == types.end() ? other_type : it->second;
  }
  // The entry of [message_types] that governs the bodies of a task type or stage handler, named in
  // the file or not; nothing if none does.
  std::optional<std::string> message_of(std::string_view name) const {
    if (auto it = types.find(name); it != types.end()) return it->second.message;
    auto it = messages.find(name);
    return it == messages.end() ? std::nullopt : std::optional(it->first);
  }
};

// `rust` is spelled `cpp` here; every other language is itself. Holds for pools too, whose default
// name is their language.
std::string_view canonical_language(std::string_view language);

// May a worker of this language join? The master's own language always may.
bool language_allowed(const Orchestration& orchestration, std::string_view language);

struct Loaded {
  Orchestration orchestration;
  std::vector<Error> warnings;
};

// Reads the file, runs its operators (environment, files, date) and checks it. Errors come all at
// once: those of the grammar, or, where there are none, those of the types. Nothing is thrown for
// bad input. Bounds: Parser limits (LANGUAGE.md).
Result<Loaded> load(const std::string& path);

// The same for a text already in memory; `name` stands for its path in messages, and relative paths
// are relative to that path's folder.
Result<Loaded> load_text(std::string_view text, const std::string& name);

// The typed configuration, defaults included, with the resolved views under "resolved", as JSON
// indented by two spaces. `rust` shows as `cpp`, sizes as bytes, durations as text ("5s").
std::string to_json(const Orchestration& orchestration);

// The keys, as "[tuskd] endpoint", that differ and that a running daemon cannot change.
std::vector<std::string> changed_restart_only(const Orchestration& running,
                                              const Orchestration& fresh);

// Puts the running values of these keys into `fresh` and names those that differed: what a reload
// does before it applies `fresh`.
std::vector<std::string> keep_restart_only(const Orchestration& running, Orchestration& fresh);

}  // namespace tusk::config
