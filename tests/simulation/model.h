// The judge: an independent, slow, obvious account of what a broker was told and so what it must
// do. It sees what crosses the broker's boundary (packets, ends of connections and processes,
// reloads, time) and never the core: of that it includes event.h only.
//
//   Model model(coverage);
//   model.start(config, machine, now);
//   model.step(now, events, actions);   // throws Broken: the rule, and what broke it
//
// How it works: step() decodes all that the broker said, then goes through the events in their
// order. What must be said it takes out of that (owe); where the broker has a choice (which worker,
// which handle) it looks at what was chosen and checks that the choice was allowed (settle). In the
// end nothing may be left over.
//
// One file per idea: model_step (time, reading, the end of a step), model_packet, model_session,
// model_submit, model_terms, model_gate, model_dispatch, model_run, model_stop, model_ending,
// model_control, model_pipeline, model_topic, model_config.
#pragma once

#include <functional>
#include <optional>
#include <span>

#include "tests/simulation/model_state.h"

namespace tusk::simulation {

// What the broker was told about its surroundings at its start.
struct Machine {
  uint64_t epoch = 0;
  std::string boot_id;
  uint64_t pid_namespace = 0;
  bool events_out = false, pipeline_out = false;
};

class Model {
 public:
  using Config = std::shared_ptr<const config::Orchestration>;

  explicit Model(Coverage& coverage) : coverage_(coverage) {}

  // A broker starts, and knows nothing.
  void start(Config config, const Machine& machine, Nanos now);
  // `events` were handled at `now`, in this order, then flushed; `actions` is all that came of it.
  void step(Nanos now, std::span<const core::Event> events, const core::Actions& actions);
  // What the topics' last events count for.
  size_t kept_bytes() const;

  // What is not over yet, one line each: for the check of liveness, and for people.
  std::vector<std::string> unfinished() const;
  // Whether a task of this type, or an item, is there that has no ending.
  bool holds(const std::string& type, bool is_item) const;
  // When the model's next alarm is due.
  Nanos next_alarm() const { return alarms_.empty() ? kNever : alarms_.begin()->first.first; }

 private:
  friend class ModelTest;
  struct Alarm {
    enum What {
      kGrace,
      kTtl,
      kSettle,
      kHold,
      kDelay,
      kDeadline,
      kRunLimit,
      kCancel,
      kPause,
      kRate,
      kAsker,
      kUnserved,
      kKept,
      kShutdown
    } what;
    uint64_t number = 0;  // session, or serial of an asker
    TaskId id = {};
    std::string name = {};
    bool is_item = false;  // `name` is a stage
  };
  struct Fault {  // why a packet is refused whole
    const char* limit = nullptr;
    bool malformed = false;
    uint64_t value = 0, record = 0, packet = 0;
    bool any() const { return limit || malformed; }
  };
  using Bodies = std::span<const proto::Bytes>;

  // --- model_step.cc
  template <typename Text>
  void must(Rule rule, bool holds, Text text) const {
    ++coverage_[static_cast<size_t>(rule)];
    if (!holds) throw Broken{rule, text()};
  }
  void read(const core::Actions& actions);
  void fire(Nanos now);
  void alarm(Nanos due, Alarm alarm);
  void on(const core::Event& event);
  void finish(const core::Actions& actions);
  void finish_packet(SeenPacket& packet);
  void finish_session(Session& session);
  void finish_edges(const core::Actions& actions);
  void check_edge_packet(const proto::Bytes& records, Bodies bodies, size_t count) const;
  void left_over(const Seen& seen) const;
  void owe(const Who& who, Due due);
  void owe_session(Session& session, Due due);
  void owe_connection(ConnectionId connection, Due due);
  void match(ConnectionId connection, const std::string* envelope, const Due& due);
  static const char* mismatch(const Due& due, const proto::Record& record, Bodies frames);
  static bool same_attributes(const Attributes& due, proto::Value map);
  static bool same_answer(const Due& due, proto::Value map);
  static std::string history_of(const Task& task, Nanos now);
  static bool same_history(std::string_view due, proto::Value list);
  static std::string_view bytes_of(const proto::Record& record, Bodies frames);
  static std::string describe(const proto::Record& record);

  // --- model_packet.cc
  void on_packet(const core::PacketReceived& packet);
  void on_request(const core::PacketReceived& packet);
  Fault open(const core::PacketReceived& packet, const proto::Limits& limits,
             std::span<const proto::Record>& records);
  bool count(Session& session, const proto::Record& header, bool alone, Fault& fault);
  void refuse(const Who& who, const Fault& fault);
  void on_record(const Who& who, const proto::Record& record);
  void refuse_record(const Who& who, const proto::Record& record);
  void on_query(const Who& who, const proto::Record& record);
  void error(const Who& who, Rule rule, uint64_t ref, std::string_view code,
             std::vector<Detail> details = {});
  void error_limit(const Who& who, uint64_t ref, std::string_view code, std::string_view limit,
                   uint64_t value);
  void accepted(const Who& who, uint64_t request);

  // --- model_session.cc
  void on_hello(ConnectionId connection, const proto::Record& record);
  bool read_hello(ConnectionId connection, const proto::Record& record, Session& session);
  void open_session(ConnectionId connection, const proto::Record& record, Session session);
  void resume(Session& session, ConnectionId connection, const proto::Record& record);
  void check_welcome(Session& session, SeenPacket& packet, const proto::Record& welcome,
                     bool resumed, const proto::Record& hello);
  uint64_t claim(Session& session, uint64_t before, const TaskId& id, uint32_t attempt,
                 std::string_view name, bool is_item, uint64_t handle);
  void on_disconnected(ConnectionId connection);
  void on_process_ended(uint64_t number);
  void detach(Session& session);
  void end_session(uint64_t number, bool died);
  void worker_gone(Session& session, bool died);
  void stop_serving(Session& session);
  void acknowledged(Session& session, uint64_t seq);
  void update_serves(Session& session);
  Session* session_of(const Who& who);
  SeenPacket* welcome_on(ConnectionId connection, const proto::Record** record);

  // --- model_submit.cc
  void on_submit(const Who& who, const proto::Record& record);
  void note_request(const Who& who, uint64_t request);
  void join_task(const Who& who, const proto::Record& record, Task& task);
  bool check_body(const Who& who, const proto::Record& record);
  bool check_room(const Who& who, const proto::Record& record, const Task* of);
  bool type_for(const Who& who, const proto::Record& record);
  Task& make_task(const proto::Record& record, bool is_item);
  void add_asker(Task& task, const Who& who, uint64_t request, uint64_t wait);
  bool present(const Asker& asker) const;
  bool asked(const Task& task, const Who& who, uint64_t request) const;
  bool may_be_let_go(const proto::Record& record) const;
  const Ended* remembered(const TaskId& id) const;
  void asker_timeout(const TaskId& id, uint64_t serial);
  std::string_view body_view(const proto::Record& record) const;
  size_t held_bytes() const;
  size_t live_tasks() const;

  // --- model_dispatch.cc
  struct Candidate {
    Task* task;
    std::vector<Session*> best;  // who may get it
  };
  void place(Task& task);
  void settle(bool all_is_done = false);
  enum class Could { kNo, kPerhaps, kYes };
  Could could_start(const Task& task) const;
  void note_able();
  static Lane lane_of(const Task& task);
  bool waits(const Lane& lane) const;
  void leave_lane(const Task& task);
  std::vector<Task*> fronts();
  bool aged(const Task& task) const;
  bool settled(const Task& a, const Task& b) const;
  void check_turn(const Task& task, const Session& to, const std::vector<Candidate>& left);
  void check_ageing(const Task& task, const Session& to);
  const Task* oldest_for(const Session& session) const;
  bool dispatch_one(bool all_is_done);
  bool eligible(const Session& session, const Task& task) const;
  bool serves_task(const Session& session, const Task& task) const;
  std::vector<Session*> best_workers(const Task& task);
  Seen* find_dispatch(const Task& task, uint64_t* session);
  bool is_next(const Seen& dispatch) const;
  void start_run(Task& task, Session& session, uint64_t handle);
  void take_dispatch(Task& task, Session& session, Seen& seen);
  void blame(const Task& task, const std::vector<Session*>& best);

  // --- model_run.cc
  void on_result(Session& session, const proto::Record& record, bool refused);
  void on_returned(Session& session, const proto::Record& record);
  void on_slots(Session& session, const proto::Record& record);
  void on_defer(Session& session, const proto::Record& record);
  void run_answered(Task& task, const proto::Record& record, const std::string& worker, bool fits);
  void failed(Task& task, const std::string& worker, FailedRun failure, bool hopeless,
              const std::string* body, Attributes attributes);
  void run_lost(Task& task, const std::string& worker);
  void crash(Task& task, const std::string& worker);
  void back_off(Task& task, uint32_t runs);
  void delay(Task& task, Nanos wait);
  void delay_over(Task& task);
  void give_back_if_stopping(Task& task);
  Attributes last_run(const Task& task, const std::string& worker) const;
  FailedRun failed_run(const Task& task, const std::string& worker, std::string type,
                       std::string message) const;
  Run take_run(Session& session, size_t index);
  std::vector<Run>::iterator run_of(Session& session, const proto::Record& record);

  // --- model_stop.cc
  void tell_to_stop(Task& task, Stop why);
  bool ended_as_told(Task& task, const std::string& worker);
  void on_cancel(const Who& who, const proto::Record& record);
  void deadline_passed(Task& task);
  void watch_run(Task& task);
  void run_limit_reached(Task& task);
  void stop_grace_over(Task& task);

  // --- model_terms.cc
  void take_terms(Task& task, const proto::Record& record);
  Nanos delay_of(const proto::Record& record) const;
  void begin(Task& task, Nanos wait);

  // --- model_gate.cc
  void end_event();
  bool is_first_of_key(const Task& task) const;
  bool let_in();
  bool is_full(const std::string& type) const;
  bool key_is_full(const Task& task) const;
  bool has_company(const Task& task) const;
  bool kept_back_by_key(const Task& task) const;
  void set_rates();
  void set_rate(const std::string& type);
  Bucket& key_bucket(const std::string& type, const std::string& key);
  void pay(const Task& task, double cost);
  void keys_of_run(const Task& task);
  void ring_when_open();
  void leave_order(const Task& task);

  // --- model_control.cc
  void on_pause(Session& session, const proto::Record& record);
  void on_control(const Who& who, const proto::Record& record);
  void pause(bool is_item, const std::string& name, uint64_t ms);
  bool paused(const Task& task) const { return paused_.count({task.is_item, task.type}) > 0; }

  // --- model_ending.cc
  void end(Task& task, State state, const std::string* body, Attributes attributes);
  void end_as_told(Task& task, State state, const std::string& worker);
  void tell(const Task& task, const Who& who, uint64_t request, Rule rule, bool owner);
  void keep(Task& task);
  void let_go(const TaskId& id);
  void forget(const TaskId& id);
  void give_back(const TaskId& id, std::string_view code, Rule rule);

  // --- model_pipeline.cc
  void on_push(const Who& who, const proto::Record& record);
  bool join_item(const Who& who, const proto::Record& record);
  bool admit_one();
  void item_done(Task& task, const proto::Record& record);
  void item_ended(Task& task, State state);
  size_t stage_index(const std::string& stage) const;
  bool has_room(size_t stage) const;
  size_t occupied(size_t stage) const;
  void on_edge_items(const core::EdgeItems& event);

  // --- model_topic.cc
  void on_publish(const Who& who, const proto::Record& record);
  void on_subscribe(Session& session, const proto::Record& record);
  void on_unsubscribe(Session& session, const proto::Record& record);
  void leave_topics(Session& session);
  bool is_crowded(const Session& session) const;
  void take_events();
  void take_event(Session& session, const proto::Record& record, Bodies bodies);
  void take_unsubscribed(Session& session, const proto::Record& record);
  void finish_events(Session& session);
  void on_edge_events(const core::EdgeEvents& event);

  // --- model_config.cc
  void apply();
  void on_reload(const core::Reload& event);
  std::vector<std::string> obstacles(const config::Orchestration& fresh) const;
  bool served(const std::string& type, bool is_stage) const;
  bool may_wait(const std::string& type) const;
  size_t held(const std::string& type, bool is_item) const;
  size_t waiting(const std::string& type) const;
  void wait_for_worker(const std::string& type, bool is_item);
  void unserved_over(const std::string& type);
  void purge_types();
  bool make_type(const std::string& name);
  void on_shutdown();
  void check_stopped();
  void stop_now();

  std::string name_of(const Session& session) const;
  static std::string name_of(const Task& task);

  Coverage& coverage_;
  Config config_;
  Machine machine_;
  Nanos now_ = 0, started_ = 0;
  std::map<uint64_t, Session> sessions_;  // by number
  std::vector<Connection> connections_;
  std::map<TaskId, Task> tasks_;
  std::map<uint64_t, TaskId> queue_;  // by order: those that wait or back off
  std::map<Lane, uint64_t> turns_;    // the least is next
  uint64_t turn_ = 0;
  std::map<std::set<std::pair<bool, std::string>>, Passed> passed_;  // by what workers serve
  std::map<std::string, Bucket> rates_;                              // by type
  std::map<std::pair<std::string, std::string>, Bucket> key_rates_;  // by type and limit key
  std::set<std::pair<std::string, std::string>> blocked_;            // types and order keys
  std::set<std::string> closed_;  // types that may start nothing until this record or event is done
  std::deque<Ended> window_;
  uint64_t newest_let_go_ = 0;
  std::deque<TaskId> kept_;
  std::map<std::string, Type> types_;
  std::map<std::string, Topic> topics_;
  std::map<std::pair<bool, std::string>, Nanos> paused_;  // stage or not, name; until when
  std::map<std::pair<Nanos, uint64_t>, Alarm> alarms_;
  uint64_t order_ = 0, serial_ = 0, event_ = 0;
  bool stopping_ = false, stopped_ = false, reloading_ = false;
  Nanos shutdown_due_ = kNever;

  // Of the step in hand.
  std::deque<proto::Decoder> decoders_;
  proto::Decoder in_;
  Bodies bodies_;
  std::vector<SeenPacket> packets_;
  std::vector<Seen> seen_;
  std::vector<Due> items_due_;                           // on PUSH
  std::vector<std::pair<std::string, Due>> events_due_;  // on XPUB
  std::vector<std::pair<uint64_t, bool>> watches_due_;   // session; whether to watch
  const core::Actions* actions_ = nullptr;
};

}  // namespace tusk::simulation
