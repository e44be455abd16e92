// Tasks as things that are kept: made, found by id or handle, remembered for a while once they
// ended, forgotten; their bodies, and who asks for them.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "daemon/core/broker.h"
#include "proto/lz4.h"

namespace tusk::core {

using proto::BodyOut;
using proto::Bytes;
using proto::Record;
using proto::TaskId;
namespace code = proto::code;

// --- finding -------------------------------------------------------------------------------------

uint32_t Broker::find_task(const TaskId& id) const {
  return index_.find(id.hash(), [&](uint32_t ref) {
    return (is_ended(ref) ? ended_at(ref).id : tasks_[ref].id) == id;
  });
}

uint64_t Broker::handle_of(uint32_t t) const {
  return uint64_t{tasks_[t].generation} << kPlaceBits | t;
}

uint32_t Broker::running_task(uint32_t worker, uint64_t handle) const {
  const auto t = static_cast<uint32_t>(handle & ((uint64_t{1} << kPlaceBits) - 1));
  if (t >= tasks_.size()) return kNone;
  const Task& task = tasks_[t];
  const bool runs = task.state == TaskState::kRunning || task.state == TaskState::kGhost;
  return runs && task.worker == worker && task.generation == handle >> kPlaceBits ? t : kNone;
}

// --- bodies --------------------------------------------------------------------------------------

std::string_view Broker::body_view(const Record& record) const {
  switch (record.body.where) {
    case proto::BodyRef::Where::kNone:
      return {};
    case proto::BodyRef::Where::kInline:
      return record.body.inline_bytes;
    case proto::BodyRef::Where::kFrame:
      return bodies_[record.body.frame - 1].view();
  }
  return {};
}

// The body to keep: a frame is shared, inline bytes are copied.
Bytes Broker::body_of(const Record& record) {
  switch (record.body.where) {
    case proto::BodyRef::Where::kNone:
      return {};
    case proto::BodyRef::Where::kInline: {
      if (spare_.empty()) return Bytes::copy(record.body.inline_bytes);
      Bytes spare = std::move(spare_.back());
      spare_.pop_back();
      return Bytes::copy(record.body.inline_bytes, std::move(spare));
    }
    case proto::BodyRef::Where::kFrame:
      return bodies_[record.body.frame - 1];
  }
  return {};
}

// The body to pass on at once.
BodyOut Broker::body_out(const Record& record) {
  if (record.body.where == proto::BodyRef::Where::kInline &&
      record.body.inline_bytes.size() < proto::kFrameBody) {
    return BodyOut::copied(record.body.inline_bytes);
  }
  return BodyOut::shared(body_of(record));
}

// Whether the body is within the limit, also once it is decompressed; if not, says so.
bool Broker::check_body(const Caller& caller, const Record& record) {
  const size_t limit = body_limit(caller);
  const std::string_view body = body_view(record);
  if (body.size() > limit) {
    too_large(caller, record.ref, "the body is larger than the limit", "body", limit);
    return false;
  }
  if (record.attributes.compression == proto::Compression::kLz4) {
    auto bound = proto::lz4_bound(body);
    if (!bound) {
      ++counters_.records_refused;
      error(caller, record.ref, code::kInvalid, "the body is not one whole LZ4 frame", "field",
            "body");
      return false;
    }
    if (*bound > limit) {
      too_large(caller, record.ref, "the body may decompress to more than the limit", "body",
                limit);
      return false;
    }
  }
  return true;
}

// Whether the body is as the message type of `name` says; if not, says so.
bool Broker::check_schema(const Caller& caller, const Record& record, const BodyRule& rule,
                          std::string_view name) {
  if (!rule.checker) return true;
  const proto::Attributes& attributes = record.attributes;
  const auto refusal = rule.checker->check(body_view(record), attributes.codec,
                                           attributes.compression, body_limit(caller));
  if (!refusal) return true;
  std::string message = "body of \"" + std::string(name) + "\" is wrong";
  if (!refusal->path.empty()) message += " at " + refusal->path;
  message += ": " + refusal->text + " (schema of message type \"" + rule.message + "\")";
  if (caller.edge) {
    ++counters_.edge_dropped;
    log(config::LogLevel::warning, LogTopic::kEdge,
        [&] { return "dropped a message on an edge: " + message; });
    return false;
  }
  ++counters_.records_refused;
  answer(caller, kRecordOverhead + message.size() + refusal->path.size(), [&](proto::Writer& out) {
    out.start(proto::Kind::kError, 5).pack_uint64(record.ref);
    out.text(code::kInvalid);
    out.text(message);
    out.packer().pack_map(2);
    out.text("field");
    out.text("body");
    out.text("path");
    out.text(refusal->path);
  });
  return false;
}

uint32_t Broker::hash_of(std::string_view group) {
  return static_cast<uint32_t>(XXH3_64bits(group.data(), group.size())) | 1;
}

namespace {

// A stage is another thing than a type of the same name.
uint64_t name_hash(std::string_view name, bool is_stage) {
  return XXH3_64bits_withSeed(name.data(), name.size(), is_stage) | 1;
}

}  // namespace

uint64_t Broker::digest(uint32_t index, std::string_view body) {
  Type& type = scheduler_.type(index);
  if (type.name_hash == 0) type.name_hash = name_hash(type.name, type.is_stage);
  return XXH3_64bits_withSeed(body.data(), body.size(), type.name_hash);
}

// The same of a type that may be gone by now.
uint64_t Broker::digest(std::string_view type, std::string_view body) {
  return XXH3_64bits_withSeed(body.data(), body.size(), name_hash(type, false));
}

// --- making and forgetting -----------------------------------------------------------------------

uint32_t Broker::make_task(const Record& record, const TaskId& id, uint32_t type) {
  const uint32_t t = tasks_.add();
  Task& task = tasks_[t];
  task.id = id;
  task.type = type;
  task.order = ++order_;
  task.serial = ++serial_;
  task.since = now_;
  task.body = body_of(record);
  held_bytes_ += task.body.size();
  if (record.attributes.all) {
    scratch_.clear();
    scratch_.forward(record.attributes.all, kRunsOwn);
    if (scratch_.count() > 0) {
      task.forwarded = Bytes::copy(scratch_.entries());
      task.forwarded_count = static_cast<uint32_t>(scratch_.count());
    }
  }
  index_.insert(task.id.hash(), t);
  return t;
}

// The ending is known to have arrived, or was kept long enough: only id and state remain.
void Broker::let_go(uint32_t t) {
  if (Type& type = scheduler_.type(tasks_[t].type); !type.is_stage) --type.endings;
  const EndedTask ended{tasks_[t].id, tasks_[t].digest, tasks_[t].ending};
  index_.replace(ended.id.hash(), t, remember(ended));
  free_task(t);
}

// Puts it into the window of ended ids, which is a ring; what it overwrites is let go for good.
// Returns the reference that the index is to have for it.
uint32_t Broker::remember(const EndedTask& ended) {
  const size_t window = config_->tuskd.limits.ended_window;
  if (ended_.size() < window) {
    ended_.push_back(ended);
    return static_cast<uint32_t>(ended_.size() - 1) | kEndedBit;
  }
  EndedTask& oldest = ended_[ended_next_];
  const uint32_t ref = static_cast<uint32_t>(ended_next_) | kEndedBit;
  newest_let_go_ = std::max(newest_let_go_, oldest.id.unix_ms());
  index_.erase(oldest.id.hash(), ref);
  oldest = ended;
  if (++ended_next_ == ended_.size()) ended_next_ = 0;
  constexpr size_t kAhead = 8;
  if (ended_next_ + kAhead < ended_.size()) {
    index_.prefetch(ended_[ended_next_ + kAhead].id.hash());
  }
  return ref;
}

// Whether what is sent again under this id may have ended so long ago that nobody knows any more.
bool Broker::may_be_let_go(const Record& record, const TaskId& id) const {
  return record.attributes.resent && !record.attributes.rerun_ok && newest_let_go_ > 0 &&
         id.unix_ms() <= newest_let_go_;
}

// A place in the pool keeps its generation, so that an old handle never fits a new task.
void Broker::free_task(uint32_t t) {
  constexpr size_t kMostSpare = 512;
  constexpr size_t kSmall = 512;
  Task& task = tasks_[t];
  if (task.terms) {
    leave_gates(t);
    leave_sticky(t);
    leave_family(t);
    drop_terms(task);
  }
  const uint32_t generation = task.generation;
  held_bytes_ -= task.body.size() + task.result.size();
  if (task.result && task.result.size() <= kSmall && spare_.size() < kMostSpare) {
    spare_.push_back(std::move(task.result));
  }
  timers_.cancel(task.timer);
  tasks_.remove(t);
  tasks_[t].generation = generation;
}

// As if it had never been there. It is in no list.
void Broker::forget(uint32_t t) {
  leave_key(t);
  index_.erase(tasks_[t].id.hash(), t);
  const std::vector<Asker> askers = std::move(tasks_[t].more_askers);
  free_task(t);
  for (const Asker& asker : askers) {
    if (asker.kind == Asker::Kind::kRun) awaited_ended(asker);
  }
}

// --- who asks ------------------------------------------------------------------------------------

Asker Broker::asker_for(const Caller& caller, uint64_t request, uint64_t wait) {
  if (caller.request != kNone) {
    start_wait(caller, wait);
    return {.kind = Asker::Kind::kRequest,
            .index = caller.request,
            .session = requests_[caller.request].serial,
            .request = request};
  }
  if (caller.session == kNone) return {};
  const uint64_t number = sessions_[caller.session].number;
  if (wait == 0)
    return {.kind = Asker::Kind::kSession,
            .index = caller.session,
            .session = number,
            .request = request};
  const uint32_t index = requests_.add();
  Request& waiting = requests_[index];
  waiting.serial = ++request_serial_;
  waiting.request = request;
  waiting.session = caller.session;
  waiting.session_number = number;
  start_wait(Caller{.request = index}, wait);
  return {
      .kind = Asker::Kind::kRequest, .index = index, .session = waiting.serial, .request = request};
}

Asker Broker::asker_for(const Caller& caller, const Record& record) {
  Asker asker = asker_for(caller, record.ref, record.attributes.wait);
  if (record.attributes.terms) {
    asker.follow = record.attributes.terms->follow;
    asker.streams = record.attributes.terms->stream > 0;
  }
  return asker;
}

bool Broker::present(const Asker& asker) const {
  switch (asker.kind) {
    case Asker::Kind::kNobody:
      return false;
    case Asker::Kind::kRun: {  // it may have been resumed, or be over
      const Task& task = tasks_[asker.index];
      return task.suspended && task.generation == asker.session && task.terms &&
             task.terms->suspensions == asker.request && task.terms->awaits > 0;
    }
    case Asker::Kind::kSession:
      return sessions_[asker.index].number == asker.session;
    case Asker::Kind::kRequest: {
      const Request& request = requests_[asker.index];
      if (request.serial != asker.session) return false;
      return request.session == kNone ||
             sessions_[request.session].number == request.session_number;
    }
  }
  return false;
}

Broker::Caller Broker::caller_of(const Asker& asker) const {
  if (asker.kind == Asker::Kind::kRun || !present(asker)) return Caller{.edge = true};
  if (asker.kind == Asker::Kind::kSession) return Caller{.session = asker.index};
  return Caller{.session = requests_[asker.index].session, .request = asker.index};
}

// Whether this request waits for the task already.
bool Broker::asked(const Task& task, const Caller& caller, uint64_t request) const {
  if (caller.session == kNone) return false;
  auto same = [&](const Asker& asker) {
    return asker.request == request && caller_of(asker).session == caller.session;
  };
  return same(task.asker) || std::any_of(task.more_askers.begin(), task.more_askers.end(), same);
}

// Nobody waits there any longer.
void Broker::retire(const Asker& asker) {
  if (asker.kind != Asker::Kind::kRequest) return;
  if (requests_[asker.index].serial == asker.session) drop_request(asker.index);
}

}  // namespace tusk::core
