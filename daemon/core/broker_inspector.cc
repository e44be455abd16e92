// What must hold of a broker between any two events.
#include <algorithm>
#include <map>

#include "daemon/core/broker_harness.h"
#include "proto/topic_pattern.h"

namespace tusk::core {

size_t BrokerInspector::outbox_bytes(const Broker& b, uint64_t session) {
  auto it = b.session_by_number_.find(session);
  return it == b.session_by_number_.end() ? 0 : b.sessions_[it->second].out.bytes();
}

void BrokerInspector::check(const Broker& b, bool exact_room) {
  const Scheduler& s = b.scheduler_;
  const Pool<Task>& tasks = b.tasks_;
  size_t timers = 0, held = 0, ids = 0, parked_on_edge = 0;
  std::map<uint32_t, uint32_t> pushes;                       // by session
  std::map<uint32_t, uint32_t> runs_of;                      // by lane
  std::map<uint32_t, uint32_t> suspended;                    // by worker
  std::map<uint32_t, uint32_t> with_key;                     // by sticky key
  std::map<uint32_t, std::map<std::string, uint64_t>> used;  // amounts, by worker
  std::map<uint32_t, std::map<TaskState, uint32_t>> states;  // by type

  for (uint32_t t = 0; t < tasks.size(); ++t) {
    const Task& task = tasks[t];
    if (task.state == TaskState::kFree) continue;
    timers += task.timer != kNoTimer;
    held += task.body.size() + task.result.size();
    if (task.terms) {
      timers += task.terms->deadline_timer != kNoTimer;
      held += task.terms->checkpoint.size();
      for (uint32_t node : task.terms->labels) {
        EXPECT_EQ(b.labels_.task(node), t);
        held += Broker::kLabelBytes + b.labels_.name(node).size() + b.labels_.value(node).size();
      }
    }
    ids += task.state != TaskState::kGhost;
    ++states[task.type][task.state];
    const bool runs = task.state == TaskState::kRunning || task.state == TaskState::kGhost;
    EXPECT_EQ(task.worker != kNone, runs);
    if (task.suspended) ++suspended[task.worker];
    if (runs) {
      ++runs_of[task.lane];
      const Lane& lane = s.lane(task.lane);
      for (const Property& one : lane.needs ? lane.needs->consumed : Properties{}) {
        used[task.worker][one.name] += one.amount;
      }
    }
    if (task.terms && task.terms->sticky != kNone) ++with_key[task.terms->sticky];
    if (task.state != TaskState::kGhost) {
      EXPECT_EQ(b.find_task(task.id), t);
    }
    if (task.state == TaskState::kParked) {
      parked_on_edge += task.edge;
      auto count = [&](const Asker& asker) {
        if (asker.kind == Asker::Kind::kSession && b.present(asker)) ++pushes[asker.index];
      };
      count(task.asker);
      for (const Asker& asker : task.more_askers) count(asker);
    }
  }
  for (const auto& [name, topic] : b.topics_) {
    if (topic->retained) held += topic->retained->bytes();
  }
  EXPECT_EQ(b.held_bytes_, held);
  EXPECT_EQ(b.index_.size(), ids + b.ended_.size());
  EXPECT_EQ(b.edge_parked_, parked_on_edge);

  // Queues: counts that agree, order by acceptance.
  for (uint32_t i = 0; i < s.types(); ++i) {
    if (!s.exists(i)) continue;
    const Type& type = s.type(i);
    auto& count = states[i];
    timers += (type.unserved_timer != kNoTimer) + (type.pause_timer != kNoTimer) +
              (type.rate_timer != kNoTimer);
    EXPECT_EQ((type.closed & Type::kPaused) != 0, type.pause_timer != kNoTimer) << type.name;
    EXPECT_EQ((type.closed & Type::kRate) != 0, type.rate_timer != kNoTimer) << type.name;
    EXPECT_EQ(type.queued(), count[TaskState::kWaiting]) << type.name;
    EXPECT_EQ(type.parked.count, count[TaskState::kParked]) << type.name;
    EXPECT_EQ(type.running, count[TaskState::kRunning] + count[TaskState::kGhost]) << type.name;
    EXPECT_EQ(type.elsewhere,
              count[TaskState::kHeld] + count[TaskState::kDelayed] + count[TaskState::kBlocked])
        << type.name;
    size_t in_lanes = 0;
    auto check_queue = [&](uint32_t l, bool suspects) {
      const Queue* queue = suspects ? &s.lane(l).suspects : &s.lane(l).waiting;
      const Task* last = nullptr;
      size_t length = 0;
      queue->each(tasks, [&](uint32_t t) {
        const Task& task = tasks[t];
        EXPECT_EQ(task.lane, l);
        const bool same = last && last->priority == task.priority && last->group == task.group;
        EXPECT_TRUE(!same || last->order < task.order) << "not in the order of acceptance";
        EXPECT_TRUE(!last || last->priority >= task.priority) << "not in that of priority";
        EXPECT_EQ(task.suspect, suspects);
        last = &task;
        ++length;
      });
      EXPECT_EQ(queue->count(), length);
      in_lanes += length;
    };
    s.each_lane(type, [&](uint32_t l) {
      const Lane& lane = s.lane(l);
      EXPECT_EQ(lane.ready, lane.queued() > 0 && type.closed == 0) << type.name;
      EXPECT_EQ(lane.running, runs_of[l]) << type.name;
      EXPECT_FALSE(lane.dropped && lane.queued() > 0) << type.name;
      check_queue(l, false);
      check_queue(l, true);
    });
    EXPECT_EQ(type.waiting, in_lanes) << type.name;
    if (!type.is_stage) continue;
    const uint32_t before = type.stage == 0 ? kNone : s.stages()[type.stage - 1];
    EXPECT_EQ(type.reserved, before == kNone ? 0 : s.type(before).running) << type.name;
    if (exact_room) {
      EXPECT_LE(type.queued() + type.elsewhere + type.running + type.reserved, type.capacity)
          << "stage " << type.name << " holds more than it may";
    }
    EXPECT_TRUE(type.parked.empty() || !type.has_room())
        << "a push waits beside room in " << type.name;
  }

  // Workers: slots, suspects, and no task that waits beside a free slot.
  for (uint32_t w = 0; w < b.workers_.size(); ++w) {
    const WorkerState& worker = b.workers_[w];
    if (worker.session == kNone) continue;
    timers += worker.condemned_timer != kNoTimer;
    uint32_t suspects = 0;
    for (uint32_t t = worker.running.head; t != kNone; t = tasks[t].next) {
      EXPECT_EQ(tasks[t].worker, w);
      suspects += tasks[t].suspect;
    }
    const bool holds = worker.suspect != kNone;
    EXPECT_EQ(holds, suspects > 0);
    for (const Property& one : worker.used) {
      EXPECT_EQ(one.amount, used[w][one.name]) << one.name;
      if (exact_room) {
        EXPECT_LE(one.amount, lookup(worker.offers, one.name)->amount) << one.name;
      }
    }
    EXPECT_EQ(worker.suspended, suspended[w]);
    EXPECT_TRUE(worker.resumable.empty() || worker.free_slots() == 0)
        << "a run waits for its slot beside a free one";
    for (uint32_t l : worker.sticky) {
      EXPECT_EQ(s.lane(l).worker, w);
    }
    if (exact_room) {
      EXPECT_LE(suspects, 1u) << "two suspects on one worker";
    }
    if (worker.free_slots() == 0) continue;
    for (uint32_t i : worker.serves) {
      const Type& type = s.type(i);
      if (!s.room_behind(type) || type.closed != 0) continue;
      s.each_lane(type, [&](uint32_t l) {
        const Lane& lane = s.lane(l);
        const bool its_own = lane.worker == kNone || lane.worker == w;
        const bool fits = !lane.needs || could_run(worker.offers, *lane.needs);
        if (lane.dropped || !its_own || !fits || !s.has_free(worker, lane)) return;
        EXPECT_TRUE(lane.waiting.empty()) << "a " << type.name << " waits beside a free slot";
        EXPECT_TRUE(holds || lane.suspects.empty()) << "a suspect waits beside a free slot";
      });
    }
  }

  size_t endings = b.kept_.count + b.retained_.count;
  std::map<const Topic*, size_t> waiting_events;
  for (uint32_t i = 0; i < b.sessions_.size(); ++i) {
    const Session& session = b.sessions_[i];
    if (session.number == 0) continue;
    timers += (session.grace_timer != kNoTimer) + (session.ttl_timer != kNoTimer) +
              (session.process_timer != kNoTimer);
    endings += session.endings.count;
    EXPECT_EQ(session.pushes, pushes[i]);
    size_t backlog = 0;
    for (const WaitingEvent& waiting : session.backlog) {
      backlog += waiting.event->bytes();
      ++waiting_events[waiting.event->topic];
    }
    EXPECT_EQ(session.backlog_bytes, backlog);
  }
  for (const auto& [name, topic] : b.topics_) {
    EXPECT_EQ(topic->waiting, waiting_events[topic.get()]) << name;
    for (uint32_t i = 0; i < b.sessions_.size(); ++i) {
      const auto& all = b.sessions_[i].subscriptions;
      const bool wants = std::any_of(
          all.begin(), all.end(),
          [&, &name = name](const Subscription& s) { return proto::matches(s.pattern, name); });
      EXPECT_EQ(std::count(topic->subscribers.begin(), topic->subscribers.end(), i), wants) << name;
    }
  }
  size_t ended = 0;
  for (auto& [type, count] : states) ended += count[TaskState::kEnded];
  EXPECT_EQ(endings, ended) << "an ending that is in no list";
  std::map<uint32_t, uint32_t> in_order, in_limit, not_paid;  // tasks by gate
  size_t outside = 0;
  for (uint32_t t = 0; t < tasks.size(); ++t) {
    const Task& task = tasks[t];
    if (task.state == TaskState::kFree || !task.terms) continue;
    const Terms& terms = *task.terms;
    in_order[terms.order_gate] += terms.in_order;
    in_limit[terms.limit_gate] += terms.in_limit;
    not_paid[terms.limit_gate] += terms.in_limit && !terms.paid;
    outside += terms.outside;
    if (terms.outside) {
      EXPECT_EQ(task.state, TaskState::kBlocked);
    }
    if (terms.in_limit) {
      const bool runs = task.state == TaskState::kRunning || task.state == TaskState::kGhost;
      EXPECT_EQ(terms.paid, runs) << "a run is paid for, and nothing else is";
    }
  }
  for (uint32_t i = 0; i < b.gates_.size(); ++i) {
    const Gate& gate = b.gates_[i];
    if (gate.type == kNone) continue;
    timers += gate.timer != kNoTimer;
    const bool order = gate.kind == Gate::Kind::kOrder;
    EXPECT_EQ(gate.inside, order ? in_order[i] : in_limit[i]) << gate.key;
    EXPECT_EQ(gate.waiting, order ? 0 : not_paid[i]) << gate.key;
    EXPECT_EQ((order ? s.type(gate.type).order_keys : s.type(gate.type).limit_keys).at(gate.key),
              i);
    EXPECT_FALSE(gate.listed) << "a gate that was not looked at";
    outside -= gate.line.count + gate.held.count();
  }
  EXPECT_EQ(outside, 0u) << "a task outside of a gate that is in no line";
  for (uint32_t i = 0; i < b.unique_.size(); ++i) {
    const UniqueKey& unique = b.unique_[i];
    if (unique.type == kNone) continue;
    timers += unique.timer != kNoTimer;
    EXPECT_EQ(s.type(unique.type).unique.at(unique.key), i);
    EXPECT_EQ(unique.task == kNone, unique.timer != kNoTimer);
    for (uint32_t t : {unique.task, unique.follow_up}) {
      if (t == kNone) continue;
      EXPECT_EQ(tasks[t].terms->unique, i);
      if (t == unique.follow_up) {
        EXPECT_EQ(tasks[t].state, TaskState::kBlocked);
      }
    }
  }
  for (uint32_t i = 0; i < b.requests_.size(); ++i) {
    timers += b.requests_[i].timer != kNoTimer;
  }
  timers += (b.ack_timer_ != kNoTimer) + (b.kept_timer_ != kNoTimer) +
            (b.shutdown_timer_ != kNoTimer) + (b.job_timer_ != kNoTimer) +
            (b.idle_keys_timer_ != kNoTimer);
  for (uint32_t i = 0; i < b.sticky_.size(); ++i) {
    if (b.sticky_[i].type != kNone) {
      EXPECT_EQ(b.sticky_[i].tasks, with_key[i]) << b.sticky_[i].key;
    }
  }
  EXPECT_EQ(b.timers_.size(), timers) << "a timer that nobody knows";
}

}  // namespace tusk::core
