// Streams: what a run gives its caller piece by piece, and the credit that it needs for each piece
// (SPEC.md, "Streams").
#include <algorithm>

#include "daemon/core/broker.h"

namespace tusk::core {

using proto::Attribute;
using proto::Record;
using proto::Writer;
namespace code = proto::code;

// The caller that hears the stream of a task, if it is there: who asked for it last.
const Asker* Broker::listener(const Task& task) const {
  auto hears = [this](const Asker& asker) {
    return asker.streams && caller_of(asker).session != kNone;
  };
  if (hears(task.asker)) return &task.asker;
  auto it = std::find_if(task.more_askers.begin(), task.more_askers.end(), hears);
  return it == task.more_askers.end() ? nullptr : &*it;
}

// One more caller: it is the one who hears the stream from now on, and its window counts.
void Broker::listen(uint32_t t, uint32_t window) {
  Task& task = tasks_[t];
  task.asker.streams = false;
  for (Asker& asker : task.more_askers) asker.streams = false;
  Terms& terms = terms_of(t);
  const bool runs = task.state == TaskState::kRunning;
  if (runs && terms.stream == 0) return;  // its worker was not asked for a stream
  terms.stream = window;
  if (!runs) return;
  // Whatever is on its way to who listened before is lost to this one.
  give_credit(t, window > terms.credit ? window - terms.credit : 0);
}

void Broker::give_credit(uint32_t t, uint64_t chunks) {
  Task& task = tasks_[t];
  chunks = std::min<uint64_t>(chunks, proto::kMaxStream - task.terms->credit);
  if (chunks == 0) return;
  task.terms->credit += static_cast<uint32_t>(chunks);
  writer(sessions_[workers_[task.worker].session], kRecordOverhead).credit(handle_of(t), chunks);
}

void Broker::chunk(Session& session, const Record& record) {
  const uint32_t t = own_run(session, record);
  if (t == kNone || tasks_[t].state == TaskState::kGhost) return;
  Task& task = tasks_[t];
  sign_of_life(task);
  const Caller caller{.session = session.index};
  if (!check_body(caller, record)) return;
  if (task.orphan) {  // its client is about to ask for it again
    ++counters_.chunks_lost;
    return writer(session, kRecordOverhead).credit(record.ref, 1);
  }
  if (!task.terms || task.terms->stream == 0) {
    return error(caller, record.ref, code::kInvalid, "nobody asked for a stream of this task",
                 "field", "stream");
  }
  Terms& terms = *task.terms;
  if (terms.credit == 0) {
    ++counters_.chunks_refused;
    return full(caller, record.ref, code::kBusy, "the run has no credit for another chunk: wait",
                "stream", terms.stream);
  }
  --terms.credit;
  ++terms.chunks;
  const Asker* to = listener(task);
  if (!to || sessions_[caller_of(*to).session].over_bound) {
    ++counters_.chunks_lost;
    return give_credit(t, 1);
  }
  ++counters_.chunks;
  scratch_.clear();
  // The broker's own word on these follows; a run's chunk has no last word on another run.
  scratch_.forward(record.attributes.all,
                   {Attribute::kAttempt, Attribute::kIndex, Attribute::kNoRetry});
  scratch_.number(Attribute::kAttempt, task.attempt);
  scratch_.number(Attribute::kIndex, terms.chunks);
  const proto::BodyOut body = body_out(record);
  writer(sessions_[caller_of(*to).session],
         kRecordOverhead + body.inline_bytes.size() + scratch_.entries().size())
      .chunk(to->request, body, scratch_);
}

// A caller takes more.
void Broker::credit(const Caller& caller, const Record& record) {
  const uint32_t t = record.has_id() ? find_task(record.id()) : kNone;
  // It may have ended, or begun anew, while this was on its way.
  if (t == kNone || is_ended(t) || tasks_[t].state != TaskState::kRunning) return;
  const Task& task = tasks_[t];
  const Asker* to = task.terms && task.terms->stream > 0 ? listener(task) : nullptr;
  if (to && caller_of(*to).session == caller.session && to->request == record.ref) {
    give_credit(t, record.time);
  }
}

}  // namespace tusk::core
