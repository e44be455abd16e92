#include "daemon/core/broker.h"

#include <algorithm>
#include <cassert>

namespace tusk::core {

using proto::Kind;
using proto::Record;
using proto::Writer;
namespace code = proto::code;

namespace {
// Errors that answer no request go to one connection at most this often.
constexpr Duration kErrorInterval = std::chrono::milliseconds(20);
// A peer that acknowledges on its own is told so after this many packets, or this long.
constexpr uint64_t kPacketsPerAck = 32;
constexpr Duration kAckDelay = std::chrono::milliseconds(40);
// Timers that fire between two events.
constexpr size_t kMostTimers = 1024;

}  // namespace

Broker::Broker(Surroundings surroundings, Time now)
    : around_(std::move(surroundings)),
      config_(around_.config),
      now_(now),
      started_(now),
      random_(around_.seed) {
  apply(*config_);
}

Broker::~Broker() = default;

void Broker::handle(const Event& event, Time now, Actions& actions) {
  assert(now >= now_);
  now_ = now;
  actions_ = &actions;
  // Many may be due at once; what has arrived meanwhile has its turn in between.
  for (size_t fired = 0; fired < kMostTimers; ++fired) {
    const std::optional<Timer> timer = timers_.due(now_);
    if (!timer) break;
    fire(*timer);
    settle();
  }
  std::visit([this](const auto& e) { on(e); }, event);
  settle();
  if (stopping_) check_stopped();
  actions_ = nullptr;
}

void Broker::fire(Timer timer) {
  switch (timer.kind) {
    case Timer::Kind::kDelay:
      tasks_[timer.subject].timer = kNoTimer;
      due(timer.subject);
      break;
    case Timer::Kind::kHold:
      tasks_[timer.subject].timer = kNoTimer;
      --scheduler_.type(tasks_[timer.subject].type).elsewhere;
      enter(timer.subject);
      break;
    case Timer::Kind::kDeadline:
      tasks_[timer.subject].terms->deadline_timer = kNoTimer;
      deadline_passed(timer.subject);
      break;
    case Timer::Kind::kRunLimit:
      tasks_[timer.subject].timer = kNoTimer;
      run_limit_reached(timer.subject);
      break;
    case Timer::Kind::kStopGrace:
      tasks_[timer.subject].timer = kNoTimer;
      stop_grace_over(timer.subject);
      break;
    case Timer::Kind::kHang:
      tasks_[timer.subject].timer = kNoTimer;
      run_hangs(timer.subject);
      break;
    case Timer::Kind::kCondemned:
      workers_[timer.subject].condemned_timer = kNoTimer;
      replace_worker(timer.subject);
      break;
    case Timer::Kind::kRate:
      scheduler_.type(timer.subject).rate_timer = kNoTimer;
      refresh_type(timer.subject);
      break;
    case Timer::Kind::kGate:
      gates_[timer.subject].timer = kNoTimer;
      look_at(timer.subject);
      break;
    case Timer::Kind::kUniqueKey:
      unique_[timer.subject].timer = kNoTimer;
      free_key(timer.subject);
      break;
    case Timer::Kind::kRetention:
      tasks_[timer.subject].timer = kNoTimer;
      retention_over(timer.subject);
      break;
    case Timer::Kind::kPause:
      scheduler_.type(timer.subject).pause_timer = kNoTimer;
      pause_over(timer.subject);
      break;
    case Timer::Kind::kRequestTimeout:
      requests_[timer.subject].timer = kNoTimer;
      request_timeout(timer.subject);
      break;
    case Timer::Kind::kReconnectGrace:
      sessions_[timer.subject].grace_timer = kNoTimer;
      grace_over(sessions_[timer.subject]);
      break;
    case Timer::Kind::kSessionTtl:
      sessions_[timer.subject].ttl_timer = kNoTimer;
      forget_session(timer.subject);
      break;
    case Timer::Kind::kProcessGone:
      sessions_[timer.subject].process_timer = kNoTimer;
      end_session(timer.subject, sessions_[timer.subject].process_gone);
      break;
    case Timer::Kind::kUnserved:
      scheduler_.type(timer.subject).unserved_timer = kNoTimer;
      unserved_over(timer.subject);
      break;
    case Timer::Kind::kAcknowledge:
      ack_timer_ = kNoTimer;
      for (uint32_t index : owing_) {
        Session& session = sessions_[index];
        if (!session.owes_ack) continue;
        session.ack_now = true;
        touch(session);
      }
      owing_.clear();
      break;
    case Timer::Kind::kStickyKeys:
      idle_keys_timer_ = kNoTimer;
      idle_keys_due();
      break;
    case Timer::Kind::kJob:
      job_timer_ = kNoTimer;
      work_on_jobs();
      break;
    case Timer::Kind::kKept:
      kept_timer_ = kNoTimer;
      while (!kept_.empty() &&
             now_ - tasks_[kept_.head].since >= config_->tuskd.times.session_ttl) {
        const uint32_t t = kept_.head;
        kept_.remove(tasks_, t);
        kept_bytes_ -= tasks_[t].result.size();
        retain(t);
      }
      if (!kept_.empty()) {
        kept_timer_ = timers_.add(tasks_[kept_.head].since + config_->tuskd.times.session_ttl,
                                  {Timer::Kind::kKept, 0});
      }
      break;
    case Timer::Kind::kShutdown:
      shutdown_timer_ = kNoTimer;
      stop_now();
      break;
  }
}

// --- packets -------------------------------------------------------------------------------------

proto::Decoded Broker::decode(std::string_view records, std::span<const proto::Bytes> bodies) {
  for (const proto::Bytes& body : bodies) {
    if (body.size() == 0) return {{}, {"a body frame is empty", 0}};
  }
  return decoder_.decode(records, bodies.size());
}

void Broker::on(const Disconnected& event) {
  if (event.connection >= connections_.size()) return;
  Connection& from = connections_[event.connection];
  if (!from.open) return;
  from.open = false;
  from.last_error = {};
  ++from.generation;  // requests that wait for a reply on it have nobody
  from.last_error = {};
  if (from.session != kNone) detach(sessions_[from.session]);
}

void Broker::on(const ProcessEnded& event) {
  auto it = session_by_number_.find(event.session);
  if (it == session_by_number_.end()) return;
  Session& session = sessions_[it->second];
  session.watched = false;
  session.process_gone = true;
  if (session.connection == kNoConnection) return end_session(it->second, true);
  // Its connection ends in a moment, behind its last packets; unless a child of it holds it open.
  session.process_timer =
      timers_.add(now_ + kProcessSettles, {Timer::Kind::kProcessGone, session.index});
}

// --- answers -------------------------------------------------------------------------------------

void Broker::touch(Session& session) {
  if (session.dirty) return;
  session.dirty = true;
  dirty_.push_back(session.index);
}

Writer& Broker::writer(Session& session, size_t more) {
  touch(session);
  return session.out.writer(more);
}

// Whether a record of about `more` bytes still fits into a packet for an edge.
bool Broker::has_room(Writer& packet, size_t more) const {
  const config::Limits& limit = config_->tuskd.limits;
  return packet.count() < limit.max_records && packet.frames().size() < limit.max_frames &&
         packet.records().size() + more <= limit.max_frame;
}

void Broker::error(const Caller& caller, uint64_t ref, std::string_view code,
                   std::string_view message) {
  answer(caller, kRecordOverhead + message.size(),
         [&](Writer& out) { out.error(ref, code, message); });
}

void Broker::error(const Caller& caller, uint64_t ref, std::string_view code,
                   std::string_view message, std::string_view key, uint64_t value) {
  answer(caller, kRecordOverhead + message.size(),
         [&](Writer& out) { out.error(ref, code, message, key, value); });
}

void Broker::error(const Caller& caller, uint64_t ref, std::string_view code,
                   std::string_view message, std::string_view key, std::string_view value) {
  answer(caller, kRecordOverhead + message.size(),
         [&](Writer& out) { out.error(ref, code, message, key, value); });
}

void Broker::too_large(const Caller& caller, uint64_t ref, std::string_view message,
                       std::string_view limit, size_t value) {
  ++counters_.errors_too_large;
  answer(caller, kRecordOverhead + message.size(),
         [&](Writer& out) { out.error_limit(ref, code::kTooLarge, message, limit, value); });
}

void Broker::full(const Caller& caller, uint64_t ref, std::string_view code,
                  std::string_view message, std::string_view limit, size_t value) {
  ++counters_.errors_full;
  answer(caller, kRecordOverhead + message.size(),
         [&](Writer& out) { out.error_limit(ref, code, message, limit, value); });
}

void Broker::accept(const Caller& caller, uint64_t request) {
  answer(caller, kRecordOverhead, [&](Writer& out) { out.accepted(request); });
}

// An error to a connection that has no session, or whose packet is of another one.
void Broker::answer_connection(ConnectionId id, const Writer& reply) {
  Connection& to = connections_[id];
  if (to.last_error != Time{} && now_ - to.last_error < kErrorInterval) return;
  to.last_error = now_;
  ++counters_.packets_sent;
  actions_->sends.push_back({id, {}, proto::Bytes::copy(reply.records().view()), {}});
}

void Broker::send_reply(uint32_t index, Writer& reply) {
  Request& request = requests_[index];
  const Connection& to = connections_[request.connection];
  if (to.open && to.generation == request.generation) {
    ++counters_.packets_sent;
    actions_->sends.push_back({request.connection, request.envelope,
                               proto::Bytes::copy(reply.records().view()),
                               std::move(reply.frames())});
  }
  drop_request(index);
}

void Broker::drop_request(uint32_t index) {
  timers_.cancel(requests_[index].timer);
  requests_.remove(index);
}

void Broker::log(config::LogLevel level, LogTopic topic, const std::function<std::string()>& text) {
  uint64_t suppressed;
  if (!log_limiter_.allow(topic, now_, suppressed)) {
    ++counters_.log_suppressed;
    return;
  }
  std::string line = text();
  if (suppressed > 0) line += " (and " + std::to_string(suppressed) + " more like it)";
  actions_->log.push_back({level, std::move(line)});
}

void Broker::owe_ack(Session& session) {
  if (session.received - session.acknowledged >= kPacketsPerAck) {
    session.ack_now = true;
    touch(session);
  }
  if (session.owes_ack) return;
  session.owes_ack = true;
  owing_.push_back(session.index);
  if (ack_timer_ == kNoTimer) {
    ack_timer_ = timers_.add(now_ + kAckDelay, {Timer::Kind::kAcknowledge, 0});
  }
}

void Broker::flush(Time now, Actions& actions) {
  now_ = std::max(now_, now);
  actions_ = &actions;
  for (size_t i = 0; i < dirty_.size(); ++i) {  // it may grow: a worker under its bound gets tasks
    Session& session = sessions_[dirty_[i]];
    if (session.number == 0 || !session.dirty) continue;  // it ended meanwhile
    session.dirty = false;
    if (session.connection == kNoConnection) {
      session.out.close();
    } else {
      bool sent = false;
      session.out.flush(session.received, [&](const SentPacket& packet) {
        sent = true;
        ++counters_.packets_sent;
        actions.sends.push_back({session.connection, {}, packet.records, packet.bodies});
      });
      if (!sent && session.ack_now) {
        Writer lone;
        lone.reserve_header();
        Writer::fill_header(lone.records().data(), session.number, 0, session.received);
        actions.sends.push_back(
            {session.connection, {}, proto::Bytes::copy(lone.records().view()), {}});
        sent = true;
      }
      if (sent && session.acks) {
        session.acknowledged = session.received;
        session.owes_ack = session.ack_now = false;
      }
    }
    const bool over = session.out.bytes() > config_->tuskd.limits.max_session_bytes;
    if (over != session.over_bound) {
      session.over_bound = over;
      update_worker(session);
    }
  }
  dirty_.clear();
  for (const auto& topic : dirty_topics_) send_topic(*topic);
  dirty_topics_.clear();
  send_items();
  actions_ = nullptr;
}

// --- stopping ------------------------------------------------------------------------------------

void Broker::on(const Shutdown&) {
  if (stopping_) return stop_now();
  stopping_ = true;
  for (uint32_t i = 0; i < sessions_.size(); ++i) {
    if (sessions_[i].number != 0) writer(sessions_[i], kRecordOverhead).goaway("shutting down");
  }
  // Tasks that do not run are given back. Items of the pipeline have nobody to be given back to:
  // they may go on for as long as running tasks may.
  for (uint32_t t = 0; t < tasks_.size(); ++t) {
    Task& task = tasks_[t];
    const bool item = task.type != kNone && scheduler_.type(task.type).is_stage;
    if (task.state == TaskState::kParked ||
        (!item && (task.state == TaskState::kWaiting || task.state == TaskState::kDelayed ||
                   task.state == TaskState::kHeld || task.state == TaskState::kBlocked))) {
      give_back(t, code::kShuttingDown, "tuskd is shutting down and did not run the task");
    }
  }
  shutdown_timer_ =
      timers_.add(now_ + config_->tuskd.times.shutdown_grace, {Timer::Kind::kShutdown, 0});
}

void Broker::check_stopped() {
  for (uint32_t t = 0; t < scheduler_.types(); ++t) {
    if (!scheduler_.exists(t)) continue;
    const Type& type = scheduler_.type(t);
    if (type.running > 0 || (type.is_stage && type.held() > 0)) return;
  }
  stop_now();
}

void Broker::stop_now() {
  if (actions_->stopped) return;
  size_t left = 0;
  for (uint32_t t = 0; t < scheduler_.types(); ++t) {
    if (scheduler_.exists(t)) left += scheduler_.type(t).held();
  }
  if (left > 0) {
    log(config::LogLevel::warning, LogTopic::kOperator, [&] {
      return std::to_string(left) + " tasks and items were still running or in the pipeline; " +
             "clients submit tasks again, items are lost";
    });
  }
  for (uint32_t i = 0; i < sessions_.size(); ++i) {
    if (sessions_[i].number != 0) writer(sessions_[i], kRecordOverhead).bye("shutting down");
  }
  timers_.cancel(shutdown_timer_);
  actions_->stopped = true;
}

}  // namespace tusk::core
