// The broker as a pure state machine: events in, actions out. It has no clock, no thread, no socket
// and no file, so it runs in the daemon and in the simulator alike.
//
//   Broker broker({.config = config, .epoch = random, .seed = random}, now);
//   broker.handle(PacketReceived{connection, records, bodies, {}}, now, actions);
//   broker.flush(now, actions);            // after a batch of events: packets for the peers
//   carry_out(actions);
//   sleep_until(broker.next_wake());
//
// One thread. Promises are those of SPEC.md; each limit comes from the config.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/orchestration.h"
#include "daemon/core/counters.h"
#include "daemon/core/event.h"
#include "daemon/core/gate.h"
#include "daemon/core/id_index.h"
#include "daemon/core/job.h"
#include "daemon/core/labels.h"
#include "daemon/core/pool.h"
#include "daemon/core/scheduler.h"
#include "daemon/core/session.h"
#include "daemon/core/task.h"
#include "daemon/core/timers.h"
#include "proto/decoder.h"
#include "proto/writer.h"

namespace tusk::core {

// What the broker must be told about its surroundings.
struct Surroundings {
  std::shared_ptr<const config::Orchestration> config;
  BodyCheckers checkers = {};  // of the message types in `config`
  uint64_t epoch = 1;          // random per start, 1 to 2^53 - 1
  uint64_t seed = 1;           // for session numbers and back-off jitter
  std::string server = "tuskd";
  std::string boot_id;  // of this machine and this process: whose processes can be watched
  uint64_t pid_namespace = 0;
  // The endpoints as they were bound, for WELCOME; empty ones are closed.
  std::string router, events_in, events_out, pipeline_in, pipeline_out;
};

class Broker {
  friend class BrokerInspector;  // of the tests: checks what must hold between events

 public:
  Broker(Surroundings surroundings, Time now);
  ~Broker();

  // Appends what is to be done. Packets to peers gather until flush().
  void handle(const Event& event, Time now, Actions& actions);

  // Closes the packets under construction and hands them out.
  void flush(Time now, Actions& actions);

  // When a Tick is due, if nothing else happens.
  std::optional<Time> next_wake() const { return timers_.next(); }

  // Whether items from the PULL edge can be taken; if not, leave them in the socket.
  bool takes_edge_items() const { return edge_parked_ == 0 && !stopping_; }

  // The transport found nobody on the PUSH edge for this many messages.
  void count_undelivered_items(uint64_t messages) { counters_.items_out_dropped += messages; }

  const Counters& counters() const { return counters_; }
  const std::shared_ptr<const config::Orchestration>& shared_config() const { return config_; }

 private:
  // A record's share of a packet besides its body and attributes: id, names, numbers.
  static constexpr size_t kRecordOverhead = 640;
  // The attributes of runs and endings that the broker writes itself.
  static constexpr std::initializer_list<proto::Attribute> kRunsOwn = {proto::Attribute::kTimeLeft};
  static constexpr std::initializer_list<proto::Attribute> kEndingsOwn = {
      proto::Attribute::kAttempt, proto::Attribute::kWorker, proto::Attribute::kHistory,
      proto::Attribute::kChunks, proto::Attribute::kTask};
  // Requests that wait for one task besides the first.
  static constexpr size_t kMaxAskers = 1000;

  // A request that has no answer yet: of a REQ peer, or of a session whose submit said `wait`.
  struct Request {
    uint64_t serial = 0;  // of this request; 0: this place in the pool is free
    uint64_t request = 0;
    TimerId timer = kNoTimer;
    uint32_t session = kNone;     // its index, or nothing for a REQ peer's
    uint64_t session_number = 0;  // its place may have been taken by another
    ConnectionId connection = kNoConnection;
    uint64_t generation = 0;  // of the connection
    std::string envelope;
  };
  struct Connection {
    bool open = false;
    uint32_t session = kNone;
    uint64_t generation = 0;  // grows each time that the number is used again
    Time last_error{};
  };
  // How peers are to write the bodies of a type, stage or topic.
  struct Writing {
    std::string name;
    const config::MessageType* message;  // in config_
  };
  // What is wrong with a hello, and in which field; nothing if `why` is nothing.
  struct HelloFault {
    const char* field = "";
    const char* why = nullptr;
  };
  // The answers to a hello's claims: a handle for each id, 0 for those to be dropped.
  using Claims = std::vector<std::pair<proto::TaskId, uint64_t>>;
  // Who is to be answered: a session, a REQ peer's one request, or else a connection.
  struct Caller {
    uint32_t session = kNone;
    uint32_t request = kNone;  // index in requests_
    ConnectionId connection = kNoConnection;
    bool edge = false;  // nobody
  };

  // Why a packet is refused whole; nothing if `why` is nothing.
  struct PacketFault {
    const char* why = nullptr;
    std::string_view limit = {};  // the limit that it is over, if that is why
    size_t value = 0;             // of that limit
    size_t record = 0;            // the record that does not decode
    uint64_t packet = 0;          // the packet's number, if it has one
  };

  // --- packets (broker_packet.cc; Disconnected and ProcessEnded in broker.cc)
  std::span<const proto::Record> open_packet(const PacketReceived& packet,
                                             const proto::Limits& limit, PacketFault& fault);
  bool count_packet(Session& session, const proto::Record& header, bool alone, PacketFault& fault);
  void refuse_stranger(ConnectionId from, const PacketFault& fault);
  void refuse_packet(const Caller& caller, const PacketFault& fault);
  void on(const PacketReceived& packet);
  void on(const Disconnected& event);
  void on(const ProcessEnded& event);
  void on(const EdgeEvents& event);
  void on(const EdgeItems& event);
  void on(const Reload& event);
  void on(const Replaceable& event);
  void on(const Shutdown& event);
  void on(const Tick&) {}
  void on_session_packet(Session& session, std::span<const proto::Record> records);
  void on_request_packet(const PacketReceived& packet);
  void on_record(const Caller& caller, const proto::Record& record);
  void on_worker_record(Session& session, const proto::Record& record);
  void refuse_record(const Caller& caller, const proto::Record& record);
  void fire(Timer timer);
  Connection& connection(ConnectionId id);
  proto::Decoded decode(std::string_view records, std::span<const proto::Bytes> bodies);

  // --- answers (broker.cc)
  proto::Writer& writer(Session& session, size_t more);
  bool has_room(proto::Writer& packet, size_t more) const;
  void touch(Session& session);
  void error(const Caller& caller, uint64_t ref, std::string_view code, std::string_view message);
  void error(const Caller& caller, uint64_t ref, std::string_view code, std::string_view message,
             std::string_view key, uint64_t value);
  void error(const Caller& caller, uint64_t ref, std::string_view code, std::string_view message,
             std::string_view key, std::string_view value);
  void too_large(const Caller& caller, uint64_t ref, std::string_view message,
                 std::string_view limit, size_t value);
  void full(const Caller& caller, uint64_t ref, std::string_view code, std::string_view message,
            std::string_view limit, size_t value);
  // write(out) writes the one record of about `more` bytes that the caller gets.
  template <typename Write>
  void answer(const Caller& caller, size_t more, Write write) {
    if (caller.session != kNone) {
      write(writer(sessions_[caller.session], more));
      if (caller.request != kNone) drop_request(caller.request);
    } else if (caller.request != kNone) {
      proto::Writer reply;
      write(reply);
      send_reply(caller.request, reply);
    } else if (caller.connection != kNoConnection) {
      proto::Writer reply;
      write(reply);
      answer_connection(caller.connection, reply);
    }
  }
  void answer_connection(ConnectionId connection, const proto::Writer& reply);
  void send_reply(uint32_t request, proto::Writer& reply);
  void accept(const Caller& caller, uint64_t request);
  void drop_request(uint32_t request);
  void log(config::LogLevel level, LogTopic topic, const std::function<std::string()>& text);

  // --- sessions (broker_session.cc)
  void hello(ConnectionId connection, const proto::Record& record);
  void welcome(Session& session, bool resumed, const Claims& claims);
  void write_writing(proto::Writer& out) const;
  void resume(Session& session, ConnectionId connection, proto::Value fields);
  void open_session(ConnectionId connection, const Instance& instance, proto::Value fields);
  HelloFault read_hello(proto::Value fields, Session& session, uint32_t& slots) const;
  std::vector<uint32_t> serves(const Session& session);
  size_t unknown_types(const Session& session) const;
  std::string forbidden(const Session& session) const;
  void attach(Session& session, ConnectionId connection);
  void detach(Session& session);
  void end_session(uint32_t index, bool died);
  void forget_session(uint32_t index);
  void worker_gone(Session& session, bool died);
  void grace_over(Session& session);
  void stop_serving(Session& session);
  void update_worker(Session& session);
  void acknowledged(Session& session, uint64_t seq);
  void owe_ack(Session& session);
  Claims adopt_claims(Session& session, proto::Value fields);
  void drop_ghost(uint32_t worker, const proto::TaskId& id);
  uint64_t adopt_claim(Session& session, uint64_t before, const proto::TaskId& id, uint32_t attempt,
                       std::string_view name, bool is_item);

  // --- tasks as things that are kept (broker_task.cc)
  uint32_t find_task(const proto::TaskId& id) const;
  uint64_t handle_of(uint32_t task) const;
  uint32_t running_task(uint32_t worker, uint64_t handle) const;
  std::string_view body_view(const proto::Record& record) const;
  proto::Bytes body_of(const proto::Record& record);
  proto::BodyOut body_out(const proto::Record& record);
  size_t body_limit(const Caller& caller) const {
    return caller.session == kNone ? config_->tuskd.limits.max_body.count
                                   : sessions_[caller.session].limits.body;
  }
  bool check_body(const Caller& caller, const proto::Record& record);
  bool check_schema(const Caller& caller, const proto::Record& record, const BodyRule& rule,
                    std::string_view name);
  uint64_t digest(uint32_t type, std::string_view body);
  static uint32_t hash_of(std::string_view group);
  static uint64_t digest(std::string_view type, std::string_view body);
  uint32_t make_task(const proto::Record& record, const proto::TaskId& id, uint32_t type);
  void let_go(uint32_t task);
  uint32_t remember(const EndedTask& ended);
  bool may_be_let_go(const proto::Record& record, const proto::TaskId& id) const;
  void free_task(uint32_t task);
  void forget(uint32_t task);
  Asker asker_for(const Caller& caller, uint64_t request, uint64_t wait);
  Asker asker_for(const Caller& caller, const proto::Record& record);
  Caller caller_of(const Asker& asker) const;
  bool present(const Asker& asker) const;
  bool asked(const Task& task, const Caller& caller, uint64_t request) const;
  void retire(const Asker& asker);

  // --- how a task comes in (broker_submit.cc)
  void submit(const Caller& caller, const proto::Record& record);
  void take_terms(uint32_t task, const proto::Record& record);
  void set_deadline(uint32_t task, Duration after);
  void take_labels(uint32_t task, proto::Value labels);
  Terms& terms_of(uint32_t task);
  static Duration delay_of(const proto::Record& record, const Type& type);
  void ask_too(const Caller& caller, const proto::Record& record, uint32_t ref);
  void drop_terms(Task& task);
  void join_task(const Caller& caller, const proto::Record& record, uint32_t ref);
  void start_wait(const Caller& caller, uint64_t wait);
  void request_timeout(uint32_t request);
  bool check_room(const Caller& caller, uint64_t ref, const Type& type);
  uint32_t type_for_submit(const Caller& caller, const proto::Record& record);
  bool may_wait(const Type& type) const;
  void wait_for_worker(uint32_t type);
  void unserved_over(uint32_t type);
  void unfit_over(uint32_t type);
  void give_back_waiting(uint32_t lane, std::string_view message);
  void purge_types();

  // --- how it runs (broker_run.cc)
  void place(uint32_t task);
  void start_run(uint32_t task, uint32_t worker);
  void dispatch(uint32_t task, uint32_t worker);
  void release(uint32_t task);
  void fill_worker(uint32_t worker);
  void serve_type(uint32_t type);
  proto::AttributeEntries run_attributes(const Task& task);
  // The run under this handle, if it is this worker's; if not, says so.
  uint32_t own_run(Session& session, const proto::Record& record) {
    const uint32_t t = running_task(session.worker, record.ref);
    return t != kNone ? t : refuse_run(session, record);
  }
  uint32_t refuse_run(Session& session, const proto::Record& record);
  void result(Session& session, const proto::Record& record);
  void returned(Session& session, const proto::Record& record);
  void requeue(uint32_t task);
  void run_left(uint32_t type);

  // --- what becomes of it when its run failed (broker_retry.cc)
  struct Failure {
    std::string_view type, message, language = "tuskd", stack = {};
  };
  Failure failure_of(const Task& task, const proto::Record& record, bool fits) const;
  void run_failed(uint32_t task, const proto::Record& record, const std::string& worker, bool fits);
  void run_lost(uint32_t task, const std::string& worker);
  void failed(uint32_t task, const std::string& worker, const Failure& failure, bool hopeless,
              const proto::BodyOut& body);
  void add_last_run(uint32_t task, std::string_view worker);
  void remember_run(uint32_t task, const std::string& worker, const Failure& failure);
  void retry(uint32_t task, uint32_t runs);
  void give_back_if_stopping(uint32_t task);
  static Backoff backoff_of(const Type& type);
  void delay(uint32_t task, Duration wait);
  void due(uint32_t task);
  void crash(uint32_t task, const std::string& worker, const char* what_died);

  // --- how a run is told to stop (broker_stop.cc)
  void tell_to_stop(uint32_t task, Stop why);
  bool ended_as_told(uint32_t task, std::string_view worker);
  void stop_grace_over(uint32_t task);
  void cancel(const Caller& caller, const proto::Record& record);
  std::string_view cancel_task(uint32_t task, Stop why);
  void leave_queue(uint32_t task);
  void deadline_passed(uint32_t task);
  void watch_run(uint32_t task);
  void run_limit_reached(uint32_t task);
  void run_hangs(uint32_t task);
  void check_condemned(uint32_t worker);
  void replace_worker(uint32_t worker);

  // --- what it says meanwhile (broker_report.cc)
  template <typename Write>
  void tell_followers(const Task& task, uint8_t what, size_t more, Write write);
  void sign_of_life(Task& task);
  void progress(Session& session, const proto::Record& record);
  void run_log(Session& session, const proto::Record& record);
  void checkpoint(Session& session, const proto::Record& record);
  void defer(Session& session, const proto::Record& record);
  void pause(Session& session, const proto::Record& record);
  void pause_type(uint32_t type, Duration time, const std::string& who);
  void pause_over(uint32_t type);

  // --- how it ends (broker_ending.cc)
  void end(uint32_t task, proto::State state, const proto::BodyOut& body,
           proto::AttributeEntries attributes);
  void end_cancelled(uint32_t task, std::string_view worker);
  void end_expired(uint32_t task, std::string_view worker);
  void tell(uint32_t task, const Caller& caller, uint64_t request, const proto::BodyOut& body,
            proto::AttributeEntries attributes);
  void keep(uint32_t task);
  void give_back(uint32_t task, std::string_view code, std::string_view message);

  bool keep_for_again(Task& task, proto::State state);
  // Nobody needs the ending any longer, unless somebody may yet ask for it by id.
  void retain(uint32_t task) {
    const Task& ended = tasks_[task];
    ended.terms&& ended.terms->keep_until > now_ ? keep_by_id(task) : let_go(task);
  }
  void keep_by_id(uint32_t task);
  void retention_over(uint32_t task);
  static size_t retained_size(const Task& task);
  proto::AttributeEntries with_terms(const Task& task, proto::AttributeEntries attributes);
  void end_terms(uint32_t task);

  // --- unique keys (broker_unique.cc)
  bool becomes_task(const Caller& caller, const proto::Record& record, uint32_t type,
                    uint32_t parent);
  bool take_key(uint32_t task, std::string_view key);
  void block(uint32_t task, Duration wait);
  void leave_key(uint32_t task);
  void free_key(uint32_t key);
  void replace_task(const proto::Record& record, uint32_t task);
  void refuse_duplicate(const Caller& caller, uint64_t ref, const UniqueKey& key);

  // --- order keys and limits (broker_gate.cc)
  void begin(uint32_t task, Duration wait);
  void enter(uint32_t task);
  bool lets_in(Gate& gate);
  void pay(uint32_t task);
  void wait_again(Task& task);
  void pay_back(Task& task);
  void run_in_gates(uint32_t task);
  void correct_cost(uint32_t task, uint64_t real);
  void leave_limit(Task& task);
  void leave_gates(uint32_t task);
  void leave_outside(Task& task, uint32_t index);
  uint32_t leave_held(uint32_t task);
  void stay_held(uint32_t task, uint32_t gate);
  void take_gates(uint32_t task, const proto::Terms& asked);
  void keep_gates(Task& ghost, Terms& of);
  uint32_t gate_of(uint32_t type, Gate::Kind kind, std::string_view key);
  void set_key_rate(Gate& gate);
  void look_at(uint32_t gate);
  void settle() {
    if (!moved_gates_.empty() || !opened_types_.empty() || !scheduler_.relieved().empty()) {
      settle_all();
    }
  }
  void settle_all();
  void let_in(uint32_t gate);
  void refresh_type(uint32_t type);
  void open_type(uint32_t type);

  // --- needs and sticky keys (broker_needs.cc)
  static Needs needs_of(const proto::Terms* asked, const config::TaskType& usual);
  std::shared_ptr<const Needs> intern(Needs needs);
  bool can_fit(const Caller& caller, const proto::Record& record, uint32_t type);
  std::string why_unfit(uint32_t type, const Needs& needs) const;
  std::vector<const WorkerState*> serving(uint32_t type) const;
  uint32_t lane_of(uint32_t task);
  bool sticks_to(uint32_t task, uint32_t worker);
  bool holds(const StickyKey& key) const;
  static bool takes_keys(const WorkerState& worker, uint32_t type);
  void bind(StickyKey& key, uint32_t worker);
  uint32_t choose_for(const StickyKey& key, const Needs* needs) const;
  void take_sticky(uint32_t task, std::string_view key);
  void leave_sticky(uint32_t task);
  void idle_keys_due();
  void forget_sticky(uint32_t key);
  void leave_sticky_lanes(uint32_t worker);

  // --- streams (broker_stream.cc)
  const Asker* listener(const Task& task) const;
  void listen(uint32_t task, uint32_t window);
  void give_credit(uint32_t task, uint64_t chunks);
  void chunk(Session& session, const proto::Record& record);
  void credit(const Caller& caller, const proto::Record& record);

  // --- children (broker_family.cc)
  bool find_parent(const Caller& caller, const proto::Record& record, uint32_t& parent);
  uint32_t parent_of(uint32_t task) const;
  bool is_above(uint32_t task, uint32_t of) const;
  bool closes_circle(const Caller& caller, const proto::Record& record, uint32_t parent,
                     uint32_t joined);
  void join_family(uint32_t task, uint32_t parent);
  void inherit(Task& child, uint32_t index, const Task& parent);
  void leave_family(uint32_t task);
  void cancel_children(uint32_t task);
  void suspend(Session& session, const proto::Record& record);
  void awaited_ended(const Asker& asker);
  void resume_runs(uint32_t worker) {
    if (!workers_[worker].resumable.empty()) resume_waiting(worker);
  }
  void resume_waiting(uint32_t worker);
  void end_suspension(uint32_t task);

  // --- what an operator does (broker_control.cc)
  void control(const Caller& caller, const proto::Record& record);

  // --- by filter (broker_jobs.cc)
  using Label = std::pair<std::string, std::optional<std::string>>;
  static constexpr size_t kLabelBytes = 24;  // of a label of a task, beside its text
  bool fits(const Filter& filter, uint32_t task) const;
  const Label* rarest(const Filter& filter) const;
  uint32_t node_behind(const Label& label, uint64_t place, uint64_t serial) const;
  void list_tasks(const Caller& caller, const proto::Record& record);
  void start_job(const Caller& caller, const proto::Record& record, Job::What what);
  void work_on_jobs();
  void change(Job& job, uint32_t task);
  proto::TaskId new_id(const proto::TaskId& base);
  bool submit_again(uint32_t task, const proto::TaskId& id);
  void add_label(uint32_t task, std::string_view name, std::string_view value);
  void drop_labels(Terms& terms);

  // --- by id (broker_by_id.cc)
  void await(const Caller& caller, const proto::Record& record);
  void update(const Caller& caller, const proto::Record& record);
  void change_body(uint32_t task, const proto::Record& record);
  void change_priority(uint32_t task, int priority);
  void change_delay(uint32_t task, Duration wait);

  // --- pipelines (broker_pipeline.cc)
  void push(const Caller& caller, const proto::Record& record);
  bool join_item(const Caller& caller, const proto::Record& record, uint32_t ref, uint32_t stage);
  void item_done(uint32_t task, const proto::Record& record);
  void item_ended(uint32_t task, proto::State state);
  void item_gone(uint32_t task, proto::State state);
  void unpark(uint32_t task);
  void admit(uint32_t stage);
  void room_at(uint32_t stage);
  void leave_pipeline(uint32_t task, const proto::Record& record);
  void send_items();

  // --- topics (broker_topic.cc)
  void publish(const Caller& caller, const proto::Record& record);
  void subscribe(Session& session, const proto::Record& record);
  void unsubscribe(Session& session, const proto::Record& record);
  bool may_publish(const Caller& caller, const proto::Record& record, Topic& topic);
  HeldEventPtr held_event(Topic& topic, const proto::Record& record);
  void keep_last(Topic& topic, HeldEventPtr event);
  bool is_crowded(const Session& session) const;
  void send_event(Session& session, const Topic& topic, uint64_t sequence,
                  const proto::BodyOut& body, proto::AttributeEntries attributes,
                  bool retained = false);
  void append_event(Session& session, WaitingEvent waiting);
  WaitingEvent take_waiting(Session& session);
  void send_waiting(Session& session);
  void end_slow_subscriptions();
  void join_topic(const Session& session, Topic& topic);
  void leave_topic(Session& session, Topic& topic);
  void end_subscription(Session& session, std::string_view pattern);
  void end_subscriptions(Session& session);
  void send_topic(Topic& topic);
  Topic* find_topic(std::string_view name) const;
  std::string no_topic(std::string_view name) const;

  // --- configuration (broker_config.cc)
  std::vector<std::string> reload_obstacles(const config::Orchestration& fresh) const;
  void apply(const config::Orchestration& fresh);
  void apply_types(const config::Orchestration& fresh);
  void apply_stages(const config::Orchestration& fresh);
  void apply_topics(const config::Orchestration& fresh);
  void configure_type(uint32_t type);
  BodyRule rule_for(const std::optional<std::string>& message) const;
  void list_writing();
  void resize_ended_window(size_t window);
  proto::Limits limits() const;

  // --- queries (broker_query.cc)
  void query(const Caller& caller, const proto::Record& record);
  void write_status(proto::Packer& p);
  void write_workers(proto::Packer& p);
  void write_types(proto::Packer& p);
  void write_stages(proto::Packer& p);
  void write_topics(proto::Packer& p);
  void write_jobs(proto::Packer& p);
  void write_task(proto::Packer& p, const proto::TaskId& id);
  void write_task(proto::Packer& p, uint32_t task, bool with_id);
  static std::string_view state_of(const Task& task);
  static void write_history(proto::Packer& p, const Task& task, Time now);

  // --- stopping (broker.cc)
  void stop_now();
  void check_stopped();

  // In the index, a reference with this bit is a place in the window of ended tasks.
  static constexpr uint32_t kEndedBit = uint32_t{1} << 31;
  static bool is_ended(uint32_t ref) { return ref & kEndedBit; }
  const EndedTask& ended_at(uint32_t ref) const { return ended_[ref & ~kEndedBit]; }

  Surroundings around_;
  std::shared_ptr<const config::Orchestration> config_;
  std::array<std::vector<Writing>, 3> writing_;  // of types, stages and topics
  Time now_;
  Time started_;
  Actions* actions_ = nullptr;  // during handle() and flush()
  std::mt19937_64 random_;

  proto::Decoder decoder_;
  std::span<const proto::Bytes> bodies_;  // of the packet in hand
  proto::AttributeWriter scratch_;
  proto::AttributeWriter run_scratch_;  // of a dispatch, while scratch_ may hold an ending

  Pool<Task> tasks_;
  Pool<WorkerState> workers_;
  Scheduler scheduler_{tasks_, workers_};
  Pool<Session> sessions_;
  std::unordered_map<uint64_t, uint32_t> session_by_number_;
  std::map<Instance, uint32_t> session_by_instance_;
  std::vector<Connection> connections_;
  Pool<Request> requests_;
  uint64_t request_serial_ = 0;
  std::vector<uint32_t> dirty_;  // sessions with records to send
  std::vector<uint32_t> owing_;  // sessions that owe an acknowledgement
  TimerId ack_timer_ = kNoTimer;

  IdIndex index_;                 // id -> task, or kEndedBit | place in ended_
  std::vector<EndedTask> ended_;  // a ring
  size_t ended_next_ = 0;
  uint64_t newest_let_go_ = 0;  // unix ms of the newest id that the window has let go
  List<Task> kept_;             // endings that nobody acknowledges, oldest first
  size_t kept_bytes_ = 0;
  TimerId kept_timer_ = kNoTimer;
  List<Task> retained_;  // endings kept for their retention, oldest first
  size_t retained_bytes_ = 0;
  LabelIndex labels_;
  std::deque<Job> jobs_;
  uint64_t job_number_ = 0;
  TimerId job_timer_ = kNoTimer;
  std::map<std::string, std::weak_ptr<const Needs>> needs_;  // by their text
  size_t many_needs_ = 64;
  Pool<StickyKey> sticky_;
  List<StickyKey> idle_keys_;  // that no task has, the longest first
  TimerId idle_keys_timer_ = kNoTimer;
  Pool<UniqueKey> unique_;
  Pool<Gate> gates_;
  std::vector<uint32_t> moved_gates_, opened_types_;  // to be looked at by settle()
  uint64_t order_ = 0;
  uint32_t serial_ = 0;
  size_t held_bytes_ = 0;            // of bodies and results
  std::vector<proto::Bytes> spare_;  // small ones, whose memory the next bodies get
  uint32_t edge_parked_ = 0;

  std::map<std::string, std::shared_ptr<Topic>, std::less<>> topics_;
  std::vector<std::shared_ptr<Topic>> dirty_topics_;
  std::vector<std::pair<uint32_t, Topic*>>
      slow_;  // sessions that just missed an event, and of what
  proto::Writer items_out_;

  Timers timers_;
  Counters counters_;
  LogLimiter log_limiter_;
  bool stopping_ = false;
  TimerId shutdown_timer_ = kNoTimer;
};

}  // namespace tusk::core
